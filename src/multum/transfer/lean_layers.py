"""torch's layers that keep for backward only what the parameters that train need.

A lean layer is the stock one with another forward: the same parameters under the same names. What trains is asked for
in every call, so freezing and thawing need nothing else. A layer of a kind that is not here stays what it is, and keeps
what it keeps: `make_lean` names it.

Source: TinyTL (NeurIPS 2020), Table 1.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from multum.ops.masked_activation import Bend, masked_activation
from multum.transfer.frozen_chain import Link, frozen_chain
from multum.transfer.frozen_convolution import Geometry
from multum.transfer.frozen_weight import FrozenWeight, plain, scaled
from multum.transfer.lean_functions import average_pool, fixed_norm, frozen_linear
from multum.transfer.lean_norms import LeanGroupNorm, LeanLayerNorm


class LeanConv2d(nn.Conv2d):
    """A convolution that keeps its input only while its weight trains."""

    few_kernels = False
    """See `Geometry`; `make_lean` sets it."""

    def forward(self, x: Tensor) -> Tensor:
        """The same as `nn.Conv2d`'s."""
        weight = self.frozen_weight()
        if weight is None:
            return super().forward(x)
        return frozen_chain(x, [Link(weight=weight, shift=self.bias, geometry=geometry_of(self))])

    def frozen_weight(self, factor_O: Tensor | None = None) -> FrozenWeight | None:
        """The weight, with a factor for each output in it; None while it trains, or the padding is not known."""
        if self.weight.requires_grad or not can_be_frozen(self):
            return None
        return plain(self.weight) if factor_O is None else scaled(self.weight, factor_O)


class LeanLinear(nn.Linear):
    """A linear layer that keeps its input only while its weight trains."""

    def forward(self, x: Tensor) -> Tensor:
        """The same as `nn.Linear`'s."""
        weight = self.frozen_weight()
        return super().forward(x) if weight is None else frozen_linear(x, weight, self.bias)

    def frozen_weight(self) -> FrozenWeight | None:
        """The weight; None while it trains."""
        return None if self.weight.requires_grad else plain(self.weight)


class FixedBatchNorm2d(nn.BatchNorm2d):
    """A norm by its running statistics, in training too: exact for any batch, one picture included.

    Keeps its input only while its scale trains.
    """

    def forward(self, x: Tensor) -> Tensor:
        """What `nn.BatchNorm2d` does in evaluation."""
        if self.weight is not None and self.weight.requires_grad:
            return functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return fixed_norm(x, *scale_and_shift(self))


class LeanReLU(nn.ReLU):
    """Keeps a bit of each element."""

    bend = Bend()
    """Where it bends."""

    def forward(self, x: Tensor) -> Tensor:
        """The same as `nn.ReLU`'s, never in place."""
        return masked_activation(x, self.bend)


class LeanReLU6(nn.ReLU6):
    """Keeps a bit of each element."""

    bend = Bend(high=6.0)
    """Where it bends."""

    def forward(self, x: Tensor) -> Tensor:
        """The same as `nn.ReLU6`'s, never in place."""
        return masked_activation(x, self.bend)


class LeanLeakyReLU(nn.LeakyReLU):
    """Keeps a bit of each element."""

    @property
    def bend(self) -> Bend:
        """Where it bends."""
        return Bend(negative_slope=self.negative_slope)

    def forward(self, x: Tensor) -> Tensor:
        """The same as `nn.LeakyReLU`'s, never in place."""
        return masked_activation(x, self.bend)


class LeanAvgPool2d(nn.AvgPool2d):
    """Keeps the shape of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """The same as `nn.AvgPool2d`'s."""
        if x.dim() != 4:
            return super().forward(x)
        return average_pool(
            x,
            _pair(self.kernel_size),
            _pair(self.stride),
            _pair(self.padding),
            ceil_mode=self.ceil_mode,
            count_include_pad=self.count_include_pad,
            divisor=self.divisor_override,
        )


LEAN: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: LeanConv2d,
    nn.Linear: LeanLinear,
    nn.BatchNorm2d: FixedBatchNorm2d,
    nn.GroupNorm: LeanGroupNorm,
    nn.LayerNorm: LeanLayerNorm,
    nn.ReLU: LeanReLU,
    nn.ReLU6: LeanReLU6,
    nn.LeakyReLU: LeanLeakyReLU,
    nn.AvgPool2d: LeanAvgPool2d,
}
"""What becomes of a stock layer, by its exact type."""


def can_be_frozen(conv: nn.Conv2d) -> bool:
    """Whether the lean forward knows the convolution's padding."""
    return conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def is_under_autocast(tensor: Tensor) -> bool:
    """Whether autocast chooses a type for each layer on the tensor's device."""
    kind = tensor.device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def geometry_of(conv: nn.Conv2d) -> Geometry:
    """How a convolution goes over its input."""
    assert not isinstance(conv.padding, str), "asked before"
    return Geometry(
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        groups=conv.groups,
        few_kernels=isinstance(conv, LeanConv2d) and conv.few_kernels,
    )


def scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The norm by its running statistics as x scale + shift; gradients of both reach the norm's own."""
    assert norm.running_mean is not None, "make_lean takes only norms that have statistics"
    assert norm.running_var is not None, "the same"
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    mean, bias = norm.running_mean, norm.bias
    return scale, -mean * scale if bias is None else torch.addcmul(bias, mean, scale, value=-1)


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)
