"""ReLU, ReLU6 and LeakyReLU with the one bit of each element that their gradient needs: the definition.

An activation that is straight but for one or two bends has two slopes, so its gradient needs to know of an element only
which: 1 between the bends, `negative_slope` elsewhere. At a bend itself it is the latter, as torch has it.

Bits lie in the order of the tensor in memory, whatever its layout: that of element i is bit i % 8 of byte i // 8.

Shape legend: any shape (...); C channels, the second dimension; P bytes of bits.

Source: TinyTL (NeurIPS 2020), section 3.1: a mask of one bit for ReLU, where an activation is usually kept in 32.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from multum.core import check_fields, invalid


@dataclass(frozen=True, kw_only=True)
class Bend:
    """Where an activation bends: min(max(x, low), high), or x and `negative_slope` x on the two sides of `low`.

    Raises:
        UserError: `high` not above `low`, or a slope beside an upper bend.

    >>> Bend(high=6.0)
    Bend(low=0.0, high=6.0, negative_slope=0.0)
    """

    low: float = 0.0
    """The lower bend."""
    high: float | None = None
    """The upper one; None: there is none."""
    negative_slope: float = 0.0
    """LeakyReLU's, for a lower bend at 0 and no upper one."""

    def __post_init__(self) -> None:
        if (
            not torch.compiler.is_compiling()
        ):  # a compiler cannot look into types, and what it traces has run before
            check_fields(self)
        if not self.low < self.top:
            raise invalid("high", f"above low, {self.low}", self.high)
        if self.negative_slope and (self.low != 0.0 or self.high is not None):
            raise invalid("negative_slope", "0 where there is another bend than at 0", self.negative_slope)

    @property
    def top(self) -> float:
        """The upper bend as a number."""
        return float("inf") if self.high is None else self.high


def masked_activation_reference(
    x: Float[Tensor, "..."], bend: Bend
) -> tuple[Float[Tensor, "..."], UInt8[Tensor, " P"]]:
    """The activation of x, and which elements lie between the bends."""
    between = (x > bend.low) & (x < bend.top)
    straight = x.clamp(bend.low, bend.top)
    y = torch.where(x > bend.low, straight, x * bend.negative_slope) if bend.negative_slope else straight
    return y, _packed(in_memory_order(between))


def masked_gradient_reference(
    gradient: Float[Tensor, "..."], bits: UInt8[Tensor, " P"], bend: Bend, *, with_sum: bool = False
) -> tuple[Float[Tensor, "..."], Float[Tensor, " C"] | None]:
    """The gradient of x from that of the activation, and where it is wanted its sum over all but the channels.

    Args:
        gradient: Lies in memory as x did.
        bits: Of the activation.
        bend: Its bends.
        with_sum: Whether the sum is wanted.
    """
    flat = in_memory_order(gradient)
    between = _unpacked(bits, flat.numel())
    elsewhere = flat * bend.negative_slope if bend.negative_slope else torch.zeros_like(flat)
    passed = torch.where(between, flat, elsewhere)
    result = torch.empty_like(gradient)
    in_memory_order(result).copy_(passed)
    return result, result.sum([dim for dim in range(result.dim()) if dim != 1]) if with_sum else None


def in_memory_order(x: Tensor) -> Tensor:
    """A view of a dense tensor's elements as they lie in memory.

    >>> in_memory_order(torch.arange(6).reshape(2, 3).T).tolist()
    [0, 1, 2, 3, 4, 5]
    """
    order = sorted(range(x.dim()), key=lambda dim: (x.stride(dim), x.shape[dim]), reverse=True)
    return x.permute(order).view(-1)


def _packed(between: Tensor) -> Tensor:
    padded = torch.nn.functional.pad(between.to(torch.uint8), (0, -between.numel() % 8))
    return (padded.view(-1, 8) << torch.arange(8, dtype=torch.uint8, device=between.device)).sum(
        1, dtype=torch.uint8
    )


def _unpacked(bits: Tensor, count: int) -> Tensor:
    places = torch.arange(8, dtype=torch.uint8, device=bits.device)
    return (bits[:, None] >> places & 1).view(-1)[:count].bool()
