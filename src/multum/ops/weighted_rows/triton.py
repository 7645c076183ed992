"""The kernels for CUDA devices, in Triton. Shape legend as in `reference.py`.

Short lists: a program owns a block of rows and of channels, and adds each row's entries in the order of its list. Long
ones: a program owns one row, and adds blocks of entries, each block by halves. Which of both runs is decided by sizes
alone, and nothing needs atomics: every run gives the same bits. Sums are taken in float32.
"""

from typing import no_type_check

import torch
import triton  # type: ignore[import-not-found, unused-ignore]
import triton.language as tl  # type: ignore[import-not-found, unused-ignore]
from torch import Tensor

BLOCK_ROWS = 16
BLOCK_ENTRIES = 64
MOST_CHANNELS = 64
"""Channels of a block; fewer where there are fewer."""
LONG = 32
"""Entries of a row, on average, from which on a row has a program of its own."""


@no_type_check  # under the tests' shape checking Triton must still see the bare function
@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _part(x, column, weight, entry, there, channel, channels):
    """Weighted rows of some entries, (entries, channels); zeros for those that are not there."""
    row = tl.load(column + entry, mask=there, other=0).to(tl.int64)
    share = tl.load(weight + entry, mask=there, other=0.0).to(tl.float32)
    mask = there[:, None] & (channel < channels)[None, :]
    return (
        tl.load(x + row[:, None] * channels + channel[None, :], mask=mask, other=0.0).to(tl.float32)
        * share[:, None]
    )


@no_type_check
@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _short_kernel(
    x, starts, column, weight, y, rows, channels, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = row < rows
    begin = tl.load(starts + row, mask=inside, other=0)
    end = tl.load(starts + row + 1, mask=inside, other=0)
    total = tl.zeros([BLOCK_R, BLOCK_C], tl.float32)
    for step in range(tl.max(end - begin, 0)):
        total += _part(x, column, weight, begin + step, begin + step < end, channel, channels)
    mask = inside[:, None] & (channel < channels)[None, :]
    tl.store(y + row[:, None] * channels + channel[None, :], total.to(y.dtype.element_ty), mask=mask)


@no_type_check
@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _long_kernel(
    x, starts, column, weight, y, channels, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    begin = tl.load(starts + row)
    end = tl.load(starts + row + 1)
    total = tl.zeros([BLOCK_C], tl.float32)
    for first in range(begin, end, BLOCK_E):
        entry = first + tl.arange(0, BLOCK_E)
        total += tl.sum(_part(x, column, weight, entry, entry < end, channel, channels), 0)
    tl.store(y + row * channels + channel, total.to(y.dtype.element_ty), mask=channel < channels)


def weighted_rows(x_NC: Tensor, starts_M1: Tensor, column_E: Tensor, weight_E: Tensor) -> Tensor:
    """Sums of rows, on a CUDA device (or in Triton's interpreter); x is float32, bfloat16 or float16."""
    x_NC, rows, channels = x_NC.contiguous(), len(starts_M1) - 1, x_NC.shape[1]
    if not len(column_E) * channels:
        return x_NC.new_zeros(rows, channels)
    y_MC = torch.empty(rows, channels, dtype=x_NC.dtype, device=x_NC.device)
    block = min(MOST_CHANNELS, triton.next_power_of_2(channels))
    panels = triton.cdiv(channels, block)
    given = x_NC, starts_M1, column_E, weight_E, y_MC
    if len(column_E) > LONG * rows:
        _long_kernel[rows, panels](*given, channels, BLOCK_E=BLOCK_ENTRIES, BLOCK_C=block)
    else:
        grid = triton.cdiv(rows, BLOCK_ROWS), panels
        _short_kernel[grid](*given, rows, channels, BLOCK_R=BLOCK_ROWS, BLOCK_C=block)
    return y_MC
