"""The zero eliminator: a row of lanes, some of them empty, becomes a dense row in the same order.

The surprise is that no lane has to know where the others go. Each element counts the empty lanes on its left, and the
bits of that count are its way: layer r of the network moves it 2^r lanes to the left where bit r is set. Elements never
collide, for of two neighbours the left one never has more empty lanes on its left than the right one.

Source: SpAtten (HPCA 2021), section IV-C and its figure.
Differs from the paper: how many layers lie between two registers is a dial; by default all, one cycle for a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from multum.core import check_fields, invalid

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class ZeroEliminator:
    """The network of one comparator array.

    Raises:
        UserError: A number of lanes that is no power of two, fewer than one layer a cycle.

    >>> ZeroEliminator(lanes=8).pack([0, 7, 0, 0, 5, 1, 0, 2], [False, True, False, False, True, True, False, True])
    [7, 5, 1, 2]
    """

    lanes: int = 16
    """Elements of a row; a power of two."""
    layers_per_cycle: int | None = None
    """Layers between two registers; None: all of them."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.lanes < 1 or self.lanes & (self.lanes - 1):
            raise invalid("lanes", "a power of two", self.lanes)
        if self.layers_per_cycle is not None and self.layers_per_cycle < 1:
            raise invalid("layers_per_cycle", "at least 1, or None", self.layers_per_cycle)

    @property
    def num_layers(self) -> int:
        """Layers of the network: log2(lanes).

        >>> ZeroEliminator(lanes=16).num_layers
        4
        """
        return self.lanes.bit_length() - 1

    @property
    def latency_cycles(self) -> int:
        """Cycles from a row's entry to its exit: ceil(num_layers / layers_per_cycle), at least 1.

        >>> ZeroEliminator(lanes=16).latency_cycles, ZeroEliminator(lanes=16, layers_per_cycle=1).latency_cycles
        (1, 4)
        """
        return max(1, -(-self.num_layers // (self.layers_per_cycle or max(1, self.num_layers))))

    def layers(self, row: Sequence[Item], present: Sequence[bool]) -> list[list[Item | None]]:
        """The row before the network and after each of its layers; None where a lane is empty.

        Args:
            row: One element a lane.
            present: Which of them are there.

        Raises:
            UserError: Another number of elements than lanes.
        """
        if not len(row) == len(present) == self.lanes:
            raise invalid("row and present", f"{self.lanes} long", (len(row), len(present)))
        empty_before, count = [], 0
        for there in present:
            empty_before.append(count)  # the exclusive prefix count of zeros
            count += not there
        lanes: list[tuple[Item, int] | None] = [
            (item, way) if there else None
            for item, there, way in zip(row, present, empty_before, strict=True)
        ]
        states = [lanes]
        for layer in range(self.num_layers):
            states.append(_shifted(states[-1], layer))
        return [[None if it is None else it[0] for it in state] for state in states]

    def pack(self, row: Sequence[Item], present: Sequence[bool]) -> list[Item]:
        """The elements that are there, in their order, without the gaps."""
        return [it for it in self.layers(row, present)[-1] if it is not None]


def _shifted(lanes: Sequence[tuple[Item, int] | None], layer: int) -> list[tuple[Item, int] | None]:
    """One layer: whoever has this bit in its count moves 2^layer lanes to the left."""
    moved: list[tuple[Item, int] | None] = [None] * len(lanes)
    for lane, element in enumerate(lanes):
        if element is None:
            continue
        target = lane - (1 << layer) * (element[1] >> layer & 1)
        assert moved[target] is None, "two elements on one lane"
        moved[target] = element
    return moved
