"""A weight that no gradient reaches: what is stored, and how the weight is made of it.

Shape legend: O outputs.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class FrozenWeight:
    """A weight that no gradient reaches, as what is stored and how the weight is made of it.

    It is made when it is needed, forward and backward, and never kept: a norm's scale may be in it, or integers.
    """

    stored: tuple[Tensor, ...]
    """Parameters and buffers, which stay in memory anyway."""
    build: Callable[..., Tensor]
    """Makes the weight of them."""


def plain(weight: Tensor) -> FrozenWeight:
    """A weight that is stored as it is used."""
    return FrozenWeight(stored=(weight,), build=_itself)


def scaled(weight: Tensor, scale_O: Float[Tensor, " O"]) -> FrozenWeight:
    """A weight with a factor for each of its outputs, that of a norm with fixed statistics."""
    return FrozenWeight(stored=(weight, scale_O), build=_times)


def _itself(weight: Tensor) -> Tensor:
    return weight


def _times(weight: Tensor, scale: Tensor) -> Tensor:
    return weight * scale.view(-1, *[1] * (weight.dim() - 1))
