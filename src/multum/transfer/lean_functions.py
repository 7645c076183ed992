"""Layers whose backward keeps only what the gradient needs; torch's keep their inputs, whatever trains.

    a' = a W + b      the gradient of a needs W, that of W needs a, that of b needs neither

So a layer with a frozen weight keeps nothing that is not there anyway. torch's own layers keep `a` all the same, once
anything above or below them trains; these do not, and their gradients are the same.

Under torch.compile each is written as plain torch: the compiler sees forward and backward at once, keeps what the
gradient needs by itself, and may fuse what a function of ours would keep apart.

Shape legend: B batch, C and O channels in and out, H and W pixels; F and G features in and out.

Source: TinyTL (NeurIPS 2020), section 3.1 and Table 1.
Differs from the paper: which states what has to be kept; its code keeps what torch keeps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from multum.ops.fast_linear import fast_linear
from multum.ops.masked_activation import Bend, masked_activation, masked_activation_, masked_gradient
from multum.ops.masked_activation.op import is_channels_last, laid_out


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How a convolution goes over its input, one number a dimension."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    few_kernels: bool = False
    """Whether single pixels are mixed by torch's own product, which makes no code of its own for each shape."""
    border: tuple[int, int, int, int] | None = None
    """Zeros that are put around the input first, at its left, right, top and bottom, a picture at a time: there is
    never a copy of all of them."""


@dataclass(frozen=True, kw_only=True)
class FrozenWeight:
    """A weight that no gradient reaches, as what is stored and how the weight is made of it.

    It is made when it is needed, forward and backward, and never kept: a norm's scale may be in it, or integers.
    """

    stored: tuple[Tensor, ...]
    """Parameters and buffers, which stay in memory anyway."""
    build: Callable[..., Tensor]
    """Makes the weight of them."""


def plain(weight: Tensor) -> FrozenWeight:
    """A weight that is stored as it is used."""
    return FrozenWeight(stored=(weight,), build=_itself)


def scaled(weight: Tensor, scale_O: Tensor) -> FrozenWeight:
    """A weight with a factor for each of its outputs, that of a norm with fixed statistics."""
    return FrozenWeight(stored=(weight, scale_O), build=_times)


def frozen_conv(
    x: Float[Tensor, "B C ..."],
    weight: FrozenWeight,
    shift_O: Float[Tensor, " O"] | None,
    geometry: Geometry,
    *,
    bend: Bend | None = None,
) -> Float[Tensor, "B O ..."]:
    """A convolution with a frozen weight, and an activation behind it of which it keeps a bit an element.

    Args:
        x: Input.
        weight: (O, c, ...).
        shift_O: Added to each channel; may be trained.
        geometry: Stride, padding, dilation, groups.
        bend: The activation; None: none.
    """
    if torch.compiler.is_compiling() and bend is not None:  # a compiler sees the activation as an operation
        return masked_activation(frozen_conv(x, weight, shift_O, geometry), bend)
    result: Tensor = _FrozenConv.apply(x, shift_O, geometry, bend, weight.build, *weight.stored)
    return result


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


class _FrozenConv(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        shift: Tensor | None,
        geometry: Geometry,
        bend: Bend | None,
        build: Callable[..., Tensor],
        *stored: Tensor,
    ) -> Tensor:
        it = geometry
        y = convolve(x, build(*stored), shift, it)
        ctx.shape, ctx.geometry, ctx.bend, ctx.x_channels_last = x.shape, it, bend, is_channels_last(x)
        if not is_channels_last(y):
            y = y.contiguous()
        ctx.channels_last = is_channels_last(y)
        bits = None if bend is None else masked_activation_(y, bend)
        ctx.build, ctx.num_constants = build, 3 + len(stored)
        ctx.save_for_backward(bits, *stored)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        bits, *stored = ctx.saved_tensors
        wants_x, wants_shift = ctx.needs_input_grad[:2]
        total = None
        if bits is not None:
            placed = laid_out(gradient, channels_last=ctx.channels_last)
            gradient, total = masked_gradient(
                placed, bits, ctx.bend, with_sum=wants_shift, in_place=placed is not gradient
            )
        elif wants_shift:
            total = gradient.sum([0, *range(2, gradient.dim())])
        back = None
        if wants_x:
            weight = ctx.build(*stored)
            back = _conv_input_gradient(gradient, ctx.shape, weight, ctx.geometry, ctx.x_channels_last)
        return back, total, *[None] * ctx.num_constants


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
        shape_only = _empty(ctx.shape, gradient, channels_last=ctx.channels_last)  # no page of it is touched
        return torch.ops.aten.avg_pool2d_backward(gradient, shape_only, *ctx.options), None


