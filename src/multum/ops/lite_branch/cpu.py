"""Calls the compiled kernel `cpu.cpp` through ctypes. Shape legend as in `reference.py`."""

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multum.native import NativeLibrary, load_native
from multum.ops.lite_branch.reference import LiteLayer, LiteSteps

SOURCE = Path(__file__).with_name("cpu.cpp")
_POINTER = ctypes.c_void_p
_ARGUMENTS: dict[str, list[Any]] = {
    "multum_lite_forward": [*[_POINTER] * 9, ctypes.c_int],
    "multum_lite_backward": [*[_POINTER] * 8, ctypes.c_int],
}


def library() -> NativeLibrary | None:
    """The compiled kernel, or None where it cannot be had."""
    return load_native(SOURCE)


def forward(
    x: Tensor,
    base: Tensor,
    first: LiteLayer,
    second: LiteLayer,
    steps: LiteSteps,
    made: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Fill y, the pooled map and the bent one; all maps have channels inmost, and weights any dense layout."""
    y, pooled, bent = made
    pointers = [it.data_ptr() for it in (x, base, pooled, bent, y)]
    _call("multum_lite_forward", x.shape, y.shape, first, second, steps, pointers)


def backward(
    gradient: Tensor,
    kept: tuple[Tensor, Tensor],
    first: LiteLayer,
    second: LiteLayer,
    x_shape: torch.Size,
    steps: LiteSteps,
    made: Sequence[Tensor | None],
) -> None:
    """Fill the gradients of x, where it is given, and of weight, scale and shift of both layers."""
    places = (_POINTER * len(made))(*(None if it is None else it.data_ptr() for it in made))
    pointers = [*(it.data_ptr() for it in (gradient, *kept)), places]
    _call("multum_lite_backward", x_shape, gradient.shape, first, second, steps, pointers)


def _call(
    name: str,
    x_shape: torch.Size,
    y_shape: torch.Size,
    first: LiteLayer,
    second: LiteLayer,
    steps: LiteSteps,
    pointers: list[Any],
) -> None:
    loaded = library()
    assert loaded is not None, "dispatch asked for a kernel that is not there"
    pictures, channels, height, width = x_shape
    groups, kernel = channels // first.weight.shape[1], first.weight.shape[-1]
    sizes = (pictures, height, width, channels, y_shape[1], groups, kernel, *steps, *y_shape[2:])
    strides = (*first.weight.stride(), *second.weight.stride())
    tensors = (*first[:5], *second[:5])
    _declared(loaded.handle, name)(
        (ctypes.c_int64 * len(sizes))(*sizes),
        (ctypes.c_int64 * len(strides))(*strides),
        (_POINTER * len(tensors))(*(it.data_ptr() for it in tensors)),
        (ctypes.c_double * 2)(first.eps, second.eps),
        *pointers,
        torch.get_num_threads(),
    )


@cache
def _declared(handle: ctypes.CDLL, name: str) -> Any:
    function = getattr(handle, name)
    function.argtypes, function.restype = _ARGUMENTS[name], None
    return function
