"""How many heads each layer computes, and how many value rows each query multiplies: two further dials.

Both are ratios of what the layer would do densely, one per layer, like the tokens' of `TokenSchedule`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from multum.core import check_fields, invalid

UNPRUNED_HEADS_PART = 0.3
"""The part of layers, from the front, whose heads the paper leaves alone (SpAtten, section III-B)."""


@dataclass(frozen=True, kw_only=True)
class HeadSchedule:
    """The part of heads that each layer computes (SpAtten, section III-B).

    Raises:
        UserError: No layer, a ratio outside (0, 1], a first ratio below 1, ratios that grow.

    >>> HeadSchedule(keep_ratios=(1.0, 1.0, 0.75)).num_heads(2, 12)
    9
    """

    keep_ratios: tuple[float, ...]
    """For every layer the part of the model's heads it computes, in (0, 1]; starts at 1, never grows."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_ratios("keep_ratios", self.keep_ratios)
        if self.keep_ratios[0] != 1.0:
            raise invalid(
                "keep_ratios[0]", "1", self.keep_ratios[0], "no head is scored before layer 0 has run"
            )
        check_falling("keep_ratios", self.keep_ratios)

    @property
    def num_layers(self) -> int:
        """How many layers the schedule is for."""
        return len(self.keep_ratios)

    def num_heads(self, layer: int, num_heads: int) -> int:
        """Heads that `layer` computes of a model with `num_heads`: the ratio's part, rounded up, at least one."""
        return max(1, math.ceil(self.keep_ratios[layer] * num_heads - 1e-9))


@dataclass(frozen=True, kw_only=True)
class ValueSchedule:
    """The part of the keys whose value rows a query multiplies, by layer (SpAtten, section III-C).

    Raises:
        UserError: No layer, or a ratio outside (0, 1].

    >>> ValueSchedule(keep_ratios=(1.0, 0.3)).num_values(1, 100)
    30
    """

    keep_ratios: tuple[float, ...]
    """For every layer the part of the keys present whose value rows are used, in (0, 1]; not cascaded, may grow."""
    rooms: tuple[int, ...] | None = None
    """Ascending sizes. A ratio is then taken of the smallest size that holds the keys (of the keys themselves where
    none does), and rounded down, as the public traces count: 307 of 993 keys at a ratio of 0.3 and a room of 1,024.
    None: of the keys themselves, rounded up."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_ratios("keep_ratios", self.keep_ratios)
        if self.rooms is not None and (not self.rooms or any(b <= a for a, b in pairwise((0, *self.rooms)))):
            raise invalid("rooms", "ascending sizes, 1 or more each, or None", self.rooms)

    @property
    def num_layers(self) -> int:
        """How many layers the schedule is for."""
        return len(self.keep_ratios)

    def num_values(self, layer: int, num_keys: int) -> int:
        """Value rows that a query of `layer` multiplies when it sees `num_keys` keys: at least one.

        >>> ValueSchedule(keep_ratios=(0.3,), rooms=(307, 1024)).num_values(0, 993)
        307
        """
        if self.rooms is None:
            wished = math.ceil(self.keep_ratios[layer] * num_keys - 1e-9)
        else:
            room = next((size for size in self.rooms if size >= num_keys), num_keys)
            wished = math.floor(self.keep_ratios[layer] * room + 1e-9)
        return min(num_keys, max(1, wished))


def check_ratios(name: str, ratios: tuple[float, ...]) -> None:
    """Refuse an empty tuple and ratios outside (0, 1]."""
    if not ratios:
        raise invalid(name, "one ratio per layer", ratios, "give at least one")
    for layer, ratio in enumerate(ratios):
        if not 0.0 < ratio <= 1.0:
            raise invalid(f"{name}[{layer}]", "in (0, 1]", ratio, "it is the part KEPT")


def check_falling(name: str, dials: Sequence[int | float]) -> None:
    """Refuse dials that grow with depth: what was pruned does not come back."""
    for layer, (earlier, later) in enumerate(pairwise(dials)):
        if later > earlier:
            raise invalid(name, "non-increasing", dials, f"it grows after layer {layer}")
