"""Means of fixed norms that move as far as rounding moved them.

A rounded weight shifts the mean of each channel behind it, the more so the fewer numbers a filter has, and what follows
adds the shifts up. A norm with fixed statistics takes a mean away, so the shift is taken away by moving that mean: in
EfficientNet-Lite0 the features of pictures are half as far off, by eight pictures to measure on.

Shape legend: B pictures, H and W pixels, C channels.

Source: Nagel, van Baalen, Blankevoort and Welling, "Data-free quantization through weight equalization and bias
correction" (ICCV 2019), section 4.2 and its appendix on empirical correction.
Differs from the paper: the correction stands in the norms' means, so nothing that trains is touched.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multum.transfer.lean_sequence import LEAN_CONTAINERS

Watch = Callable[[str, Tensor], None]
"""Is told what goes into the norm of a name."""


def input_means(model: nn.Module, example: Float[Tensor, "B 3 H W"]) -> dict[str, Float[Tensor, " C"]]:
    """Means, by channel, of what goes into each norm of batches.

    Args:
        model: Any network.
        example: Pictures to measure on.
    """
    means: dict[str, Tensor] = {}
    _run(model, example, lambda name, x: means.update({name: _mean(x)}))
    return means


def move_means_(
    model: nn.Module, example: Float[Tensor, "B 3 H W"], before: Mapping[str, Float[Tensor, " C"]]
) -> None:
    """Move the norms' means, the first norm's first, so that each sees its input as far from its mean as before.

    Args:
        model: The network, changed since.
        example: The same pictures.
        before: What `input_means` found.
    """
    norms = dict(_norms(model))

    def move(name: str, x: Tensor) -> None:
        mean = norms[name].running_mean
        assert mean is not None, "only norms that have one are watched"
        mean.add_(_mean(x) - before[name])

    _run(model, example, move)


@torch.no_grad()
def _run(model: nn.Module, example: Tensor, watch: Watch) -> None:
    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, given: watch(name, given[0])

    handles = [norm.register_forward_pre_hook(hook(name)) for name, norm in _norms(model)]
    was_training = model.training
    try:
        with _layer_by_layer(model):
            model.eval()(example)
    finally:
        model.train(was_training)
        for it in handles:
            it.remove()


def _norms(model: nn.Module) -> Iterator[tuple[str, nn.BatchNorm2d]]:
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            yield name, module


@contextmanager
def _layer_by_layer(model: nn.Module) -> Iterator[None]:
    """Let every layer run by itself, so that hooks see it."""
    stock = {lean: kind for kind, lean in LEAN_CONTAINERS.items()}
    changed = [(it, type(it)) for it in model.modules() if type(it) in stock]
    for module, kind in changed:
        module.__class__ = stock[kind]
    try:
        yield
    finally:
        for module, kind in changed:
            module.__class__ = kind


def _mean(x: Tensor) -> Tensor:
    return x.mean([0, *range(2, x.dim())])
