"""A convolution and the gradient of its input, by whichever library is fastest at its geometry; no more is kept.

Shape legend: B batch, C and O channels in and out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from multum.ops.fast_linear import fast_linear
from multum.ops.masked_activation.op import is_channels_last


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How a convolution goes over its input, one number a dimension."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    few_kernels: bool = False
    """Whether single pixels are mixed by torch's own product, which makes no code of its own for each shape."""
    border: Callable[[int, int], tuple[int, int, int, int]] | None = None
    """Tells of an input so high and wide how many zeros are put around it first, at its left, right, top and bottom;
    a picture at a time, so that there is never a copy of all of them."""


def convolve(x: Tensor, weight: Tensor, shift: Tensor | None, it: Geometry) -> Tensor:
    """A convolution; one of single pixels as a linear layer over all of them, where channels lie inmost.

    With one thread and fewer than 16 pictures torch takes a way of its own there, of copies and products by MKL.
    """
    if it.border is not None:
        return _bordered_convolution(x, weight, shift, replace(it, border=None), it.border(*x.shape[-2:]))
    if is_pointwise(weight, it) and _is_plain(x, weight):
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
    y = empty_in_layout((len(x), *first.shape[1:]), x, channels_last=is_channels_last(x))
    y[:1] = first
    for place in range(1, len(x)):
        y[place : place + 1] = _convolution(functional.pad(x[place : place + 1], border), weight, shift, it)
    return y


def is_pointwise(weight: Tensor, it: Geometry) -> bool:
    """Whether each pixel is mixed by itself."""
    ones = all(size == 1 for size in (*weight.shape[2:], *it.stride, it.groups))
    return ones and not any(it.padding)


def _is_plain(x: Tensor, weight: Tensor) -> bool:
    return x.is_cpu and x.dtype == weight.dtype == torch.float32 and x.numel() > 0 and is_channels_last(x)


def conv_input_gradient(
    gradient: Tensor, shape: Sequence[int], weight: Tensor, it: Geometry, channels_last: bool
) -> Tensor:
    """The gradient of the input, in memory of its own.

    Args:
        gradient: Of the output.
        shape: Of the input.
        weight: As in `convolve`.
        it: The convolution's.
        channels_last: Whether the input's channels lie inmost.
    """
    if it.border is not None:
        height, width = shape[2:]
        left, right, top, bottom = it.border(height, width)
        wide = (1, shape[1], top + height + bottom, left + width + right)
        whole = empty_in_layout(shape, gradient, channels_last=channels_last)
        for place in range(shape[0]):
            some = gradient[place : place + 1]
            one = conv_input_gradient(some, wide, weight, replace(it, border=None), channels_last)
            whole[place : place + 1] = one[:, :, top : top + height, left : left + width]
        return whole
    if is_pointwise(weight, it) and _is_plain(gradient, weight):
        return convolve(gradient, weight.transpose(0, 1), None, it)
    given = shape_only(shape, gradient, channels_last=channels_last)
    return convolution_backward(gradient, given, weight, it, of=0)


def convolution_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, it: Geometry, *, of: Literal[0, 1]
) -> Tensor:
    """Torch's gradient of the input, 0, or of the weight, 1."""
    found: Tensor = torch.ops.aten.convolution_backward(
        gradient,
        x,
        weight,
        None,
        it.stride,
        it.padding,
        it.dilation,
        False,
        [0] * len(it.stride),
        it.groups,
        [of == 0, of == 1, False],
    )[of]
    return found


def empty_in_layout(shape: Sequence[int], like: Tensor, *, channels_last: bool) -> Tensor:
    """Memory to be filled."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(tuple(shape), dtype=like.dtype, device=like.device, memory_format=layout)


def shape_only(shape: Sequence[int], like: Tensor, *, channels_last: bool) -> Tensor:
    """An input of which a backward of torch reads nothing but shape and layout: no page of it is touched."""
    if like.is_meta:  # a ledger counts bytes, touched or not
        return like.new_empty(()).expand(tuple(shape))
    return empty_in_layout(shape, like, channels_last=channels_last)
