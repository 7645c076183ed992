"""An array of multipliers of 12 bits and its adder tree, and how long rows take in it; Q x K and prob x V are one each.

Source: SpAtten (HPCA 2021), section IV-D and Table I.
"""

from dataclasses import dataclass

from multum.core import check_fields, invalid

MULTIPLY_CYCLES = 1
"""Latency of a multiplier of 12 bits."""
SMALLEST_SUM = 8
"""Multipliers at the leaves of which adding starts to count: the tree has log2(multipliers / 8) levels of registers."""


@dataclass(frozen=True, kw_only=True)
class MultiplierArray:
    """One array.

    Raises:
        UserError: A number of multipliers that is no power of two of at least 8.
    """

    multipliers: int = 512
    """Multipliers of 12 bits."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.multipliers < SMALLEST_SUM or self.multipliers & (self.multipliers - 1):
            raise invalid("multipliers", f"a power of two, at least {SMALLEST_SUM}", self.multipliers)

    @property
    def latency_cycles(self) -> int:
        """From a row's entry to its sum: 1 + log2(multipliers / 8).

        >>> MultiplierArray().latency_cycles
        7
        """
        return MULTIPLY_CYCLES + (self.multipliers // SMALLEST_SUM).bit_length() - 1

    def rows_per_cycle(self, width: int) -> int:
        """Rows of so many channels a cycle: floor(multipliers / width), at least one in several cycles.

        >>> MultiplierArray().rows_per_cycle(64)
        8
        """
        if width < 1:
            raise invalid("width", "at least 1", width)
        return max(1, self.multipliers // width)

    def busy_cycles(self, num_rows: int, width: int) -> int:
        """Cycles in which rows enter: ceil(num_rows / rows_per_cycle) times ceil(width / multipliers).

        >>> MultiplierArray().busy_cycles(100, 64), MultiplierArray(multipliers=64).busy_cycles(100, 128)
        (13, 200)
        """
        parts = -(-width // self.multipliers)
        return -(-num_rows // self.rows_per_cycle(width)) * parts
