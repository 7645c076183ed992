"""Calls the compiled kernel `cpu.cpp` through ctypes. Shape legend as in `reference.py`.

A call reads less than a megabyte, so what Python adds counts: one structure is packed, nothing is copied.
"""

import ctypes
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from struct import Struct
from typing import Any

import torch
from torch import Tensor

from multum.core import invalid
from multum.ops.bit_planes import FloatRows, PlaneRows, Rows
from multum.ops.native import NativeLibrary, load_native

SOURCE = Path(__file__).with_name("cpu.cpp")
_CALL = Struct("42q2d")
"""The C++ struct `Call`: addresses, strides and sizes, then the threshold and the scale."""
_FLOAT_BITS = {torch.float32: 32, torch.bfloat16: 16}
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""Types of queries that the kernel takes; it computes in float32."""

Outcome = tuple[Tensor, Tensor, Tensor, Tensor]


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
    whole: Tensor | None = None,
) -> Outcome:
    """Context, importance, flat heads and value rows read, by the compiled kernel."""
    wide = query if query.dtype is torch.float32 else query.float()
    wide = wide if wide.stride(2) == 1 else wide.contiguous()
    keys, key_place = _place(key)  # the tensors are alive until the call is over
    _values, value_place = _place(value)
    (batch, heads, width), (_, groups, slots, _) = query.shape, keys[0].shape
    context, importance = torch.empty(batch, heads, width), torch.empty(batch, slots)
    flat = torch.empty(batch, heads, dtype=torch.bool)
    value_rows = torch.empty(batch, groups, dtype=torch.int64)
    if whole is not None and whole.stride(1) != 1:
        whole = whole.contiguous()
    integers = _integers(count), _integers(group), _integers(num_values)  # alive until the call is over
    call = _CALL.pack(
        wide.data_ptr(), wide.stride(0), wide.stride(1), *key_place, *value_place,
        *[0 if t is None else t.data_ptr() for t in integers],
        *((0, 0) if whole is None else (whole.data_ptr(), whole.stride(0))),
        context.data_ptr(), importance.data_ptr(), flat.data_ptr(), value_rows.data_ptr(),
        batch, heads, groups, slots, width, torch.get_num_threads(), threshold, scale,
    )  # fmt: skip
    if _functions()[0](call):
        raise invalid("count and group", f"in 0..{slots} and in 0..{groups - 1}", (count, group))
    return context if wide is query else context.to(query.dtype), importance, flat, value_rows


def takes_importance(importance: Tensor, protected: Tensor | None, count: Tensor) -> bool:
    """Whether `evict_lowest_cpu` takes these tensors: on the CPU, float32, last axis contiguous."""
    if type(importance) is not Tensor or not importance.is_cpu or torch.compiler.is_compiling():
        return False
    if importance.dtype is not torch.float32 or importance.stride(1) != 1 or library() is None:
        return False
    return count.is_cpu and (
        protected is None or (protected.dtype is torch.bool and protected.stride(1) == 1)
    )


def evict_lowest_cpu(importance: Tensor, protected: Tensor | None, count: Tensor) -> Tensor | None:
    """The slots that go; None where there is a NaN among the importance in use."""
    batch, slots = importance.shape
    slot, whole = torch.empty(batch, dtype=torch.int64), _integers(count)
    assert whole is not None
    keep = (0, 0) if protected is None else (protected.data_ptr(), protected.stride(0))
    place = importance.data_ptr(), importance.stride(0), *keep
    failed = _functions()[1](*place, whole.data_ptr(), slot.data_ptr(), batch, slots)
    if failed == 2:
        raise invalid("count", f"in 0..{slots}", count)
    return None if failed else slot


@cache
def _functions() -> tuple[Callable[..., int], Callable[..., int]]:
    loaded = library()
    assert loaded is not None, "dispatch asked for a kernel that is not there"
    attend, evict = loaded.handle.multum_decode_attention, loaded.handle.multum_evict_lowest
    attend.argtypes, attend.restype = [ctypes.c_char_p], ctypes.c_int
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    evict.argtypes = [pointer, number, pointer, number, pointer, pointer, number, number]
    evict.restype = ctypes.c_int
    return attend, evict


def _integers(tensor: Tensor | None) -> Tensor | None:
    if tensor is None or (tensor.dtype is torch.int64 and tensor.is_contiguous()):
        return tensor
    return tensor.long().contiguous()


def _whole(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.contiguous()


def _place(rows: Rows) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Tensors with contiguous last axes, copied where they are not, and the C++ struct `Place` of them.

    The struct holds addresses, strides in bytes, and the bits of the first plane.
    """
    if isinstance(rows, FloatRows):
        floats = rows.rows if rows.rows.stride(3) == 1 else rows.rows.contiguous()
        size, (b, g, c, _) = floats.element_size(), floats.stride()
        bits = _FLOAT_BITS[floats.dtype]
        return (floats,), (floats.data_ptr(), 0, 0, size * b, size * g, size * c, 0, 0, 0, 0, 0, bits)
    first, low, scale = rows.msb, rows.lsb, rows.scale
    b, g, c, byte = first.stride()
    scale_b, scale_g, half = scale.stride()
    low_b, low_g, low_c, low_byte = (0, 0, 0, 1) if low is None else low.stride()
    if not byte == half == low_byte == 1:
        return _place(replace(rows, msb=_whole(first), lsb=_whole(low), scale=_whole(scale)))
    address, tensors = (0, (first, scale)) if low is None else (low.data_ptr(), (first, scale, low))
    places = first.data_ptr(), address, scale.data_ptr()
    return tensors, (*places, b, g, c, low_b, low_g, low_c, 2 * scale_b, 2 * scale_g, rows.msb_bits)
