"""Group norms and standardized weights in place of batch norms, for batches too small to have statistics.

A batch norm's scale and shift go on in a group norm, whose statistics are of one sample. Such a norm alone trains
worse, and standardizing the filters of the convolution in front of it makes up for that:

    w' = (w - mean(w)) / (deviation(w) + 1e-5)        over each filter, that is for each output channel

It is another network: trained weights have to get used to it. Norms with fixed statistics (`make_lean` without this)
are exact from the start.

Shape legend: O output channels, c input channels of a group, K numbers of a kernel.

Source: TinyTL (NeurIPS 2020), section 4; Wu and He, "Group Normalization" (ECCV 2018); Qiao et al., "Micro-Batch
Training with Batch-Channel Normalization and Weight Standardization" (2019).
Differs from the paper: its code takes convolutions without a bias for those that feed a norm, and divides the sum of
squares by one number less, a factor that the norm behind takes out again.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multum.core import invalid
from multum.transfer.frozen_weight import FrozenWeight, scaled
from multum.transfer.lean_layers import LEAN, LeanConv2d, can_be_frozen
from multum.transfer.lean_sequence import LeanSequential

CHANNELS_PER_GROUP = 8
DEVIATION_EPS = 1e-5


class WeightStandardizedConv2d(LeanConv2d):
    """A convolution whose filters have mean 0 and deviation 1; while they are frozen they are made anew, never kept."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve with the standardized weight."""
        if self.frozen_weight() is not None:
            return super().forward(x)
        y: Tensor = self._conv_forward(x, standardized(self.weight), self.bias)
        return y

    def frozen_weight(self, factor_O: Tensor | None = None) -> FrozenWeight | None:
        """The standardized weight, with a factor for each output in it; None while it trains."""
        if self.weight.requires_grad or not can_be_frozen(self):
            return None
        if factor_O is None:
            return FrozenWeight(stored=(self.weight,), build=standardized)
        return FrozenWeight(stored=(self.weight, factor_O), build=_standardized_times)


@dataclass(frozen=True, kw_only=True)
class GroupNormReport:
    """What became of a network's norms and convolutions."""

    norms: tuple[str, ...]
    """`path: so many groups of so many channels` of the norms."""
    standardized: tuple[str, ...]
    """Paths of the convolutions whose weights are standardized."""
    plain: tuple[str, ...]
    """Paths of the convolutions that feed no norm, or have filters of one number, and stay."""


def to_group_norm(
    model: nn.Module, channels_per_group: int = CHANNELS_PER_GROUP, *, example: Tensor | None = None
) -> GroupNormReport:
    """Replace batch norms by group norms, and the convolutions that feed them by weight-standardized ones, in place.

    Args:
        model: Not lean yet; `make_lean` comes after this.
        channels_per_group: At least so many; `num_groups` says what happens where it does not divide.
        example: Goes through the model once, to see which convolution feeds a norm; None: one that is defined
            immediately in front of a norm of as many channels, as in all networks here.

    Returns:
        What was replaced, and what stays.

    Raises:
        UserError: No batch norm in the model, a lean model, fewer than one channel a group.

    >>> net = nn.Sequential(nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 2, 1))
    >>> to_group_norm(net)
    GroupNormReport(norms=('1: 1 group of 12 channels',), standardized=('0',), plain=('3',))
    """
    lean = [path for path, it in model.named_modules() if type(it) in (LeanSequential, *LEAN.values())]
    if lean:
        raise invalid(
            "model", "one of torch's own layers", f"lean layers like {lean[0]}", "make it lean afterwards"
        )
    norms = {path: it for path, it in model.named_modules() if type(it) is nn.BatchNorm2d}
    if not norms or isinstance(model, nn.BatchNorm2d):
        raise invalid("model", "one with an nn.BatchNorm2d in it", type(model).__name__)
    twins = {norm: _twin(norm, channels_per_group) for norm in norms.values()}
    feeding = _defined_in_front(model) if example is None else _seen_in_front(model, example)
    convs = {path: it for path, it in model.named_modules() if isinstance(it, nn.Conv2d)}
    chosen = [path for path, it in convs.items() if it in feeding and type(it) is nn.Conv2d and _can_vary(it)]
    for path in chosen:
        convs[path].__class__ = WeightStandardizedConv2d
    for parent in list(model.modules()):
        for name, child in parent._modules.items():  # not named_children, which names a shared one once
            if isinstance(child, nn.BatchNorm2d) and child in twins:
                setattr(parent, name, twins[child])
    return GroupNormReport(
        norms=tuple(f"{path}: {_in_words(twins[it])}" for path, it in norms.items()),
        standardized=tuple(chosen),
        plain=tuple(path for path in convs if path not in chosen),
    )


