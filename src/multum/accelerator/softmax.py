"""The softmax unit: integer scores in, probabilities of 12 bits out, eight a cycle.

A score is dequantized by a scale that already holds 1 / sqrt(D), and the exponential is a Taylor polynomial of the
fifth order around the nearest power of two: exp(x) = 2^n exp(r) with |r| <= ln(2) / 2, so that its error stays below
3.4e-6. A sum is complete only when the last score has gone by, so exponentials wait in a FIFO and pass a second time,
to be divided.

Source: SpAtten (HPCA 2021), section IV-E; latencies of its pipeline from the authors' open hardware description.
Differs from the paper: which names the order of the polynomial and not the range in which it is used.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multum.accelerator.bitwidth_converter import CHIP_BITS, Integers
from multum.accelerator.counts import check_counts
from multum.core import invalid

TAYLOR_ORDER = 5
LARGEST = (1 << CHIP_BITS) - 1
"""The integer that stands for a probability of 1."""

Reals = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class SoftmaxUnit:
    """Lanes, and latencies of the pipeline's parts in cycles.

    Raises:
        UserError: A count below 1.

    >>> SoftmaxUnit().first_pass_cycles(1024), SoftmaxUnit().second_pass_cycles(1024)
    (179, 164)
    """

    lanes: int = 8
    """Scores a cycle."""
    fifo_depth: int = 128
    """Words of `lanes` exponentials that wait for the sum."""
    dequantize_cycles: int = 7
    """Integer to real, times the scale."""
    exponential_cycles: int = 21
    """The polynomial and the power of two."""
    accumulate_cycles: int = 23
    """The sum, from its last summand on."""
    divide_cycles: int = 29
    """By the sum."""
    quantize_cycles: int = 7
    """Real to 12 bits."""

    def __post_init__(self) -> None:
        check_counts(self)

    def busy_cycles(self, num_scores: int) -> int:
        """Cycles in which scores enter: ceil(num_scores / lanes)."""
        return -(-num_scores // self.lanes)

    def first_pass_cycles(self, num_scores: int) -> int:
        """Until the sum is known: busy + dequantize + exponential + accumulate."""
        latency = self.dequantize_cycles + self.exponential_cycles + self.accumulate_cycles
        return self.busy_cycles(num_scores) + latency

    def second_pass_cycles(self, num_scores: int) -> int:
        """From there until the last probability has left: busy + divide + quantize."""
        return self.busy_cycles(num_scores) + self.divide_cycles + self.quantize_cycles

    @property
    def capacity(self) -> int:
        """Scores of the longest row."""
        return self.lanes * self.fifo_depth


def taylor_exponential(x: Reals) -> Reals:
    """exp(x) by a polynomial of the fifth order around the nearest power of two, in float32.

    >>> float(taylor_exponential(np.array([0.0], dtype=np.float32))[0])
    1.0
    """
    turns = np.rint(x / math.log(2))
    rest = (x - turns * math.log(2)).astype(np.float32)
    total = np.zeros_like(rest)
    for order in range(TAYLOR_ORDER, -1, -1):  # Horner's scheme
        total = total * rest + np.float32(1 / math.factorial(order))
    result: Reals = np.ldexp(total, turns.astype(np.int64)).astype(np.float32)
    return result


def softmax_probabilities(scores: Integers, scale: float) -> Integers:
    """Probabilities of 12 unsigned bits, rounded, 4095 for 1.

    Args:
        scores: Sums of products, (K,).
        scale: Of a score's unit, with 1 / sqrt(D) in it; positive.

    Raises:
        UserError: No score, or a scale that is not positive.

    >>> softmax_probabilities(np.array([0, 0, -10_000]), 0.01).tolist()
    [2048, 2048, 0]
    """
    if scores.ndim != 1 or not len(scores):
        raise invalid("scores", "a vector of at least one", scores)
    if not 0 < scale < math.inf:
        raise invalid("scale", "positive", scale)
    real = (scores - scores.max()).astype(np.float32) * np.float32(scale)
    exponential = taylor_exponential(np.maximum(real, -80).astype(np.float32))
    prob: Integers = np.rint(exponential / exponential.sum(dtype=np.float32) * LARGEST).astype(np.int64)
    return prob
