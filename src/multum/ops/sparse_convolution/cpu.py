"""Calls the compiled kernel `cpu.cpp` through ctypes. Shape legend as in `reference.py`."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multum.native import NativeLibrary, load_native

SOURCE = Path(__file__).with_name("cpu.cpp")
_POINTER, _LONG, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int


def library() -> NativeLibrary | None:
    """The compiled kernel, or None where it cannot be had."""
    return load_native(SOURCE)


def convolve(
    x_NC: Tensor,
    weight: Tensor,
    lists: tuple[Tensor, Tensor, Tensor, Tensor],
    end: tuple[Tensor | None, Tensor | None, bool] = (None, None, False),
    *,
    turned: bool = False,
) -> Tensor:
    """Outputs by (source, target, starts, target rows) and (bias, base, relu). All dense.

    The weight is (K, C, O), or (K, O, C) where it is turned.
    """
    source_P, target_P, starts_KB, target_row_M = lists
    bias_O, base_MO, relu = end
    outputs, targets = weight.shape[1 if turned else 2], len(target_row_M)
    y_MO = x_NC.new_empty(targets, outputs)
    _functions().convolve(
        *(it.data_ptr() for it in (x_NC, weight, source_P, target_P, starts_KB, target_row_M)),
        targets, len(starts_KB), x_NC.shape[1], outputs, turned,
        *(None if it is None else it.data_ptr() for it in (bias_O, base_MO)),
        relu, torch.get_num_threads(), y_MO.data_ptr(),
    )  # fmt: skip
    return y_MO


def weight_gradient(x_NC: Tensor, gradient_MO: Tensor, lists: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The gradient of the weight, (K, C, O). All dense."""
    source_P, target_P, starts_KB = lists
    inputs, outputs = x_NC.shape[1], gradient_MO.shape[1]
    out = x_NC.new_empty(len(starts_KB), inputs, outputs)
    _functions().weight_gradient(
        x_NC.data_ptr(), gradient_MO.data_ptr(), source_P.data_ptr(), target_P.data_ptr(), starts_KB.data_ptr(),
        len(starts_KB), starts_KB.shape[1] - 1, inputs, outputs, torch.get_num_threads(), out.data_ptr(),
    )  # fmt: skip
    return out


class _Functions:
    """Both functions of the library, with their arguments declared."""

    def __init__(self, handle: ctypes.CDLL) -> None:
        sizes = (_LONG,) * 4
        self.convolve: Any = handle.multum_sparse_convolution
        ends = (_POINTER, _POINTER, _INT, _INT, _POINTER)
        self.convolve.argtypes, self.convolve.restype = [*(_POINTER,) * 6, *sizes, _INT, *ends], None
        self.weight_gradient: Any = handle.multum_sparse_convolution_weight
        self.weight_gradient.argtypes = [*[_POINTER] * 5, *sizes, _INT, _POINTER]
        self.weight_gradient.restype = None


@cache
def _functions() -> _Functions:
    loaded = library()
    assert loaded is not None, "dispatch asked for a kernel that is not there"
    return _Functions(loaded.handle)
