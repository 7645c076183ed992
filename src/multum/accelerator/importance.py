"""The importance accumulators: what tokens and heads earn while probabilities and outputs go by.

A token's counter adds the probability of every query that looks at it, over heads and layers; a head's counter adds the
magnitudes of what it hands on. Both run beside the critical path, as many numbers a cycle as the path brings.

Source: SpAtten (HPCA 2021), sections III-A, III-B and Fig. 6.
"""

from dataclasses import dataclass

import numpy as np

from multum.accelerator.bitwidth_converter import Integers
from multum.accelerator.counts import check_counts
from multum.core import invalid


@dataclass(frozen=True, kw_only=True)
class ImportanceAccumulators:
    """How many counters are reached in a cycle.

    Raises:
        UserError: A count below 1.

    >>> ImportanceAccumulators().busy_cycles(100)
    13
    """

    lanes: int = 8
    """Counters a cycle: one for each probability that the softmax unit gives."""
    latency_cycles: int = 1
    """From a number to its sum."""

    def __post_init__(self) -> None:
        check_counts(self)

    def busy_cycles(self, num_numbers: int) -> int:
        """Cycles in which numbers enter: ceil(num_numbers / lanes)."""
        return -(-num_numbers // self.lanes)


def add_tokens(counter_N: Integers, token_K: Integers, prob_K: Integers) -> Integers:
    """Add a row's probabilities to the counters of its tokens; gives new counters.

    Args:
        counter_N: A counter for each token of the sequence.
        token_K: The tokens that the row's keys belong to, none twice.
        prob_K: Their probabilities, 12 unsigned bits.

    Raises:
        UserError: A token twice, one that there is not, or another number of probabilities.

    >>> add_tokens(np.array([1, 0, 0]), np.array([2, 0]), np.array([30, 10])).tolist()
    [11, 0, 30]
    """
    if token_K.shape != prob_K.shape or len(np.unique(token_K)) < len(token_K):
        raise invalid("tokens and probabilities", "as many, no token twice", (token_K.shape, prob_K.shape))
    if len(token_K) and not 0 <= int(token_K.min()) <= int(token_K.max()) < len(counter_N):
        raise invalid("tokens", f"in 0..{len(counter_N) - 1}", token_K)
    result = counter_N.copy()
    result[token_K] += prob_K
    return result


def add_head(counter: int, output_D: Integers) -> int:
    """Add what a head hands on to its counter.

    >>> add_head(5, np.array([3, -4]))
    12
    """
    return counter + int(np.abs(output_D).sum())
