"""Calls the compiled kernel `cpu.cpp` through ctypes. Shape legend as in `reference.py`.

A call reads less than a megabyte, so what Python adds counts: one structure is packed, nothing is copied.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from struct import Struct

import torch
from torch import Tensor

from multum.core import invalid
from multum.ops.bit_planes import PlaneRows, Rows
from multum.ops.native import NativeLibrary, load_native

SOURCE = Path(__file__).with_name("cpu.cpp")
_CALL = Struct("40q2d")
"""The C++ struct `Call`: addresses, strides and sizes, then the threshold and the scale."""
_FLOAT_BITS = {torch.float32: 32, torch.bfloat16: 16}


def library() -> NativeLibrary | None:
    """The compiled kernel, or None where it cannot be had."""
    return load_native(SOURCE)


def takes(rows: Rows) -> bool:
    """Whether the kernel reads rows of this kind: planes, float32 or bfloat16."""
    return isinstance(rows, PlaneRows) or rows.rows.dtype in _FLOAT_BITS


def decode_attention_cpu(
    query: Tensor,
    key: Rows,
    value: Rows,
    count: Tensor,
    group: Tensor | None,
    threshold: float,
    num_values: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Context, importance, flat heads and value rows read, by the compiled kernel."""
    wide = query.float()
    wide = wide if wide.stride(2) == 1 else wide.contiguous()
    key, value = _with_whole_rows(key), _with_whole_rows(value)
    count, group, num_values = _whole(count), _whole(group), _whole(num_values)
    batch, heads, width = query.shape
    keys, values = _place(key), _place(value)
    groups, slots = (key.msb if isinstance(key, PlaneRows) else key.rows).shape[1:3]
    context = torch.empty(batch, heads, width)
    importance = torch.empty(batch, slots)
    flat = torch.empty(batch, heads, dtype=torch.bool)
    value_rows = torch.empty(batch, groups, dtype=torch.int64)
    call = _CALL.pack(
        wide.data_ptr(), wide.stride(0), wide.stride(1),
        *keys, *values,
        0 if count is None else count.data_ptr(),
        0 if group is None else group.data_ptr(),
        0 if num_values is None else num_values.data_ptr(),
        context.data_ptr(), importance.data_ptr(), flat.data_ptr(), value_rows.data_ptr(),
        batch, heads, groups, slots, width, torch.get_num_threads(),
        threshold, scale,
    )  # fmt: skip
    if _entry()(call):
        raise invalid("count and group", f"in 0..{slots} and in 0..{groups - 1}", (count, group))
    return context.to(query.dtype), importance, flat, value_rows


@cache
def _entry() -> Callable[[bytes], int]:
    loaded = library()
    assert loaded is not None, "dispatch asked for a kernel that is not there"
    run = loaded.handle.multum_decode_attention
    run.argtypes, run.restype = [ctypes.c_char_p], ctypes.c_int
    return run  # type: ignore[no-any-return]


def _whole(integers: Tensor | None) -> Tensor | None:
    return None if integers is None else integers.long().contiguous()


def _with_whole_rows(rows: Rows) -> Rows:
    """The same rows with contiguous last axes, copied only where they are not."""
    if isinstance(rows, PlaneRows):
        lsb_ends = rows.lsb is None or rows.lsb.stride(3) == 1
        if rows.msb.stride(3) == 1 and rows.scale.stride(2) == 1 and lsb_ends:
            return rows
        lsb = None if rows.lsb is None else rows.lsb.contiguous()
        msb, scale = rows.msb.contiguous(), rows.scale.contiguous()
        return PlaneRows(msb=msb, lsb=lsb, scale=scale, msb_bits=rows.msb_bits, width=rows.width)
    return rows if rows.rows.stride(3) == 1 else type(rows)(rows=rows.rows.contiguous())


def _place(rows: Rows) -> tuple[int, ...]:
    """Addresses of first plane, LSBs and scales, their strides in bytes, and the bits of the first plane."""
    if not isinstance(rows, PlaneRows):
        size, (b, g, c, _) = rows.rows.element_size(), rows.rows.stride()
        bits = _FLOAT_BITS[rows.rows.dtype]
        return rows.rows.data_ptr(), 0, 0, size * b, size * g, size * c, 0, 0, 0, 0, 0, bits
    first, scale, lsb = rows.msb, rows.scale, rows.lsb
    low, low_steps = (0, (0, 0, 0)) if lsb is None else (lsb.data_ptr(), lsb.stride()[:3])
    scale_b, scale_g, _ = scale.stride()
    return (
        first.data_ptr(), low, scale.data_ptr(),
        *first.stride()[:3], *low_steps, 2 * scale_b, 2 * scale_g, rows.msb_bits,
    )  # fmt: skip
