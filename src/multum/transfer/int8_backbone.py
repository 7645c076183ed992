"""Frozen weights in int8 for real: the float weight is gone, and exists only while its layer, or its chain, runs.

    w ~ code * scale        codes from -127 to 127, a scale for each output: off by at most half a scale

What trains, biases among them, stays in float and trains as before; outputs and gradients are exactly those of the
rounded weight. A fixed norm behind a convolution scales the scales, so the two are one layer as before. Convolutions
that see pictures and depthwise ones stay in float: of EfficientNet-Lite0 they are 5 % of the weights and more than half
of the error of the features.

Shape legend: O outputs, the first dimension of a weight.

Source: TinyTL (NeurIPS 2020), section 4: frozen weights in 8 bits.
Differs from the paper: which rounds to the means of clusters, writes them back as float32, and counts a byte each.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn

from multum.core import invalid
from multum.ops.int8_linear import quantize_weight
from multum.transfer.frozen_weight import FrozenWeight
from multum.transfer.group_norm import WeightStandardizedConv2d, standardized
from multum.transfer.int8_means import input_means, move_means_
from multum.transfer.lean_layers import LeanConv2d, LeanLinear, can_be_frozen

PICTURE_CHANNELS = 4
"""A convolution of so many channels or fewer is taken to see pictures."""


class Int8Conv2d(LeanConv2d):
    """A frozen convolution that holds its weight in int8; as lean as `LeanConv2d`."""

    weight_int8: Int8[Tensor, "O ..."]
    """Codes of the weight; a buffer."""
    weight_scale: Float[Tensor, " O"]
    """One scale for each output; a buffer."""

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The rounded weight, made anew at every call, and constant."""
        return dequantized(self.weight_int8, self.weight_scale)

    def frozen_weight(self, factor_O: Tensor | None = None) -> FrozenWeight:
        """The rounded weight, with a factor for each output in it."""
        scale = self.weight_scale if factor_O is None else self.weight_scale * factor_O
        return FrozenWeight(stored=(self.weight_int8, scale), build=dequantized)


class Int8Linear(LeanLinear):
    """A frozen linear layer that holds its weight in int8; as lean as `LeanLinear`."""

    weight_int8: Int8[Tensor, "O _"]
    """Codes of the weight; a buffer."""
    weight_scale: Float[Tensor, " O"]
    """One scale for each output; a buffer."""

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The rounded weight, made anew at every call, and constant."""
        return dequantized(self.weight_int8, self.weight_scale)

    def frozen_weight(self) -> FrozenWeight:
        """The rounded weight."""
        return FrozenWeight(stored=(self.weight_int8, self.weight_scale), build=dequantized)


@dataclass(frozen=True, kw_only=True)
class Int8Report:
    """Which weights are in int8."""

    int8_layers: tuple[str, ...]
    """Paths of the layers whose weights are in int8 now."""
    float_layers: tuple[str, ...]
    """`path: why` of the convolutions and linear layers whose weights stay as they are."""
    float_bytes: int
    """Of the weights that are in int8 now, before."""
    int8_bytes: int
    """Of their codes and scales."""


def to_int8(
    model: nn.Module, example: Float[Tensor, "B 3 H W"] | None = None, *, everything: bool = False
) -> Int8Report:
    """Hold the frozen weights of convolutions and linear layers in int8 from now on, in place.

    They are buffers `weight_int8` and `weight_scale` then, also in a state; the parameter `weight` is gone. A
    weight-standardized convolution becomes a plain one with its standardized weight, rounded. Lean or not, the model
    computes these layers lean from now on.

    Args:
        model: Frozen where it is to be in int8: freeze it first.
        example: Some pictures of the task, eight do; the means of norms with fixed statistics, which are buffers, then
            move as far as rounding moves what goes into them on these. None: means stay, features are further off.
        everything: Whether convolutions that see pictures and depthwise ones, few weights and much of the error, are
            rounded too.

    Returns:
        What is in int8, and what stays in float and why.

    Raises:
        UserError: A frozen weight that is not finite; nothing is changed then.

    >>> net = nn.Sequential(nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 1))
    >>> net[0].weight.requires_grad_(False).shape
    torch.Size([16, 8, 3, 3])
    >>> report = to_int8(net)
    >>> report.int8_layers, report.float_layers, report.float_bytes, report.int8_bytes
    (('0',), ('2: its weight trains',), 4608, 1216)
    """
    layers = {path: it for path, it in model.named_modules() if isinstance(it, (nn.Conv2d, nn.Linear))}
    reasons = {
        path: _why_float(it) or (None if everything else _why_better_float(it))
        for path, it in layers.items()
        if not isinstance(it, (Int8Conv2d, Int8Linear))
    }
    chosen = [path for path, why in reasons.items() if why is None]
    for path in chosen:
        weight = layers[path].weight
        if not weight.is_meta and not bool(torch.isfinite(weight).all()):
            raise invalid(f"the weight of {path or 'the layer'}", "finite", "NaN or infinity")
    before = None if example is None else input_means(model, example)
    sizes = [_round_(layers[path]) for path in chosen]
    if example is not None and before is not None:
        move_means_(model, example, before)
    return Int8Report(
        int8_layers=tuple(chosen),
        float_layers=tuple(f"{path or '(model)'}: {why}" for path, why in reasons.items() if why is not None),
        float_bytes=sum(before for before, _ in sizes),
        int8_bytes=sum(after for _, after in sizes),
    )


def to_float(model: nn.Module) -> tuple[str, ...]:
    """Undo `to_int8`, in place: parameters `weight` again, of the rounded values, frozen, in lean layers.

    Returns:
        Paths of the layers that were in int8.
    """
    paths = int8_paths(model)
    for path in paths:
        _restore_(model.get_submodule(path))
    return paths


def int8_paths(model: nn.Module) -> tuple[str, ...]:
    """Paths of the layers whose weights are in int8."""
    return tuple(path for path, it in model.named_modules() if isinstance(it, (Int8Conv2d, Int8Linear)))


def dequantized(codes: Int8[Tensor, "O ..."], scale_O: Float[Tensor, " O"]) -> Float[Tensor, "O ..."]:
    """The rounded weight, in the scales' type."""
    return codes * scale_O.view(-1, *[1] * (codes.dim() - 1))


