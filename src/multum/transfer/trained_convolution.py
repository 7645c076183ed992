"""A convolution that trains, the norm by fixed statistics behind it, and an activation, as one layer.

    y = scale (x * W - mean) + bias  =  x * (scale W) + (bias - scale mean)

torch keeps the inputs of all three for backward. As one layer it is the convolution's, and a bit of each output: with
G the gradient of (scale W), that of W is scale G, and that of the scale is the sum of W G, less the mean's share in the
shift's. All of that is of a weight's size.

Shape legend: B batch, C and O channels in and out.

Source: TinyTL (NeurIPS 2020), section 3.1, of what backward needs.
Differs from the paper: which charges the norm's input wherever its scale trains.
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

from multum.ops.masked_activation import Bend, masked_activation_, masked_gradient
from multum.ops.masked_activation.op import is_channels_last, laid_out
from multum.transfer.frozen_convolution import (
    Geometry,
    conv_input_gradient,
    convolution_backward,
    convolve,
    is_pointwise,
)


def trained_convolution(
    x: Float[Tensor, "B C ..."],
    weight: Float[Tensor, "O c ..."],
    factor: Float[Tensor, " O"],
    shift: Float[Tensor, " O"],
    it: Geometry,
    bend: Bend | None = None,
) -> Float[Tensor, "B O ..."]:
    """Convolve, multiply each channel, shift it and bend, with gradients of everything.

    Args:
        x: Input.
        weight: As `nn.Conv2d` has it.
        factor: Of each output channel.
        shift: Added to it after that.
        it: How the convolution goes over its input; without a border.
        bend: The activation; None: none.

    >>> import torch
    >>> once = Geometry(stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1)
    >>> twice, thrice = torch.full((1, 1, 1, 1), 2.0), torch.full((1,), 3.0)
    >>> trained_convolution(torch.ones(1, 1, 1, 1), twice, thrice, torch.ones(1), it=once).item()
    7.0
    """
    result: Tensor = _TrainedConvolution.apply(x, weight, factor, shift, it, bend)
    return result


class _TrainedConvolution(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, factor: Tensor, shift: Tensor, it: Geometry, bend: Bend | None
    ) -> Tensor:
        y = convolve(x, weight * _by_output(factor, weight), shift, it)
        bits = None
        if bend is not None:
            y = y if is_channels_last(y) else y.contiguous()
            bits = masked_activation_(y, bend)
        ctx.geometry, ctx.bend, ctx.channels_last = it, bend, is_channels_last(y)
        ctx.save_for_backward(x, weight, factor, bits)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, factor, bits = ctx.saved_tensors
        wants_x, wants_weight, wants_factor, wants_shift = ctx.needs_input_grad[:4]
        it, back, of_weight, of_factor, of_shift = ctx.geometry, None, None, None, None
        if bits is not None:
            placed = laid_out(gradient, channels_last=ctx.channels_last)
            in_place = placed is not gradient
            gradient, of_shift = masked_gradient(
                placed, bits, ctx.bend, with_sum=wants_shift, in_place=in_place
            )
        elif wants_shift:
            of_shift = gradient.sum([0, *range(2, gradient.dim())])
        by_output = _by_output(factor, weight)
        if wants_x:
            back = conv_input_gradient(gradient, x.shape, weight * by_output, it, is_channels_last(x))
        if wants_weight or wants_factor:
            of_scaled = conv_weight_gradient(gradient, x, weight, it)
            if wants_factor:
                of_factor = (of_scaled * weight).sum([*range(1, weight.dim())])
            of_weight = of_scaled.mul_(by_output) if wants_weight else None
        return back, of_weight, of_factor, of_shift, None, None


def conv_weight_gradient(gradient: Tensor, x: Tensor, weight: Tensor, it: Geometry) -> Tensor:
    """The gradient of a weight, in memory of its own; of single pixels as a product of matrices."""
    if is_pointwise(weight, it):
        rows = gradient.movedim(1, -1).flatten(0, -2)
        return (rows.T @ x.movedim(1, -1).flatten(0, -2)).view(weight.shape)
    return convolution_backward(gradient, x, weight, it, of=1)


def _by_output(of_outputs: Tensor, weight: Tensor) -> Tensor:
    return of_outputs.view(-1, *[1] * (weight.dim() - 1))
