"""Calls the compiled kernel `cpu.cpp` through ctypes. Shape legend as in `reference.py`."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from multum.native import NativeLibrary, load_native
from multum.ops.masked_activation.reference import Bend

SOURCE = Path(__file__).with_name("cpu.cpp")
_POINTER, _COUNT = ctypes.c_void_p, ctypes.c_int64
_ARGUMENTS: dict[str, list[Any]] = {
    "multum_masked_activation": [*[_POINTER] * 3, _COUNT, ctypes.c_float * 3, ctypes.c_int],
    "multum_masked_gradient": [*[_POINTER] * 3, *[_COUNT] * 3, ctypes.c_float, _POINTER, ctypes.c_int],
}


def library() -> NativeLibrary | None:
    """The compiled kernel, or None where it cannot be had."""
    return load_native(SOURCE)


def activate(x: Float[Tensor, "..."], out: Float[Tensor, "..."], bend: Bend) -> UInt8[Tensor, " P"]:
    """Write the activation of x, dense, into `out`, which lies in memory as x does and may be x; return the bits."""
    bits = torch.empty((x.numel() + 7) // 8, dtype=torch.uint8)
    run = _function("multum_masked_activation")
    bends = (ctypes.c_float * 3)(bend.low, bend.top, bend.negative_slope)
    run(x.data_ptr(), out.data_ptr(), bits.data_ptr(), x.numel(), bends, torch.get_num_threads())
    return bits


def gradient_of(
    gradient: Float[Tensor, "..."],
    bits: UInt8[Tensor, " P"],
    out: Float[Tensor, "..."] | None,
    bend: Bend,
    *,
    with_sum: bool,
) -> Float[Tensor, " C"] | None:
    """Write the gradient of x into `out`, which may be `gradient`; return its sum by channel, where it is wanted.

    Without `out` the sum alone is made.

    `gradient` has a standard layout, and `out` the same.
    """
    inner, channels, sums = 1, 1, None
    if with_sum:
        channels = gradient.shape[1]
        inner = gradient.stride(1) if gradient.numel() else 1
        sums = torch.empty(channels)
    run = _function("multum_masked_gradient")
    run(
        *(None if it is None else it.data_ptr() for it in (gradient, bits, out)),
        *(gradient.numel(), channels, inner, bend.negative_slope),
        None if sums is None else sums.data_ptr(),
        torch.get_num_threads(),
    )
    return sums


def _function(name: str) -> Any:
    loaded = library()
    assert loaded is not None, "dispatch asked for a kernel that is not there"
    return _declared(loaded.handle, name)


@cache
def _declared(handle: ctypes.CDLL, name: str) -> Any:
    function = getattr(handle, name)
    function.argtypes, function.restype = _ARGUMENTS[name], None
    return function
