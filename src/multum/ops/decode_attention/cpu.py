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

from multum.core import UserError, invalid
from multum.native import NativeLibrary, load_native
from multum.ops.bit_planes import PLAIN, FloatRows, PlaneRows, RowFrame, Rows

SOURCE = Path(__file__).with_name("cpu.cpp")
_QUERY, _REST = Struct("3q"), Struct("15q2d4q")
"""The C++ struct `Call`: the query, two places of rows, then addresses and sizes, threshold and scale, the ledger; the
frame comes after."""
_CHANGING, _CHANGING_AT = Struct("6q"), 27 * 8
"""The part of it from `count` to `context`."""
_THREADS, _THREADS_AT = Struct("q"), 41 * 8
_NO_FRAME = PLAIN.place or b""
_CHOICE = Struct("8q")
"""The C++ struct `Choice`: addresses, strides and sizes."""
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""Types of queries that the kernel takes; it computes in float32."""

Outcome = tuple[Tensor, Tensor, Tensor, Tensor]


def library() -> NativeLibrary | None:
    """The compiled kernel, or None where it cannot be had."""
    return load_native(SOURCE)


def takes(rows: Rows) -> bool:
    """Whether the kernel reads rows of this kind: planes, float32 or bfloat16."""
    return isinstance(rows, PlaneRows) or rows.rows.dtype in {torch.float32, torch.bfloat16}


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
    query_b, query_h, step = wide.stride()
    if step != 1:
        wide = wide.contiguous()
        query_b, query_h, _ = wide.stride()
    key, value = _placed(key), _placed(value)  # the tensors are alive until the call is over
    first = key.msb if isinstance(key, PlaneRows) else key.rows
    (batch, heads, width), (_, groups, slots, _) = wide.shape, first.shape
    context, importance = torch.empty(batch, heads, width), torch.empty(batch, slots)
    flat = torch.empty(batch, heads, dtype=torch.bool)
    value_rows = torch.empty(batch, groups, dtype=torch.int64)
    if whole is not None and whole.stride(1) != 1:
        whole = whole.contiguous()
    count, group, num_values = _integers(count), _optional(group), _optional(num_values)
    assert key.place is not None
    assert value.place is not None
    failed = _functions()[0](
        _QUERY.pack(wide.data_ptr(), query_b, query_h)
        + key.place
        + value.place
        + _REST.pack(
            count.data_ptr(),
            0 if group is None else group.data_ptr(),
            0 if num_values is None else num_values.data_ptr(),
            *((0, 0) if whole is None else (whole.data_ptr(), whole.stride(0))),
            context.data_ptr(), importance.data_ptr(), flat.data_ptr(), value_rows.data_ptr(),
            batch, heads, groups, slots, width, torch.get_num_threads(), threshold, scale,
            0, 0, 0, 0,
        )
        + _NO_FRAME
    )  # fmt: skip
    if failed:
        raise invalid("count and group", f"in 0..{slots} and in 0..{groups - 1}", (count, group))
    return context if wide is query else context.to(query.dtype), importance, flat, value_rows


class PackedCall:
    """The struct of a call that is made again and again: what does not change is written once.

    `importance`, `flat`, `value_rows` and `evicted` are overwritten by every run.
    """

    def __init__(
        self,
        key: Rows,
        value: Rows,
        num_heads: int,
        threshold: float,
        scale: float,
        total: Tensor | None,
        protected: Tensor | None,
        frame: RowFrame,
    ) -> None:
        assert key.place is not None
        assert value.place is not None
        assert frame.place is not None
        self._alive = key, value, total, protected, frame
        batch, groups, slots = (key.msb if isinstance(key, PlaneRows) else key.rows).shape[:3]
        self.shape = batch, num_heads, key.width
        self.importance = torch.empty(batch, slots)
        self.flat = torch.empty(batch, num_heads, dtype=torch.bool)
        self.value_rows = torch.empty(batch, groups, dtype=torch.int64)
        self.evicted = torch.empty(batch, dtype=torch.int64)
        ledger = (0, 0, 0, 0)
        if total is not None:
            keep = (0, 0) if protected is None else (protected.data_ptr(), protected.stride(0))
            ledger = (total.data_ptr(), *keep, self.evicted.data_ptr())
        outputs = self.importance.data_ptr(), self.flat.data_ptr(), self.value_rows.data_ptr()
        sizes = batch, num_heads, groups, slots, key.width, 0
        self._memory = ctypes.create_string_buffer(
            _QUERY.pack(0, 0, 0)
            + key.place
            + value.place
            + _REST.pack(0, 0, 0, 0, 0, 0, *outputs, *sizes, threshold, scale, *ledger)
            + frame.place
        )
        self._run = _functions()[0]

    def run(
        self,
        query: Tensor,
        count: Tensor,
        group: Tensor | None,
        num_values: Tensor | None,
        whole: Tensor | None,
    ) -> Tensor:
        """Context of one call; float32 queries with contiguous channels, contiguous integers in int64."""
        context = torch.empty(self.shape)
        query_b, query_h, _ = query.stride()
        _QUERY.pack_into(self._memory, 0, query.data_ptr(), query_b, query_h)
        _CHANGING.pack_into(
            self._memory, _CHANGING_AT,
            count.data_ptr(),
            0 if group is None else group.data_ptr(),
            0 if num_values is None else num_values.data_ptr(),
            *((0, 0) if whole is None else (whole.data_ptr(), whole.stride(0))),
            context.data_ptr(),
        )  # fmt: skip
        _THREADS.pack_into(self._memory, _THREADS_AT, torch.get_num_threads())
        failed = self._run(self._memory)
        if failed == 2:
            raise nan_importance()
        if failed:
            raise invalid("count and group", "of slots and groups that are there", (count, group))
        return context


def takes_importance(importance: Tensor, protected: Tensor | None, count: Tensor) -> bool:
    """Whether `evict_lowest_cpu` takes these tensors: on the CPU, float32, last axis contiguous."""
    if type(importance) is not Tensor or not importance.is_cpu or torch.compiler.is_compiling():
        return False
    if importance.dtype is not torch.float32 or importance.stride(1) != 1 or library() is None:
        return False
    return count.is_cpu and (
        protected is None or (protected.dtype is torch.bool and protected.stride(1) == 1)
    )


def evict_lowest_cpu(importance: Tensor, protected: Tensor | None, count: Tensor) -> Tensor:
    """The slots that go."""
    batch, slots = importance.shape
    slot, count = torch.empty(batch, dtype=torch.int64), _integers(count)
    keep, keep_step = (0, 0) if protected is None else (protected.data_ptr(), protected.stride(0))
    place = importance.data_ptr(), importance.stride(0), keep, keep_step
    failed = _functions()[1](_CHOICE.pack(*place, count.data_ptr(), slot.data_ptr(), batch, slots))
    if failed == 2:
        raise invalid("count", f"in 0..{slots}", count)
    if failed:
        raise nan_importance()
    return slot


def nan_importance() -> UserError:
    """What is said when slots cannot be ranked."""
    remedy = "look for NaN or infinity in the model's queries and keys"
    return invalid("importance", "free of NaN", "NaN", remedy)


@cache
def _functions() -> tuple[Callable[[Any], int], Callable[[Any], int]]:
    loaded = library()
    assert loaded is not None, "dispatch asked for a kernel that is not there"
    attend, evict = loaded.handle.multum_decode_attention, loaded.handle.multum_evict_lowest
    for run in (attend, evict):
        run.argtypes, run.restype = [ctypes.c_char_p], ctypes.c_int
    return attend, evict


def _integers(tensor: Tensor) -> Tensor:
    if tensor.dtype is torch.int64 and tensor.is_contiguous():
        return tensor
    return tensor.long().contiguous()


def _optional(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else _integers(tensor)


def _placed(rows: Rows) -> Rows:
    """The rows, copied where the kernel could not read them as they lie."""
    if rows.place is not None:
        return rows
    if isinstance(rows, FloatRows):
        return FloatRows(rows=rows.rows.contiguous())
    lsb = None if rows.lsb is None else rows.lsb.contiguous()
    return replace(rows, msb=rows.msb.contiguous(), lsb=lsb, scale=rows.scale.contiguous())
