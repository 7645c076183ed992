"""Two readings side by side: the table that every report of this package shows.

>>> from multum.cost import Cost
>>> before, after = Cost(name="dense", macs=3_000_000), Cost(name="pruned", macs=1_000_000)
>>> print(before / after)
       dense  pruned  times less
MACs  3.00 M  1.00 M       3.00×
>>> (before - after).amount("macs")
2000000
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from multum.core.errors import did_you_mean, invalid
from multum.cost.result import Cost
from multum.cost.table import plain_table, rich_table
from multum.cost.units import (
    DASH,
    Number,
    format_bytes,
    format_count,
    format_joules,
    format_ratio,
    format_seconds,
)

if TYPE_CHECKING:
    from rich.table import Table

Row = tuple[str, str, str, str]
"""Label, before, after, and what became of it."""


@dataclass(frozen=True)
class Quantity:
    """One line of every comparison: what is compared, its name for people, and how it is told."""

    field: str
    label: str
    tell: Callable[[Number], str]


QUANTITIES: Final = (
    Quantity("num_parameters", "Parameters", format_count),
    Quantity("num_trainable_parameters", "Trainable parameters", format_count),
    Quantity("parameter_bytes", "Parameter bytes", format_bytes),
    Quantity("macs", "MACs", format_count),
    Quantity("attention_macs", "Attention MACs", format_count),
    Quantity("peak_live_bytes", "Peak live bytes", format_bytes),
    Quantity("kept_bytes", "Kept for backward", format_bytes),
    Quantity("gradient_bytes", "Gradient bytes", format_bytes),
    Quantity("optimizer_bytes", "Optimizer bytes", format_bytes),
    Quantity("dram_bytes", "DRAM bytes", format_bytes),
    Quantity("dram_floor_bytes", "DRAM floor", format_bytes),
    Quantity("latency", "Latency", format_seconds),
    Quantity("cycles", "Cycles", format_count),
    Quantity("energy_joules", "Energy", format_joules),
)
"""What is compared, in the order of the table."""


def amount_of(cost: Cost, field: str) -> Number | None:
    """Look up a quantity of a reading by its field; the latency is its median.

    Args:
        cost: The reading.
        field: Name of a compared field.

    Returns:
        The number, or None where it was not measured.

    Raises:
        UserError: When no comparison shows such a field.
    """
    known = [quantity.field for quantity in QUANTITIES]
    if field not in known:
        raise invalid("field", "a compared quantity of a Cost", field, did_you_mean(field, known))
    if field == "latency":
        return None if cost.latency is None else cost.latency.median_seconds
    value: Number | None = getattr(cost, field)
    return value


@dataclass(frozen=True, kw_only=True)
class _Pair:
    before: Cost
    """The reading that is compared from."""

    after: Cost
    """The reading that is compared to."""

    def __post_init__(self) -> None:
        if self.before.mode != self.after.mode:
            raise invalid(
                "mode",
                f"the same in both readings, here {self.before.mode!r}",
                self.after.mode,
                "measure both in the same mode",
            )

    def _amounts(self) -> list[tuple[Quantity, Number | None, Number | None]]:
        both = [(q, amount_of(self.before, q.field), amount_of(self.after, q.field)) for q in QUANTITIES]
        return [(quantity, before, after) for quantity, before, after in both if before or after]


@dataclass(frozen=True, kw_only=True)
class Comparison(_Pair):
    """How many times less of everything is needed: before over after."""

    def ratio(self, field: str) -> Number | None:
        """Tell how many times less of one quantity is needed.

        Args:
            field: Name of a field of `Cost`, for instance `macs`.

        Returns:
            Before over after; None where one of them was not measured or is 0.

        Raises:
            UserError: When no comparison shows such a field.
        """
        before, after = amount_of(self.before, field), amount_of(self.after, field)
        return before / after if before and after else None

    def rows(self) -> list[Row]:
        """Tell label, before, after and ratio of everything that at least one reading has."""
        return [
            (
                quantity.label,
                _tell(quantity, before),
                _tell(quantity, after),
                format_ratio(self.ratio(quantity.field)),
            )
            for quantity, before, after in self._amounts()
        ]

    def __str__(self) -> str:
        return plain_table(("", self.before.name, self.after.name, "times less"), self.rows())

    def __rich__(self) -> "Table":
        return rich_table(("", self.before.name, self.after.name, "times less"), self.rows())


@dataclass(frozen=True, kw_only=True)
class Difference(_Pair):
    """How much of everything is saved: before minus after."""

    def amount(self, field: str) -> Number | None:
        """Tell how much of one quantity is saved; negative when more is needed.

        Args:
            field: Name of a field of `Cost`, for instance `macs`.

        Returns:
            Before minus after; None where one of them was not measured.

        Raises:
            UserError: When no comparison shows such a field.
        """
        before, after = amount_of(self.before, field), amount_of(self.after, field)
        return None if before is None or after is None else before - after

    def rows(self) -> list[Row]:
        """Tell label, before, after and saving of everything that at least one reading has."""
        return [
            (
                quantity.label,
                _tell(quantity, before),
                _tell(quantity, after),
                _tell(quantity, self.amount(quantity.field)),
            )
            for quantity, before, after in self._amounts()
        ]

    def __str__(self) -> str:
        return plain_table(("", self.before.name, self.after.name, "saved"), self.rows())

    def __rich__(self) -> "Table":
        return rich_table(("", self.before.name, self.after.name, "saved"), self.rows())


def _tell(quantity: Quantity, amount: Number | None) -> str:
    return DASH if amount is None else quantity.tell(amount)
