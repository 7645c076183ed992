"""How far a fast path may be from its reference: one table, by the type that the fast path computes in.

The unit of the relative part is the type's own rounding step; sums of many terms may be further away by the
square root of their number, because rounding errors are as often up as down. A test that needs more than
this table gives has found a bug, or has to say in a comment why not.
"""

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """`|actual - expected| <= absolute + relative * |expected|`, element by element."""

    relative: float
    absolute: float


TABLE = {
    torch.float64: Tolerance(relative=1e-12, absolute=1e-12),
    torch.float32: Tolerance(relative=4e-6, absolute=2e-6),
    torch.bfloat16: Tolerance(relative=1.6e-2, absolute=8e-3),
    torch.float16: Tolerance(relative=2e-3, absolute=1e-3),
}
"""For results of order one, each the sum of few terms."""


def tolerance(dtype: torch.dtype, *, num_terms: int = 1) -> Tolerance:
    """Give the tolerance for a type.

    Args:
        dtype: What the fast path computes in.
        num_terms: How many products each result sums; it matters from 64 on.
    """
    entry = TABLE[dtype]
    growth = max(1.0, math.sqrt(num_terms / 64))
    return Tolerance(relative=entry.relative * growth, absolute=entry.absolute * growth)


def assert_close(actual: torch.Tensor, expected: torch.Tensor, *, num_terms: int = 1) -> None:
    """Hold a fast path's result against a reference, which may be in a wider type.

    Args:
        actual: What the fast path computed; its type chooses the tolerance.
        expected: The reference, of the same shape.
        num_terms: How many products each result sums.
    """
    allowed = tolerance(actual.dtype, num_terms=num_terms)
    assert actual.shape == expected.shape, f"{tuple(actual.shape)} is not {tuple(expected.shape)}"
    torch.testing.assert_close(
        actual.to(expected.dtype), expected, rtol=allowed.relative, atol=allowed.absolute
    )
