"""Layers whose backward keeps only what the gradient needs; torch's keep their inputs, whatever trains.

    a' = a W + b      the gradient of a needs W, that of W needs a, that of b needs neither

So a layer with a frozen weight keeps nothing that is not there anyway. torch's own layers keep `a` all the same, once
anything above or below them trains; these do not, and their gradients are the same.

Under torch.compile each is written as plain torch: the compiler sees forward and backward at once, keeps what the
gradient needs by itself, and may fuse what a function of ours would keep apart.

Shape legend: B batch, C channels, H and W pixels; F and G features in and out.

Source: TinyTL (NeurIPS 2020), section 3.1 and Table 1.
Differs from the paper: which states what has to be kept; its code keeps what torch keeps.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from multum.ops.masked_activation.op import is_channels_last
from multum.transfer.frozen_convolution import shape_only
from multum.transfer.frozen_weight import FrozenWeight


def frozen_linear(
    x: Float[Tensor, "... F"], weight: FrozenWeight, bias_G: Float[Tensor, " G"] | None
) -> Float[Tensor, "... G"]:
    """A linear layer with a frozen weight (G, F); its bias may be trained."""
    if torch.compiler.is_compiling():
        return functional.linear(x, weight.build(*weight.stored), bias_G)
    result: Tensor = _FrozenLinear.apply(x, bias_G, weight.build, *weight.stored)
    return result


def fixed_norm(
    x: Float[Tensor, "B C ..."], scale_C: Float[Tensor, " C"], shift_C: Float[Tensor, " C"]
) -> Float[Tensor, "B C ..."]:
    """A norm with fixed statistics and a frozen scale: x scale + shift; its shift may be trained."""
    if torch.compiler.is_compiling():
        return x * _by_channel(scale_C, x) + _by_channel(shift_C, x)
    result: Tensor = _FixedNorm.apply(x, shift_C, scale_C)
    return result


def average_pool(
    x: Float[Tensor, "B C H W"],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    *,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> Float[Tensor, "B C h w"]:
    """Average pooling that keeps the shape of its input."""
    options = (kernel, stride, padding, ceil_mode, count_include_pad, divisor)
    result: Tensor = _AveragePool.apply(x, options)
    return result


class _FrozenLinear(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, bias: Tensor | None, build: Callable[..., Tensor], *stored: Tensor
    ) -> Tensor:
        ctx.build = build
        ctx.save_for_backward(*stored)
        return functional.linear(x, build(*stored), bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        wants_x, wants_bias = ctx.needs_input_grad[:2]
        total = gradient.sum(list(range(gradient.dim() - 1))) if wants_bias else None
        back = gradient @ ctx.build(*ctx.saved_tensors) if wants_x else None
        return back, total, None, *[None] * len(ctx.saved_tensors)


class _FixedNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(scale)
        return torch.addcmul(_by_channel(shift, x), x, _by_channel(scale, x))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = ctx.saved_tensors
        wants_x, wants_shift = ctx.needs_input_grad[:2]
        total = gradient.sum([0, *range(2, gradient.dim())]) if wants_shift else None
        return gradient * _by_channel(scale, gradient) if wants_x else None, total, None


class _AveragePool(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, options: tuple[Any, ...]) -> Tensor:
        ctx.shape, ctx.options, ctx.channels_last = x.shape, options, is_channels_last(x)
        pooled: Tensor = torch.ops.aten.avg_pool2d(x, *options)
        return pooled

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        given = shape_only(ctx.shape, gradient, channels_last=ctx.channels_last)
        return torch.ops.aten.avg_pool2d_backward(gradient, given, *ctx.options), None


def _by_channel(of_channels: Tensor, like: Tensor) -> Tensor:
    return of_channels.view(1, -1, *[1] * (like.dim() - 2))
