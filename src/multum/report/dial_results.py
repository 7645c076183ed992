"""What pruning heads and values and rounding numbers costs and saves, beside pruning tokens."""

from dataclasses import dataclass
from typing import Literal, get_args

from multum.core.errors import UserError, invalid

Dial = Literal["dense", "heads", "values", "bits", "all"]
"""What a row turns; `all` turns tokens, heads, values and bits together."""


@dataclass(frozen=True, kw_only=True)
class DialRow:
    """Retrieval under one setting of one dial."""

    name: str
    """What the setting is called in a table."""
    dial: Dial
    """What it turns."""
    left: float
    """What is left of the dial's own work, in (0, 1]: heads computed, value rows multiplied, bits over 32."""
    macs_left: float
    """What is left of the model's multiply-accumulates, in (0, 1]."""
    recall_at_1: float
    """Part of the queries whose passage comes first, in [0, 1]."""
    loss_points: float
    """Points of recall at 1 lost against the dense model; negative for a gain."""

    def __post_init__(self) -> None:
        if self.dial not in get_args(Dial):
            raise invalid(f"dial of {self.name!r}", f"one of {get_args(Dial)}", self.dial)
        for name in ("left", "macs_left"):
            if not 0 < getattr(self, name) <= 1:
                raise invalid(f"{name} of {self.name!r}", "in (0, 1]", getattr(self, name), "1 is dense")


@dataclass(frozen=True, kw_only=True)
class DialResults:
    """The dials of an encoder, one by one and together.

    Raises:
        UserError: The rows hold no dense model.
    """

    rows: tuple[DialRow, ...]
    """One for each setting, the dense model among them."""
    num_heads: int
    """Heads of each layer of the dense model."""
    heads_by_layer: tuple[tuple[int, ...], ...]
    """For each layer the heads that it computed for one passage."""
    keys_by_layer: tuple[int, ...]
    """For each layer the keys that were present for that passage, everything turned."""
    values_by_layer: tuple[int, ...]
    """For each layer the value rows that a query multiplied for it."""
    note: str = ""
    """What the passage was and how it was run, in a sentence."""

    def __post_init__(self) -> None:
        if not any(row.dial == "dense" for row in self.rows):
            raise UserError("rows must hold the dense model; got none with the dial 'dense'")
