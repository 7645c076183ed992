"""Static quantization: queries, keys and values of an encoder rounded to a few bits, always the same number.

Encoders compute, they do not wait for memory, so that the second plane of bits that generation fetches on demand would
save them nothing: one width for all rows is what the paper uses for BERT. Here the rounding is simulated: integers held
exactly in floating point, times their scale. It shows what the bits cost in accuracy and lets a model be trained to
live with them; on a CPU or GPU it saves neither time nor memory.

Shape legend: the last axis is D, the channels of a head.

Source: SpAtten (HPCA 2021), section III-D (linear, symmetric).
Differs from the paper: which does not say what shares a scale; here every row of a head has its own, so that neither
padding nor the other sentences of a batch can move it. The step back lets gradients pass as if nothing was rounded.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def quantize_static(x: Float[Tensor, "... D"], bits: int) -> Float[Tensor, "... D"]:
    """Round every row to `bits`: `scale * round(x / scale)`, where the row's largest becomes the largest integer.

    Args:
        x: Rows; each has a scale of its own.
        bits: Width of the integers with their sign, in 2..16; they reach from `-(2^(bits-1) - 1)` to its opposite.

    Returns:
        The rounded rows in the dtype of `x`. The gradient passes unchanged (a straight-through estimate).

    >>> quantize_static(torch.tensor([1.0, 0.4, -0.6]), 2).tolist()
    [1.0, 0.0, -1.0]
    """
    rounded: Tensor = _RoundThrough.apply(x, bits)
    return rounded


class _RoundThrough(torch.autograd.Function):
    """Rounds going forward, lets the gradient through going back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bits: int) -> Tensor:  # noqa: ARG004 - torch's signature
        exact = x.to(torch.promote_types(x.dtype, torch.float32))  # 16 bits do not fit into bfloat16
        largest = 2 ** (bits - 1) - 1
        scale = exact.abs().amax(dim=-1, keepdim=True) / largest
        safe = scale.where(scale > 0, 1.0)
        rounded: Tensor = (exact / safe).round() * safe
        return rounded.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return grads[0], None
