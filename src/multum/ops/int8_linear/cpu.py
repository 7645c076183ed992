"""Calls the compiled kernel `cpu.cpp` through ctypes. Shape legend as in `reference.py`."""

import ctypes
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int8
from torch import Tensor

from multum.native import NativeLibrary, load_native
from multum.ops.fast_linear import fast_linear

SOURCE = Path(__file__).with_name("cpu.cpp")
_POINTER = ctypes.c_void_p
_ARGUMENT_TYPES: list[Any] = [_POINTER] * 6 + [ctypes.c_int64]

FEW_ROWS = 64
"""Rows up to which the kernel widens weights on their way; beyond, they are widened once and meet torch's product."""

WIDENED_AT_ONCE = 2**22
"""Weights that are widened together: 16 MiB of floats."""


def library() -> NativeLibrary | None:
    """The compiled kernel, or None where it cannot be had."""
    return load_native(SOURCE)


def int8_linear_cpu(
    inputs_MI: Float[Tensor, "M I"],
    weight_OI: Int8[Tensor, "O I"],
    scale_O: Float[Tensor, " O"],
    bias_O: Float[Tensor, " O"] | None,
    round_activations: bool,
    *,
    vnni: bool = True,
) -> Float[Tensor, "M O"]:
    """The layer by the compiled kernel, float32 on the CPU.

    Args:
        inputs_MI: Activations.
        weight_OI: Codes of the weights.
        scale_O: Their scales.
        bias_O: Added at the end, or None.
        round_activations: Whether activations are rounded to int8.
        vnni: Whether AVX-512's int8 products may be used where the processor has them; the result is the same.
    """
    if not round_activations and len(inputs_MI) > FEW_ROWS:
        return _widened(inputs_MI, weight_OI, scale_O, bias_O)
    loaded = library()
    assert loaded is not None, "dispatch asked for a kernel that is not there"
    tensors = [None if t is None else t.contiguous() for t in (inputs_MI, weight_OI, scale_O, bias_O)]
    num_rows, num_inputs = inputs_MI.shape
    num_outputs = weight_OI.shape[0]
    output = torch.empty(num_rows, num_outputs)
    run = loaded.handle.multum_int8_linear
    run.argtypes, run.restype = _ARGUMENT_TYPES, None
    run(
        *(None if t is None else t.data_ptr() for t in tensors),
        output.data_ptr(),
        (ctypes.c_int64 * 5)(num_rows, num_inputs, num_outputs, round_activations, vnni),
        torch.get_num_threads(),
    )
    return output


def _widened(
    inputs_MI: Float[Tensor, "M I"],
    weight_OI: Int8[Tensor, "O I"],
    scale_O: Float[Tensor, " O"],
    bias_O: Float[Tensor, " O"] | None,
) -> Float[Tensor, "M O"]:
    """The layer in torch's own floats, so many outputs at a time that the widened weights stay small."""
    step = max(1, WIDENED_AT_ONCE // max(1, weight_OI.shape[1]))
    parts = []
    for first in range(0, weight_OI.shape[0], step):
        some = slice(first, first + step)
        weight = weight_OI[some].float().mul_(scale_O[some, None])
        parts.append(fast_linear(inputs_MI, weight, None if bias_O is None else bias_O[some]))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
