"""Q x K and prob x V: the two arrays of multipliers, and how long rows take in them.

Both have 512 multipliers of 12 bits. In Q x K the query stays and keys go by: 512 / D rows of D channels a cycle, each
summed up by an adder tree. In prob x V a probability meets a value row: again 512 / D rows a cycle, summed up over
rows.

Shape legend: K keys, V value rows, D channels.

Source: SpAtten (HPCA 2021), section IV-D and Table I.
"""

from dataclasses import dataclass

from multum.accelerator.bitwidth_converter import CHIP_BITS, Integers, check_bits
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


def query_times_keys(query_D: Integers, key_KD: Integers) -> Integers:
    """Scores, exact: sums of D products of 12 bits need 24 + log2(D) bits, which the adder tree has.

    >>> import numpy as np
    >>> query_times_keys(np.array([1, -2]), np.array([[3, 4], [2047, -2048]])).tolist()
    [-5, 6143]
    """
    check_bits(query_D, CHIP_BITS)
    check_bits(key_KD, CHIP_BITS)
    return key_KD @ query_D


def probabilities_times_values(prob_V: Integers, value_VD: Integers) -> Integers:
    """The head's output, exact, for probabilities of 12 unsigned bits (4095 is 1).

    >>> import numpy as np
    >>> probabilities_times_values(np.array([4095, 0]), np.array([[3, -4], [7, 7]])).tolist()
    [12285, -16380]
    """
    if bool((prob_V < 0).any()) or bool((prob_V >= 1 << CHIP_BITS).any()):
        raise invalid("prob", f"in 0..{(1 << CHIP_BITS) - 1}", prob_V)
    check_bits(value_VD, CHIP_BITS)
    return prob_V @ value_VD