def _why_float(layer: nn.Module) -> str | None:
    """Why a weight stays in float; None: it does not."""
    if type(layer) not in (nn.Conv2d, LeanConv2d, WeightStandardizedConv2d, nn.Linear, LeanLinear):
        return f"a {type(layer).__name__} has a forward of its own"
    assert isinstance(layer, (nn.Conv2d, nn.Linear)), "asked just now"
    if layer.weight.requires_grad:
        return "its weight trains"
    if isinstance(layer, nn.Conv2d) and not can_be_frozen(layer):
        return f"its padding is {layer.padding if isinstance(layer.padding, str) else layer.padding_mode}"
    return None


def _why_better_float(layer: nn.Module) -> str | None:
    """Why a weight that could be rounded had better not be."""
    if not isinstance(layer, nn.Conv2d):
        return None
    if layer.in_channels <= PICTURE_CHANNELS:
        return "it sees pictures, and all that follows would see its error"
    if layer.groups > 1 and layer.in_channels == layer.groups:
        return "it is depthwise: few weights, and much of the error"
    return None


def _round_(layer: nn.Conv2d | nn.Linear) -> tuple[int, int]:
    """Round a layer's weight, in place; return its bytes before and after."""
    weight = layer.weight.detach()
    if isinstance(layer, WeightStandardizedConv2d):
        weight = standardized(weight)
    codes, scale = quantize_weight(weight.flatten(1))
    placed = torch.empty_like(weight, dtype=torch.int8).copy_(
        codes.view(weight.shape)
    )  # in the weight's layout
    del layer.weight
    layer.register_buffer("weight_int8", placed)
    layer.register_buffer("weight_scale", scale.to(weight.dtype))
    layer.__class__ = Int8Conv2d if isinstance(layer, nn.Conv2d) else Int8Linear
    return weight.nbytes, placed.nbytes + weight.element_size() * len(scale)


def _restore_(layer: Any) -> None:
    weight = nn.Parameter(layer.weight, requires_grad=False)
    del layer.weight_int8, layer.weight_scale
    layer.__class__ = LeanConv2d if isinstance(layer, Int8Conv2d) else LeanLinear
    bias = layer._parameters.pop("bias")
    layer.register_parameter("weight", weight)
    layer.register_parameter("bias", bias)  # behind the weight, as it was
