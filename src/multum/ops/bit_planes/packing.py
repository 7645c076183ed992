"""Small integers in bytes, in an order that vector instructions unpack with a shift and a mask.

An n-bit integer is cut into digits of 8, 4 and 2 bits, most significant first, and each kind of digit is a sub-plane
of the row: 4 = 4, 6 = 4 + 2, 8, 10 = 8 + 2, 12 = 8 + 4. The sub-planes of a row stand one after the other. In a
sub-plane of w bits, byte i holds channels i, i + n, i + 2n, ... from its low bits up; n is the number of its bytes.

Shape legend: `*lead` any leading axes, D channels of a row, Y bytes of a packed row.
"""

import torch
from jaxtyping import Int, Int16, UInt8
from torch import Tensor

from multum.core import invalid

DIGITS: dict[int, tuple[int, ...]] = {4: (4,), 6: (4, 2), 8: (8,), 10: (8, 2), 12: (8, 4)}
"""Widths of the digits, most significant first, by bits of the integer."""
WIDTH_STEP = 4
"""A row's width is a multiple of this, so that every sub-plane ends with a whole byte."""


def row_bytes(bits: int, width: int) -> int:
    """Bytes of a packed row.

    >>> [row_bytes(bits, 64) for bits in DIGITS]
    [32, 48, 64, 80, 96]
    """
    _check(bits, width)
    return bits * width // 8


def pack(values: Int[Tensor, "*lead D"], bits: int) -> UInt8[Tensor, "*lead Y"]:
    """Pack integers of so many bits, signed or not: only their low bits are kept.

    Raises:
        UserError: Bits that are not 4, 6, 8, 10 or 12, or a width that is no multiple of 4.

    >>> pack(torch.tensor([1, 2, 3, -1]), 4).tolist()
    [49, 242]
    """
    width = values.shape[-1]
    _check(bits, width)
    planes, below = [], bits
    for digit_bits in DIGITS[bits]:
        below -= digit_bits
        digits = ((values >> below) & (2**digit_bits - 1)).to(torch.uint8)
        num_shares = 8 // digit_bits
        shares = digits.unflatten(-1, (num_shares, width // num_shares))
        packed = shares[..., 0, :]
        for share in range(1, num_shares):
            packed = packed | (shares[..., share, :] << (share * digit_bits))
        planes.append(packed)
    return torch.cat(planes, dim=-1)


def unpack(
    packed: UInt8[Tensor, "*lead Y"], bits: int, width: int, *, signed: bool = True
) -> Int16[Tensor, "*lead D"]:
    """Unpack what `pack` made.

    Args:
        packed: Rows of `row_bytes(bits, width)` bytes.
        bits: Bits of an integer.
        width: Integers in a row.
        signed: Whether the highest bit is a sign.

    >>> unpack(torch.tensor([49, 242], dtype=torch.uint8), 4, 4).tolist()
    [1, 2, 3, -1]
    """
    if packed.shape[-1] != row_bytes(bits, width):
        raise invalid("packed", f"rows of {row_bytes(bits, width)} bytes", packed.shape[-1])
    values = torch.zeros(*packed.shape[:-1], width, dtype=torch.int16, device=packed.device)
    first = 0
    for digit_bits in DIGITS[bits]:
        num_bytes = width * digit_bits // 8
        plane = packed[..., first : first + num_bytes].to(torch.int16)
        digits = [(plane >> shift) & (2**digit_bits - 1) for shift in range(0, 8, digit_bits)]
        values = (values << digit_bits) | torch.cat(digits, dim=-1)
        first += num_bytes
    if signed:
        values = values - ((values >> (bits - 1)) << bits)
    return values


def _check(bits: int, width: int) -> None:
    if bits not in DIGITS:
        raise invalid("bits", f"one of {tuple(DIGITS)}", bits)
    if width % WIDTH_STEP or width < 1:
        raise invalid(
            "the width of a row", f"a multiple of {WIDTH_STEP}", width, "keep such rows unquantized"
        )