def num_groups(channels: int, channels_per_group: int = CHANNELS_PER_GROUP) -> int:
    """The most groups that divide the channels and leave each at least so many; one group where there are fewer.

    >>> num_groups(32), num_groups(20), num_groups(27), num_groups(6)
    (4, 2, 3, 1)
    """
    if channels_per_group < 1:
        raise invalid("channels_per_group", "at least 1", channels_per_group)
    most = max(1, channels // channels_per_group)
    return next(it for it in range(most, 0, -1) if channels % it == 0)


def standardized(weight: Float[Tensor, "O c *K"]) -> Float[Tensor, "O c *K"]:
    """Filters of mean 0 and deviation 1; differentiable.

    >>> standardized(torch.tensor([[[[1.0]], [[3.0]]]])).flatten()
    tensor([-1.0000,  1.0000])
    """
    deviation, mean = torch.std_mean(weight, list(range(1, weight.dim())), correction=0, keepdim=True)
    return (weight - mean) / (deviation + DEVIATION_EPS)


def _standardized_times(weight: Tensor, factor: Tensor) -> Tensor:
    with_factor = scaled(standardized(weight), factor)
    return with_factor.build(*with_factor.stored)


def _twin(norm: nn.BatchNorm2d, channels_per_group: int) -> nn.GroupNorm:
    """The group norm with the same parameters, which stay the same objects."""
    groups = num_groups(norm.num_features, channels_per_group)
    twin = nn.GroupNorm(groups, norm.num_features, eps=norm.eps, affine=False)
    twin.affine = norm.affine
    twin.weight, twin.bias = norm.weight, norm.bias
    return twin.train(norm.training)


def _in_words(norm: nn.GroupNorm) -> str:
    groups = "1 group" if norm.num_groups == 1 else f"{norm.num_groups} groups"
    return f"{groups} of {norm.num_channels // norm.num_groups} channels"


def _can_vary(conv: nn.Conv2d) -> bool:
    """A filter of one number has no deviation."""
    return conv.weight[0].numel() > 1


def _defined_in_front(model: nn.Module) -> set[nn.Module]:
    layers = [it for it in model.modules() if not list(it.children()) and not isinstance(it, nn.Identity)]
    return {
        conv
        for conv, norm in pairwise(layers)
        if isinstance(conv, nn.Conv2d)
        and isinstance(norm, nn.BatchNorm2d)
        and norm.num_features == conv.out_channels
    }


def _seen_in_front(model: nn.Module, example: Tensor) -> set[nn.Module]:
    found: set[nn.Module] = set()
    outputs: list[tuple[nn.Module, Tensor]] = []  # they stay, so that none takes another's place

    def note(conv: nn.Module, _: Any, output: Tensor) -> None:
        outputs.append((conv, output))

    def look(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        found.update(conv for conv, output in outputs if output is given[0])

    modes = {it: it.training for it in model.modules()}
    handles = [it.register_forward_hook(note) for it in modes if isinstance(it, nn.Conv2d)]
    handles += [it.register_forward_pre_hook(look) for it in modes if isinstance(it, nn.BatchNorm2d)]
    try:
        with torch.no_grad():
            model.eval()(example)
    finally:
        for module, training in modes.items():
            module.training = training
        for handle in handles:
            handle.remove()
    return found
