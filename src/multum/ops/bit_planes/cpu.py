"""Writes one new row per sequence and group by the compiled kernel `cpu.cpp`. Shape legend as in `rows.py`."""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from struct import Struct
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from multum.core import invalid
from multum.ops.native import NativeLibrary, load_native

SOURCE = Path(__file__).with_name("cpu.cpp")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""Types of rows that the kernel takes; it computes in float32."""
MOST_WIDTH = 1024
"""The widest row it takes."""
_CALL = Struct("21q")
"""The C++ struct `Call`."""


def library() -> NativeLibrary | None:
    """The compiled kernel, or None where it cannot be had."""
    return load_native(SOURCE)


def write_row(rows: Any, slot_B: Int[Tensor, " B"], row_BGD: Float[Tensor, "B G D"]) -> bool:
    """Write by the compiled kernel, in place.

    Args:
        rows: `PlaneRows` of axes (B, G, C, ...).
        slot_B: Where each sequence's row goes.
        row_BGD: The new rows.

    Returns:
        False where the kernel does not take these tensors, or a row is not finite; nothing may then be relied on in
        the slots named.

    Raises:
        UserError: A slot out of range.
    """
    msb, lsb, scale = rows.msb, rows.lsb, rows.scale
    if not _takes(rows, slot_B, row_BGD) or library() is None:
        return False
    row = row_BGD if row_BGD.dtype is torch.float32 else row_BGD.float()
    row = row if row.stride(2) == 1 else row.contiguous()
    low, low_steps = (0, (0, 0, 0)) if lsb is None else (lsb.data_ptr(), lsb.stride()[:3])
    batch, groups, slots = scale.shape
    call = _CALL.pack(
        row.data_ptr(), slot_B.data_ptr(), msb.data_ptr(), low, scale.data_ptr(),
        row.stride(0), row.stride(1), *msb.stride()[:3], *low_steps, *scale.stride(),
        batch, groups, slots, rows.width, rows.msb_bits,
    )  # fmt: skip
    failed = _function()(call)
    if failed == 2:
        raise invalid("slot", f"in 0..{slots - 1}", slot_B.tolist())
    return failed == 0


def _takes(rows: Any, slot: Tensor, row: Tensor) -> bool:
    tensors = (
        (rows.msb, rows.scale, slot, row) if rows.lsb is None else (rows.msb, rows.scale, slot, row, rows.lsb)
    )
    if torch.compiler.is_compiling() or any(type(it) is not Tensor or not it.is_cpu for it in tensors):
        return False
    if row.dtype not in DTYPES or slot.dtype is not torch.int64 or not slot.is_contiguous():
        return False
    fits = row.shape == (*rows.scale.shape[:2], rows.width) and slot.shape == row.shape[:1]
    whole = rows.msb.stride(3) == 1 and (rows.lsb is None or rows.lsb.stride(3) == 1)
    return bool(fits and whole and rows.width <= MOST_WIDTH)


@cache
def _function() -> Callable[[bytes], int]:
    loaded = library()
    assert loaded is not None, "asked for a kernel that is not there"
    write: Callable[[bytes], int] = loaded.handle.multum_write_rows
    write.argtypes, write.restype = [ctypes.c_char_p], ctypes.c_int  # type: ignore[attr-defined]
    return write
