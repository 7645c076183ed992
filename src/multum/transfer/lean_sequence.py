"""Borders, convolutions, norms and activations behind each other as one layer: little between them is kept.

A frozen convolution, the norm with fixed statistics behind it and a ReLU are one convolution with another weight and
shift, and a bit of each output. The weight with the norm's scale in it is made when it is needed, and never kept. Such
links behind each other are a chain (`multum.transfer.frozen_chain`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from multum.backbones import InvertedResidual, SamePadding
from multum.ops.masked_activation import Bend
from multum.transfer.frozen_chain import Link, frozen_chain
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
    """A sequence whose runs of frozen convolutions, fixed norms and activations are one layer each.

    Hooks of the layers inside a run are not called.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The same as `nn.Sequential`'s."""
        return run_layers(self, x)


class LeanInvertedResidual(InvertedResidual):
    """A block whose three convolutions, where they are frozen, are one layer."""

    def forward(self, narrow: Tensor) -> Tensor:
        """The same as `InvertedResidual`'s."""
        out = run_layers([*self.expand, *self.depthwise, *self.project], narrow)
        return narrow + out if self.skip else out


LEAN_CONTAINERS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Sequential: LeanSequential,
    InvertedResidual: LeanInvertedResidual,
}
"""What becomes of modules that run layers one after the other, by their exact type."""


def run_layers(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Run layers one after the other, frozen convolutions with what follows them as chains."""
    links: list[Link] = []
    for run in _runs(list(layers)):
        if len(run) > 1 or _is_frozen_conv(run[0]):
            links.append(_link(run))
            continue
        if links:
            x, links = frozen_chain(x, links), []
        x = run[0](x)
    return frozen_chain(x, links) if links else x


def bend_of(module: nn.Module) -> Bend | None:
    """Where a lean activation bends; None for anything else.

    >>> bend_of(LeanReLU6())
    Bend(low=0.0, high=6.0, negative_slope=0.0)
    """
    return module.bend if isinstance(module, (LeanReLU, LeanReLU6, LeanLeakyReLU)) else None


def _runs(layers: list[nn.Module]) -> Iterator[list[nn.Module]]:
    place = 0
    while place < len(layers):
        end = place + 1
        if _is_border(layers[place]) and end < len(layers) and _is_frozen_conv(layers[end]):
            end += 1
        if _is_frozen_conv(layers[end - 1]):
            end += end < len(layers) and _is_frozen_norm(layers[end])
            end += end < len(layers) and isinstance(layers[end], (LeanReLU, LeanReLU6, LeanLeakyReLU))
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


def _link(run: list[nn.Module]) -> Link:
    border = run[0].border if isinstance(run[0], SamePadding) else None
    conv, *rest = run if border is None else run[1:]
    assert isinstance(conv, LeanConv2d), "runs begin with one, or with its border"
    shift, scale = conv.bias, None
    if rest and isinstance(rest[0], FixedBatchNorm2d):
        scale, shift = scale_and_shift(rest[0])
        shift = shift if conv.bias is None else shift + conv.bias * scale
    weight = conv.frozen_weight(scale)
    assert weight is not None, "asked before"
    geometry = geometry_of(conv) if border is None else replace(geometry_of(conv), border=border)
    return Link(weight=weight, shift=shift, geometry=geometry, bend=bend_of(rest[-1]) if rest else None)
