"""Border, convolution, norm and activation of an `nn.Sequential` as one layer: nothing between them is written or kept.

A frozen convolution, the norm with fixed statistics behind it and a ReLU are one convolution with another weight and
shift, and a bit of each output. The weight with the norm's scale in it is made when it is needed, and never kept.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from multum.backbones import SamePadding
from multum.ops.masked_activation import Bend
from multum.transfer.lean_functions import frozen_conv
from multum.transfer.lean_layers import (
    FixedBatchNorm2d,
    LeanConv2d,
    LeanLeakyReLU,
    LeanReLU,
    LeanReLU6,
    geometry_of,
    scale_and_shift,
)


class LeanSequential(nn.Sequential):
    """A sequence whose runs of frozen convolution, fixed norm and activation are one layer each.

    Hooks of the layers inside a run are not called.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The same as `nn.Sequential`'s."""
        for run in _runs(list(self)):
            x = _run(run, x) if len(run) > 1 else run[0](x)
        return x


def bend_of(module: nn.Module) -> Bend | None:
    """Where a lean activation bends; None for anything else.

    >>> bend_of(LeanReLU6())
    Bend(low=0.0, high=6.0, negative_slope=0.0)
    """
    if isinstance(module, LeanReLU):
        return Bend()
    if isinstance(module, LeanReLU6):
        return Bend(high=6.0)
    return Bend(negative_slope=module.negative_slope) if isinstance(module, LeanLeakyReLU) else None


def _runs(layers: list[nn.Module]) -> Iterator[list[nn.Module]]:
    place = 0
    while place < len(layers):
        end = place + 1
        if _is_border(layers[place]) and end < len(layers) and _is_frozen_conv(layers[end]):
            end += 1
        if _is_frozen_conv(layers[end - 1]):
            end += end < len(layers) and _is_frozen_norm(layers[end])
            end += end < len(layers) and bend_of(layers[end]) is not None
        yield layers[place:end]
        place = end


def _is_border(layer: nn.Module) -> bool:
    """Whether it puts zeros around pictures; a compiler sees that by itself."""
    return isinstance(layer, SamePadding) and not torch.compiler.is_compiling()


def _is_frozen_conv(layer: nn.Module) -> bool:
    return isinstance(layer, LeanConv2d) and layer.frozen_weight() is not None


def _is_frozen_norm(layer: nn.Module) -> bool:
    return isinstance(layer, FixedBatchNorm2d) and not (
        layer.weight is not None and layer.weight.requires_grad
    )


def _run(run: list[nn.Module], x: Tensor) -> Tensor:
    border = run[0].border(*x.shape[-2:]) if isinstance(run[0], SamePadding) else None
    conv, *rest = run if border is None else run[1:]
    assert isinstance(conv, LeanConv2d), "runs begin with one, or with its border"
    shift, scale = conv.bias, None
    if rest and isinstance(rest[0], FixedBatchNorm2d):
        scale, shift = scale_and_shift(rest[0])
        shift = shift if conv.bias is None else shift + conv.bias * scale
    weight = conv.frozen_weight(scale)
    assert weight is not None, "asked before"
    geometry = replace(geometry_of(conv), border=border)
    return frozen_conv(x, weight, shift, geometry, bend=bend_of(rest[-1]) if rest else None)
