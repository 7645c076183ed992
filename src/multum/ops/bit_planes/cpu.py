"""Writes one new row per sequence and group by the compiled kernel `cpu.cpp`. Shape legend as in `rows.py`."""

from typing import TYPE_CHECKING

from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from multum.ops.bit_planes.rows import PlaneRows


def write_row(
    rows: "PlaneRows",  # noqa: ARG001
    slot_B: Int[Tensor, " B"],  # noqa: ARG001
    row_BGD: Float[Tensor, "B G D"],  # noqa: ARG001
) -> bool:
    """Write by the compiled kernel; False where it does not take these tensors."""
    return False
