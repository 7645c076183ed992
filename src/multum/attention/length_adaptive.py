"""Longer input, larger pruning: how a ratio bends with the number of tokens.

A short sentence has no words to spare, a long passage has many. The paper says so and gives no formula; ours keeps a
ratio r at a reference length, and multiplies it by r to the power of `strength` with every doubling of the length:

    keep(r, n) = r * (reference_length / n) ** min(1, strength * log2(1 / r))        and at most 1

So a layer that keeps everything keeps everything at any length, a layer that keeps little bends more, layers stay in
order, and a longer sentence never keeps fewer tokens than a shorter one (the exponent is at most 1).
"""

import math
from dataclasses import dataclass

from multum.core import check_fields, invalid


@dataclass(frozen=True, kw_only=True)
class LengthAdaptive:
    """The dials of that formula; the floor below which no sentence falls is the schedule's `min_tokens`.

    Raises:
        UserError: A length below 1, a strength that is not positive.

    Source: SpAtten, section III-A ("longer input, larger ratio", without a formula).

    >>> adaptive = LengthAdaptive(reference_length=128, strength=0.25)
    >>> [round(adaptive.keep_ratio(0.4, length), 2) for length in (8, 32, 128, 512)]
    [1.0, 0.63, 0.4, 0.25]
    """

    reference_length: int = 128
    """Tokens of a sentence for which the schedule's ratios hold as they stand."""
    strength: float = 0.25
    """How far a doubling of the length bends a ratio; near 0 not at all."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.reference_length < 1:
            raise invalid("reference_length", "at least 1", self.reference_length)
        if self.strength <= 0:
            remedy = "leave the schedule's length at None for none"
            raise invalid("strength", "positive", self.strength, remedy)

    def keep_ratio(self, ratio: float, length: int) -> float:
        """The part of a sentence of `length` tokens to keep where the schedule says `ratio`."""
        exponent = min(1.0, self.strength * math.log2(1.0 / ratio))
        bent: float = ratio * (self.reference_length / length) ** exponent
        return min(1.0, bent)
