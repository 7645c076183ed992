"""Calls the compiled kernel `cpu.cpp` through ctypes. Shape legend as in `reference.py`."""

import ctypes
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from multum.native import NativeLibrary, load_native

SOURCE = Path(__file__).with_name("cpu.cpp")
_POINTER = ctypes.c_void_p
_ARGUMENT_TYPES: list[Any] = [_POINTER] * 9 + [ctypes.c_float, ctypes.c_int]


def library() -> NativeLibrary | None:
    """The compiled kernel, or None where it cannot be had."""
    return load_native(SOURCE)


def importance_attention_cpu(
    query_BHQD: Float[Tensor, "B H Q D"],
    key_BGKD: Float[Tensor, "B G K D"],
    value_BGKD: Float[Tensor, "B G K D"],
    key_mask_BK: Bool[Tensor, "B K"] | None,
    query_mask_BQ: Bool[Tensor, "B Q"] | None,
    scale: float,
    *,
    causal: bool = False,
    importance_from: int = 0,
) -> tuple[Float[Tensor, "B H Q D"], Float[Tensor, "B H K"]]:
    """Context and importance by the compiled kernel; float32 on the CPU, any strides but a contiguous last axis.

    The context lies in memory as (B, Q, H, D), so that merging the heads afterwards is free.
    """
    loaded = library()
    assert loaded is not None, "dispatch asked for a kernel that is not there"
    query, key, value = (
        t if t.stride(-1) == 1 else t.contiguous() for t in (query_BHQD, key_BGKD, value_BGKD)
    )
    num_batch, num_heads, num_rows, width = query.shape
    num_groups, num_keys = key.shape[1:3]
    context = torch.empty(num_batch, num_rows, num_heads, width, dtype=query.dtype).transpose(1, 2)
    importance = torch.empty(num_batch, num_heads, num_keys, dtype=query.dtype)
    masks = [None if m is None else m.contiguous() for m in (key_mask_BK, query_mask_BQ)]
    strides = [step for t in (query, key, value, context) for step in t.stride()[:3]]
    sizes = num_batch, num_heads, num_groups, num_rows, num_keys, width
    run = loaded.handle.multum_importance_attention
    run.argtypes, run.restype = _ARGUMENT_TYPES, None
    run(
        *(t.data_ptr() for t in (query, key, value, context, importance)),
        *(None if m is None else m.data_ptr() for m in masks),
        (ctypes.c_int64 * 12)(*strides),
        (ctypes.c_int64 * 8)(*sizes, causal, importance_from),
        scale,
        torch.get_num_threads(),
    )
    return context, importance
