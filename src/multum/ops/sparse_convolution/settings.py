"""How the Triton kernels may go through their work, and the kinds of problems that it is chosen for.

This module knows no Triton.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch

Kind = Literal["forward", "weight"]
Dataflow = Literal["implicit", "scatter", "weight"]
BLOCKS: Mapping[Dataflow, tuple[tuple[int, int, int, int, int], ...]] = {
    "implicit": (
        (64, 32, 64, 4, 3),
        (64, 32, 64, 4, 5),
        (64, 64, 64, 4, 3),
        (64, 16, 64, 4, 4),
        (32, 32, 64, 4, 4),
        (128, 32, 64, 4, 4),
        (128, 32, 32, 4, 4),
        (64, 32, 128, 4, 4),
        (128, 32, 128, 8, 4),
        (128, 64, 128, 8, 3),
    ),
    "scatter": ((64, 32, 64, 4, 3), (64, 64, 64, 4, 3), (128, 32, 128, 8, 3)),
    "weight": (
        (32, 64, 64, 4, 3),
        (64, 64, 64, 4, 3),
        (16, 64, 64, 4, 4),
        (32, 64, 128, 8, 3),
        (32, 128, 128, 8, 3),
    ),
}
"""Rows, inputs and outputs of a block, warps and stages; the first of each needs little room."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a kernel goes through its work."""

    dataflow: Dataflow
    """Which kernel; see `triton.py`."""
    block_rows: int
    """Targets or pairs of a block."""
    block_inputs: int
    """Inputs of a block."""
    block_outputs: int
    """Outputs of a block."""
    num_warps: int = 4
    """Groups of 32 threads for each program."""
    num_stages: int = 3
    """Blocks on their way from memory at the same time."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What the choice depends on."""

    kind: Kind
    """The convolution, also turned round for a gradient, or the gradient of a weight."""
    dtype: torch.dtype
    """Type of the rows."""
    device: torch.device
    """Where they are."""
    num_offsets: int
    """Of the kernel."""
    inputs: int
    """Channels that are read."""
    outputs: int
    """Channels that are written."""
    num_targets: int
    """Rows that are written."""
    num_pairs: int
    """Of all offsets."""
    has_table: bool = False
    """Whether there is a table of neighbours."""

    @property
    def key(self) -> str:
        """Name of the problem's kind: rows to a power of two, neighbours of a row to a root of two.

        >>> sizes = dict(num_offsets=27, inputs=64, outputs=32, num_targets=1000, num_pairs=14000)
        >>> Problem(kind="weight", dtype=torch.float16, device=torch.device("cpu"), **sizes).key
        'weight float16 ieee K27 C64 O32 rows 10 near 8 lists'
        """
        rows = round(math.log2(self.num_targets))
        near = round(2 * math.log2(self.num_pairs / self.num_targets))
        kind = f"{self.kind} {str(self.dtype).removeprefix('torch.')} {precision_of(self.dtype)}"
        sizes = f"K{self.num_offsets} C{self.inputs} O{self.outputs} rows {rows} near {near}"
        return f"{kind} {sizes} {'table' if self.has_table else 'lists'}"


def precision_of(dtype: torch.dtype) -> str:
    """How products of float32 are made: in full, unless torch's own may take TF32."""
    return "tf32" if dtype is torch.float32 and _torch_takes_tf32() else "ieee"


def settings_of(problem: Problem) -> Sequence[Setting]:
    """The settings to try, the one that is taken without a measurement first."""
    return _settings(problem.kind, problem.inputs, problem.outputs, problem.has_table)


@cache  # asked for in every layer
def _settings(kind: Kind, inputs: int, outputs: int, has_table: bool) -> tuple[Setting, ...]:
    dataflows: tuple[Dataflow, ...] = ("weight",) if kind == "weight" else ("implicit", "scatter")
    found = [
        Setting(
            dataflow=dataflow,
            block_rows=rows,
            block_inputs=_fitting(deep, inputs),
            block_outputs=_fitting(wide, outputs),
            num_warps=warps,
            num_stages=stages,
        )
        for dataflow in dataflows
        if dataflow != "implicit" or has_table
        for rows, deep, wide, warps, stages in BLOCKS[dataflow]
    ]
    return tuple(dict.fromkeys(found))


def _fitting(block: int, channels: int) -> int:
    """A block that is not much larger than the channels; 16 at least, as the device multiplies."""
    return max(16, min(block, 1 << (channels - 1).bit_length()))


def _torch_takes_tf32() -> bool:
    return bool(torch.backends.cuda.matmul.fp32_precision == "tf32")
