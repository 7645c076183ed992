"""The bitwidth converter: numbers of few bits, as memory holds them, become the 12 bits that the chip computes with.

A number of b bits is the most significant part of one of 12: it is shifted left by 12 - b. So a key whose least
significant plane was left in memory is that key rounded, on the same scale, and when the plane comes later its bits
only have to be added.

Source: SpAtten (HPCA 2021), section IV-D and Fig. 9.
"""

import numpy as np
from numpy.typing import NDArray

from multum.core import invalid

CHIP_BITS = 12
"""Bits of a number on the chip."""
LATENCY_CYCLES = 1
"""From a transaction's arrival to its numbers."""

Integers = NDArray[np.int64]


def widen(numbers: Integers, bits: int) -> Integers:
    """Signed numbers of so many bits, any shape, on the scale of 12 bits.

    Args:
        numbers: In -2^(bits - 1) .. 2^(bits - 1) - 1.
        bits: 1 to 12.

    Raises:
        UserError: Bits outside 1..12, or a number that does not fit them.

    >>> widen(np.array([-8, 0, 7]), 4).tolist()
    [-2048, 0, 1792]
    """
    check_bits(numbers, bits)
    return numbers << (CHIP_BITS - bits)


def join_planes(most: Integers, least: Integers, msb_bits: int, lsb_bits: int = 4) -> Integers:
    """Keys of both planes: the signed most significant bits, and the unsigned least significant ones below them.

    >>> join_planes(np.array([-1, 3]), np.array([15, 1]), msb_bits=8).tolist()
    [-1, 49]
    """
    if msb_bits + lsb_bits > CHIP_BITS:
        raise invalid("msb_bits + lsb_bits", f"at most {CHIP_BITS}", msb_bits + lsb_bits)
    check_bits(most, msb_bits)
    if bool((least < 0).any()) or bool((least >= 1 << lsb_bits).any()):
        raise invalid("least", f"in 0..{(1 << lsb_bits) - 1}", least)
    return (most << (CHIP_BITS - msb_bits)) + (least << (CHIP_BITS - msb_bits - lsb_bits))


def numbers_per_transaction(bits: int, transaction_bytes: int = 32) -> int:
    """Whole numbers of so many bits in a transaction: floor(8 transaction_bytes / bits).

    >>> numbers_per_transaction(6)
    42
    """
    if bits < 1:
        raise invalid("bits", "at least 1", bits)
    return 8 * transaction_bytes // bits


def check_bits(numbers: Integers, bits: int) -> None:
    """Refuse numbers that do not fit so many signed bits."""
    if not 1 <= bits <= CHIP_BITS:
        raise invalid("bits", f"in 1..{CHIP_BITS}", bits)
    limit = 1 << (bits - 1)
    if bool((numbers < -limit).any()) or bool((numbers >= limit).any()):
        raise invalid("numbers", f"in {-limit}..{limit - 1}, {bits} signed bits", numbers)
