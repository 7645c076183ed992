"""Rows of numbers as integers with one scale per row, cut into most and least significant bits.

Shape legend: `*lead` any leading axes, D channels of a row.
"""

import torch
from jaxtyping import Float, Float16, Int, Int16
from torch import Tensor

from multum.core import UserError, invalid

LSB_BITS = 4
"""Width of the plane of least significant bits, in all five settings of the paper."""
HALF_MAX = 65504.0
"""The largest float16."""
MOST_BITS = 16
"""The widest integer, MSBs and LSBs together."""


def quantize_rows(
    rows: Float[Tensor, "*lead D"], bits: int
) -> tuple[Int16[Tensor, "*lead D"], Float16[Tensor, "*lead"]]:
    """Round each row to signed integers of so many bits, with a scale of its own.

    `rows` is about `q * scale`, off by half a scale at most. The scale is the row's largest magnitude over the largest
    integer, rounded *up* to float16, so that nothing is clipped; a row of zeros has scale 0.

    Args:
        rows: Finite numbers; a row is the last axis.
        bits: Bits of the integers, 2 to 16.

    Returns:
        Integers in `[-2^(bits-1), 2^(bits-1) - 1]`, and a scale per row.

    Raises:
        UserError: Bits out of range; NaN, infinity, or a row too large for a float16 scale.

    Source: SpAtten (HPCA 2021), section III-D: linear symmetric quantization.
    Differs from the paper: which does not say what a scale is shared by; here by one row, in float16.

    >>> q, scale = quantize_rows(torch.tensor([[-1.0, 0.5, 0.25, 0.0]]), 8)
    >>> q.tolist()
    [[-127, 63, 32, 0]]
    """
    if not 2 <= bits <= MOST_BITS:
        raise invalid("bits", f"in 2..{MOST_BITS}", bits)
    wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
    largest_integer = 2 ** (bits - 1) - 1
    scale = _rounded_up(wide.abs().amax(dim=-1).to(torch.float32) / largest_integer)
    if not bool(scale.isfinite().all()):
        raise no_scale(rows, bits)
    divisor = torch.where(scale == 0, 1.0, scale.to(wide.dtype)).unsqueeze(-1)
    q = (wide / divisor).round().clamp(-largest_integer - 1, largest_integer)
    return q.to(torch.int16), scale


def no_scale(rows: Tensor, bits: int) -> UserError:
    """The error for rows that are too large for a float16 scale, or not finite."""
    limit = HALF_MAX * (2 ** (bits - 1) - 1)
    return invalid("rows", f"finite, and at most {limit:.3g}", rows.abs().max().item(), "look for NaN before")


def _rounded_up(exact: Float[Tensor, "*lead"]) -> Float16[Tensor, "*lead"]:
    """The least float16 that is not below; for positive floats the next one has the next bit pattern."""
    nearest = exact.to(torch.float16)
    below = nearest.to(torch.float32) < exact
    return (nearest.view(torch.int16) + below.to(torch.int16)).view(torch.float16)


def split(
    q: Int16[Tensor, "*lead D"], lsb_bits: int = LSB_BITS
) -> tuple[Int16[Tensor, "*lead D"], Int16[Tensor, "*lead D"]]:
    """Cut integers into most and least significant bits, `q = (msb << lsb_bits) + lsb`.

    The MSBs keep the sign (an arithmetic shift); the LSBs are in `[0, 2^lsb_bits)`.

    >>> [part.tolist() for part in split(torch.tensor([-1, 100], dtype=torch.int16))]
    [[-1, 6], [15, 4]]
    """
    return q >> lsb_bits, q & (2**lsb_bits - 1)


def join(
    msb: Int[Tensor, "*lead D"], lsb: Int[Tensor, "*lead D"] | None, lsb_bits: int = LSB_BITS
) -> Int[Tensor, "*lead D"]:
    """Put `split`'s halves together again; without the LSBs the middle of what they may have been.

    Differs from the paper: which does not say what stands for LSBs that were not read; the middle halves the error.

    >>> join(torch.tensor([6]), None).tolist()
    [104]
    """
    return (msb << lsb_bits) + (2 ** (lsb_bits - 1) if lsb is None else lsb)
