"""The top-k engine: the k largest of a stream, in their order, without sorting it.

A sorter puts all elements into order and most of that order is thrown away. Quick-select only looks for the k-th
largest: whatever is smaller than a random pivot goes to one FIFO, whatever is larger to the other, and the search goes
on in the one that holds it. A last pass over the buffered input keeps what is above the threshold and the first few
that equal it, so nothing has moved.

Items pass `parallelism` at a time: two arrays of as many comparators, a zero eliminator behind each.

Source: SpAtten (HPCA 2021), section IV-B, Algorithm 3.
Differs from the paper: the search stops when size(R) < k <= size(R) + num_eq; the published pseudocode is off by one
where k is just that sum.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multum.accelerator.lfsr import SEED, Lfsr
from multum.accelerator.zero_eliminator import ZeroEliminator
from multum.core import check_fields, invalid

PIVOT_CYCLES, WRITE_CYCLES = 1, 1
"""To fetch the pivot before the first row, and to write the last row behind the zero eliminators."""

Scores = NDArray[np.generic]


@dataclass(frozen=True, kw_only=True)
class TopkPass:
    """One pass of the search."""

    pivot: float
    """What was compared with."""
    num_items: int
    """Items that went by."""
    num_smaller: int
    """Items that went to FIFO_L."""
    num_larger: int
    """Items that went to FIFO_R."""
    num_equal: int
    """Items that were only counted."""
    cycles: int
    """How long it took."""


@dataclass(frozen=True, kw_only=True)
class TopkRun:
    """What the engine found, and how long it took."""

    kept: NDArray[np.int64]
    """Places of the k largest in the input, ascending."""
    threshold: float | None
    """The k-th largest; None where everything was kept."""
    passes: tuple[TopkPass, ...]
    """The search."""
    filter_cycles: int
    """The last pass over the input."""

    @property
    def search_cycles(self) -> int:
        """Cycles until the k-th largest is known."""
        return sum(it.cycles for it in self.passes)

    @property
    def cycles(self) -> int:
        """Cycles until the last survivor has left."""
        return self.search_cycles + self.filter_cycles


@dataclass(frozen=True, kw_only=True)
class TopkEngine:
    """The engine's size.

    Raises:
        UserError: A parallelism that is no power of two, no FIFO, a seed of zero.

    >>> run = TopkEngine().select(np.array([0.6, 0.1, 0.5, 1.2, 0.6]), 3)
    >>> run.kept.tolist(), run.threshold
    ([0, 3, 4], 0.6)
    """

    parallelism: int = 16
    """Items a cycle, and comparators of each of the two arrays."""
    fifo_depth: int = 64
    """Words of each FIFO; a word holds `parallelism` items, so the longest input is their product."""
    seed: int = SEED
    """State of the register that pivots come from, when a search begins."""

    def __post_init__(self) -> None:
        check_fields(self)
        ZeroEliminator(lanes=self.parallelism)
        Lfsr(self.seed)
        if self.fifo_depth < 1:
            raise invalid("fifo_depth", "at least 1", self.fifo_depth)

    @property
    def num_comparators(self) -> int:
        """Comparators of both arrays."""
        return 2 * self.parallelism

    @property
    def capacity(self) -> int:
        """Items of the longest input."""
        return self.parallelism * self.fifo_depth

    @property
    def fill_cycles(self) -> int:
        """Cycles of a pass beside those of its rows: fetch the pivot, eliminate zeros, write.

        >>> TopkEngine().fill_cycles
        3
        """
        return PIVOT_CYCLES + ZeroEliminator(lanes=self.parallelism).latency_cycles + WRITE_CYCLES

    def pass_cycles(self, num_items: int) -> int:
        """Cycles of a pass: ceil(num_items / parallelism) + fill_cycles.

        >>> TopkEngine().pass_cycles(100)
        10
        """
        return -(-num_items // self.parallelism) + self.fill_cycles

    def select(self, scores: Scores, k: int) -> TopkRun:
        """Find the k largest.

        Args:
            scores: One a token, (n,); any type that can be compared. Of equal ones the earlier stays.
            k: How many; all are kept, in no time, where there are not more.

        Raises:
            UserError: No vector, NaN, k below 1, more items than the FIFOs hold.
        """
        _check(scores, k, self.capacity)
        if k >= len(scores):
            return TopkRun(kept=np.arange(len(scores)), threshold=None, passes=(), filter_cycles=0)
        register, passes = Lfsr(self.seed), []
        items, wanted = scores, k
        while True:
            pivot = items[register.below(len(items))]
            smaller, larger = items[items < pivot], items[items > pivot]
            num_equal = len(items) - len(smaller) - len(larger)
            cycles = self.pass_cycles(len(items))
            register.step(cycles)
            passes.append(
                TopkPass(
                    pivot=float(pivot),
                    num_items=len(items),
                    num_smaller=len(smaller),
                    num_larger=len(larger),
                    num_equal=num_equal,
                    cycles=cycles,
                )
            )
            if len(larger) < wanted <= len(larger) + num_equal:
                break
            if wanted <= len(larger):
                items = larger
            else:
                items, wanted = smaller, wanted - len(larger) - num_equal
        return TopkRun(
            kept=_filtered(scores, pivot, k),
            threshold=float(pivot),
            passes=tuple(passes),
            filter_cycles=self.pass_cycles(len(scores)),
        )


def mean_search_cycles(num_items: int, k: int) -> float:
    """Expected cycles of the search with one item a cycle, over random orders of different items.

    The sum over passes of num_items + 3: Knuth's expectation of the comparisons of quick-select, which counts one less
    in each pass, plus four times the expected number of passes, H_k + H_(n+1-k) - 1.

    Source: D. E. Knuth, Mathematical Analysis of Algorithms (1971), for the comparisons.

    >>> round(mean_search_cycles(1024, 512))
    3468
    """
    if not 1 <= k <= num_items:
        raise invalid("k", f"in 1..{num_items}", k)
    rest = num_items + 1 - k
    all_of, chosen, others = (_harmonic(it) for it in (num_items, k, rest))
    comparisons = 2 * ((num_items + 1) * all_of - (rest + 2) * others - (k + 2) * chosen + num_items + 3)
    return comparisons + (TopkEngine(parallelism=1).fill_cycles + 1) * (chosen + others - 1)


def _harmonic(number: int) -> float:
    return float((1 / np.arange(1, number + 1)).sum())


def _filtered(scores: Scores, threshold: Any, k: int) -> NDArray[np.int64]:
    """Everything above the threshold and the first of those that equal it, in their order."""
    above = scores > threshold
    equal = scores == threshold
    first = equal & (equal.cumsum() <= k - int(above.sum()))
    return np.flatnonzero(above | first)


def _check(scores: Scores, k: int, capacity: int) -> None:
    if scores.ndim != 1 or not len(scores):
        raise invalid("scores", "a vector of at least one", scores)
    if scores.dtype.kind == "f" and bool(np.isnan(scores).any()):
        raise invalid("scores", "numbers", "NaN")
    if k < 1:
        raise invalid("k", "at least 1", k)
    if len(scores) > capacity:
        remedy = "raise fifo_depth or parallelism"
        raise invalid("scores", f"at most {capacity}, what the FIFOs hold", len(scores), remedy)