def _itself(weight: Tensor) -> Tensor:
    return weight


def _times(weight: Tensor, scale: Tensor) -> Tensor:
    return weight * scale.view(-1, *[1] * (weight.dim() - 1))


def _by_channel(of_channels: Tensor, like: Tensor) -> Tensor:
    return of_channels.view(1, -1, *[1] * (like.dim() - 2))


def convolve(x: Tensor, weight: Tensor, shift: Tensor | None, it: Geometry) -> Tensor:
    """A convolution; one of single pixels as a linear layer over all of them, where channels lie inmost.

    With one thread and fewer than 16 pictures torch takes a way of its own there, of copies and products by MKL.
    """
    if it.border is not None:
        return _bordered_convolution(x, weight, shift, replace(it, border=None), it.border)
    if _is_pointwise(weight, it) and _is_plain(x, weight):
        rows = x.permute(0, 2, 3, 1)
        if it.few_kernels:
            return functional.linear(rows, weight.flatten(1), shift).permute(0, 3, 1, 2)
        return fast_linear(rows, weight.flatten(1), shift).permute(0, 3, 1, 2)
    return _convolution(x, weight, shift, it)


def _convolution(x: Tensor, weight: Tensor, shift: Tensor | None, it: Geometry) -> Tensor:
    return torch.convolution(x, weight, shift, it.stride, it.padding, it.dilation, False, (0,), it.groups)


def _bordered_convolution(
    x: Tensor, weight: Tensor, shift: Tensor | None, it: Geometry, border: tuple[int, int, int, int]
) -> Tensor:
    first = _convolution(functional.pad(x[:1], border), weight, shift, it)
    y = _empty((len(x), *first.shape[1:]), x, channels_last=is_channels_last(x))
    y[:1] = first
    for place in range(1, len(x)):
        y[place : place + 1] = _convolution(functional.pad(x[place : place + 1], border), weight, shift, it)
    return y


def _is_pointwise(weight: Tensor, it: Geometry) -> bool:
    ones = all(size == 1 for size in (*weight.shape[2:], *it.stride, it.groups))
    return ones and not any(it.padding)


def _is_plain(x: Tensor, weight: Tensor) -> bool:
    return x.is_cpu and x.dtype == weight.dtype == torch.float32 and x.numel() > 0 and is_channels_last(x)


def _conv_input_gradient(
    gradient: Tensor, shape: Sequence[int], weight: Tensor, it: Geometry, channels_last: bool
) -> Tensor:
    if it.border is not None:
        left, right, top, bottom = it.border
        height, width = shape[2:]
        wide = (1, shape[1], top + height + bottom, left + width + right)
        whole = _empty(shape, gradient, channels_last=channels_last)
        for place in range(shape[0]):
            some = gradient[place : place + 1]
            one = _conv_input_gradient(some, wide, weight, replace(it, border=None), channels_last)
            whole[place : place + 1] = one[:, :, top : top + height, left : left + width]
        return whole
    if _is_pointwise(weight, it) and _is_plain(gradient, weight):
        return convolve(gradient, weight.transpose(0, 1), None, it)
    shape_only = _empty(
        shape, gradient, channels_last=channels_last
    )  # only its shape is read, no page is touched
    back: Tensor = torch.ops.aten.convolution_backward(
        gradient,
        shape_only,
        weight,
        None,
        it.stride,
        it.padding,
        it.dilation,
        False,
        [0] * len(it.stride),
        it.groups,
        [True, False, False],
    )[0]
    return back


def _empty(shape: Sequence[int], like: Tensor, *, channels_last: bool) -> Tensor:
    """Memory to be filled; or, unfilled, an input of which backward reads nothing but shape and layout."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(tuple(shape), dtype=like.dtype, device=like.device, memory_format=layout)
