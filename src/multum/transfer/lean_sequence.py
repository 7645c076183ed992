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
    can_be_frozen,
    geometry_of,
    is_under_autocast,
    scale_and_shift,
)
from multum.transfer.lean_lite import LeanLiteResidual
from multum.transfer.lite_residual import LiteResidual
from multum.transfer.trained_convolution import trained_convolution


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
        return run_layers([*self.expand, *self.depthwise, *self.project], narrow, skip=self.skip)


LEAN_CONTAINERS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Sequential: LeanSequential,
    InvertedResidual: LeanInvertedResidual,
    LiteResidual: LeanLiteResidual,
}
"""What becomes of modules that run layers, by their exact type."""


BENT = (LeanReLU, LeanReLU6, LeanLeakyReLU)
"""Activations of which a bit an element is kept."""


def run_layers(layers: Iterable[nn.Module], x: Tensor, *, skip: bool = False) -> Tensor:
    """Run layers one after the other, frozen convolutions with what follows them as chains.

    Args:
        layers: In their order.
        x: Input of the first.
        skip: Whether x is added to what comes out.
    """
    given = x
    links: list[Link] = []
    for run in _runs(list(layers)):
        if _is_link(run):
            links.append(_link(run))
            continue
        if links:
            x, links = frozen_chain(x, links), []
        x = run[0](x) if len(run) == 1 else _train(run, x)
    if links and x is given:  # nothing but a chain
        return frozen_chain(x, links, skip=skip)
    out = frozen_chain(x, links) if links else x
    return given + out if skip else out


def bend_of(module: nn.Module) -> Bend | None:
    """Where a lean activation bends; None for anything else.

    >>> bend_of(LeanReLU6())
    Bend(low=0.0, high=6.0, negative_slope=0.0)
    """
    return module.bend if isinstance(module, BENT) else None


def _runs(layers: list[nn.Module]) -> Iterator[list[nn.Module]]:
    place = 0
    while place < len(layers):
        end = place + 1
        if _is_border(layers[place]) and end < len(layers) and _is_frozen_conv(layers[end]):
            end += 1
        if _is_frozen_conv(layers[end - 1]):
            end += end < len(layers) and _is_frozen_norm(layers[end])
            end += end < len(layers) and isinstance(layers[end], BENT)
        elif (
            _is_trained_conv(layers[place])
            and end < len(layers)
            and isinstance(layers[end], FixedBatchNorm2d)
        ):
            end += 1
            end += end < len(layers) and isinstance(layers[end], BENT)
        yield layers[place:end]
        place = end


def _is_border(layer: nn.Module) -> bool:
    """Whether it puts zeros around pictures; a compiler sees that by itself."""
    return isinstance(layer, SamePadding) and not torch.compiler.is_compiling()


def _is_frozen_conv(layer: nn.Module) -> bool:
    return isinstance(layer, LeanConv2d) and layer.frozen_weight() is not None


def _is_trained_conv(layer: nn.Module) -> bool:
    """Whether it is one that trains; autocast chooses a type for each layer, so that they stay apart there."""
    if not isinstance(layer, LeanConv2d) or is_under_autocast(layer.weight):
        return False
    return layer.weight.requires_grad and can_be_frozen(layer)


def _is_frozen_norm(layer: nn.Module) -> bool:
    return isinstance(layer, FixedBatchNorm2d) and not (
        layer.weight is not None and layer.weight.requires_grad
    )


def _is_link(run: list[nn.Module]) -> bool:
    return _is_frozen_conv(run[0]) or (len(run) > 1 and _is_border(run[0]))


def _folded(conv: nn.Conv2d, norm: FixedBatchNorm2d) -> tuple[Tensor, Tensor]:
    """Factor and shift that a norm, and the bias in front of it, come to behind a convolution without one."""
    scale, shift = scale_and_shift(norm)
    return scale, shift if conv.bias is None else shift + conv.bias * scale


def _train(run: list[nn.Module], x: Tensor) -> Tensor:
    """A convolution that trains, its norm, and an activation."""
    conv, norm, *rest = run
    assert isinstance(conv, LeanConv2d), "such runs begin with one"
    assert isinstance(norm, FixedBatchNorm2d), "and end so"
    scale, shift = _folded(conv, norm)
    bend = bend_of(rest[0]) if rest else None
    return trained_convolution(x, conv.weight, scale, shift, geometry_of(conv), bend)


def _link(run: list[nn.Module]) -> Link:
    border = run[0].border if isinstance(run[0], SamePadding) else None
    conv, *rest = run if border is None else run[1:]
    assert isinstance(conv, LeanConv2d), "runs begin with one, or with its border"
    shift, scale = conv.bias, None
    if rest and isinstance(rest[0], FixedBatchNorm2d):
        scale, shift = _folded(conv, rest[0])
    weight = conv.frozen_weight(scale)
    assert weight is not None, "asked before"
    geometry = geometry_of(conv) if border is None else replace(geometry_of(conv), border=border)
    return Link(weight=weight, shift=shift, geometry=geometry, bend=bend_of(rest[-1]) if rest else None)
