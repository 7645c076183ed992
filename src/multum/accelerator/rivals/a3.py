"""A3: attention over a few candidates, all of it on the chip, with everything read first.

A3 spares multiplications and no byte. Queries, keys and values of a head lie on the chip before the first score is
known; there the channels of the keys are sorted once, each query searches for candidates (`a3_candidates`), and only
those get an exact score, an exponential and a part of the output. Four modules work on four queries at a time, each as
many cycles as it has rows plus a few:

    stages of a query = M | C | C | S, each + 9      (without approximation: n | n | n)
    queries of a head = sum of the stages + (queries - 1) x the longest stage
    head = read K and V + sort + queries

With M iterations at most M keys have ever been given a positive product, so C <= M: up to 64 channels the search is the
longest stage, and how many candidates there really are moves energy and latency but not throughput.

Source: A3 (Ham et al., HPCA 2020), sections III to VI; resources as in SpAtten (HPCA 2021), section V: 128 multipliers,
64 GB/s, 1 GHz.
Differs from the paper: its chip holds 320 keys, this one as many as a head has; sorting, which it does beforehand or
spreads over many queries, is counted here, a merge sorter for each channel (`count_sorting`); the memory outside is
ideal, 64 bytes in every cycle, which favours A3. Not published for our tasks, and so dials: the part of the iterations
that yields candidates, and the part of these that is kept. M, T, the 8 bits and the 9 cycles were written down without
the paper's text at hand; its published gain in throughput, 2.6 to 7.0, does not contradict them: the aggressive
setting gives (320 + 9) / (320 / 8 + 9) = 6.7.
"""

import math
from dataclasses import dataclass, field, replace

from multum.accelerator.multiplier_array import MultiplierArray
from multum.accelerator.rivals.dense import dense_workload
from multum.accelerator.rivals.rival_run import HeadShape, RivalRun, check_rival, head_shapes
from multum.accelerator.workload import Workload
from multum.core import published


@dataclass(frozen=True, kw_only=True)
class A3:
    """The accelerator; as it stands, exact ("base") attention.

    Raises:
        UserError: A part outside (0, 1], or a size that is not positive.

    >>> base = A3()
    >>> base.stages(HeadShape(320, 1, 64)), base.query_cycles(HeadShape(320, 1, 64)) == 3 * 320 + 27
    ((329, 329, 329), True)
    """

    name: str = "A3"
    """What reports call it."""
    iteration_ratio: float | None = None
    """M: iterations of the candidate search, as part of the keys; None: every key is a candidate, none is searched."""
    candidate_ratio: float = 1.0
    """C: candidates, as part of the iterations; 1 is the most that there can be."""
    kept_ratio: float = 1.0
    """S: candidates that are left after scoring, as part of the candidates; 1 is the most that there can be."""
    bits: int = 8
    """Of a key, value and query, outside and on the chip: 4 before the point and 4 behind it."""
    bytes_per_cycle: float = 64.0
    """What the memory outside brings, in every cycle."""
    dot_product: MultiplierArray = field(default_factory=lambda: MultiplierArray(multipliers=64))
    """Exact scores."""
    output: MultiplierArray = field(default_factory=lambda: MultiplierArray(multipliers=64))
    """Weighted sum."""
    stage_cycles: int = 9
    """What each module takes beside its rows."""
    count_sorting: bool = True
    """Whether the preprocessing is counted; False: sorted keys come for nothing."""
    sorters: int = 64
    """Merge sorters, each of one comparison a cycle."""
    count_queries: bool = False
    """Whether queries count among the bytes read; the simulation of SpAtten counts keys and values."""
    clock_ghz: float = 1.0
    """Cycles of a nanosecond."""

    def __post_init__(self) -> None:
        check_rival(self, ("candidate_ratio", "kept_ratio"))

    def num_iterations(self, num_keys: int) -> int:
        """M, rounded up; 0 where nothing is searched."""
        return 0 if self.iteration_ratio is None else math.ceil(self.iteration_ratio * num_keys)

    def num_candidates(self, num_keys: int) -> int:
        """C: keys that get an exact score, rounded up."""
        if self.iteration_ratio is None:
            return num_keys
        return min(num_keys, math.ceil(self.candidate_ratio * self.num_iterations(num_keys)))

    def num_kept(self, num_keys: int) -> int:
        """S: values that are multiplied, rounded up."""
        candidates = self.num_candidates(num_keys)
        return candidates if self.iteration_ratio is None else math.ceil(self.kept_ratio * candidates)

    def stages(self, head: HeadShape) -> tuple[int, ...]:
        """Cycles that one query spends in each module: search, dot product, exponent, output."""
        candidates = self.num_candidates(head.num_keys)
        rows = (
            self.dot_product.busy_cycles(candidates, head.width),
            candidates,
            self.output.busy_cycles(self.num_kept(head.num_keys), head.width),
        )
        search = () if self.iteration_ratio is None else (self.num_iterations(head.num_keys),)
        return tuple(it + self.stage_cycles for it in (*search, *rows))

    def query_cycles(self, head: HeadShape) -> int:
        """All queries of a head: sum of the stages, and the longest once more for each query but the first."""
        stages = self.stages(head)
        return sum(stages) + (head.num_queries - 1) * max(stages)

    def head_bytes(self, head: HeadShape) -> int:
        """Bytes read for a head: all its keys and values, and its queries where they are counted."""
        rows = 2 * head.num_keys + (head.num_queries if self.count_queries else 0)
        return rows * head.width * self.bits // 8

    def sort_cycles(self, head: HeadShape) -> int:
        """The preprocessing: ceil(width / sorters) x n x ceil(log2 n); 0 where it is not counted or not needed.

        >>> a3_conservative().sort_cycles(HeadShape(320, 1, 64)), A3().sort_cycles(HeadShape(320, 1, 64))
        (2880, 0)
        """
        if not self.count_sorting or self.iteration_ratio is None:
            return 0
        rounds = -(-head.width // self.sorters)
        return rounds * head.num_keys * (head.num_keys - 1).bit_length()

    def head_cycles(self, head: HeadShape) -> int:
        """Read, then sort, then answer: nothing of a head overlaps, as everything has to be there first.

        >>> A3().head_cycles(HeadShape(100, 100, 64))
        11318
        """
        load = math.ceil(self.head_bytes(head) / self.bytes_per_cycle)
        return load + self.sort_cycles(head) + self.query_cycles(head)

    def operations(self, head: HeadShape) -> int:
        """Operations done for a head: search (two products and two sums an iteration), scores, weighted sum."""
        rows = self.num_candidates(head.num_keys) + self.num_kept(head.num_keys)
        return head.num_queries * (4 * self.num_iterations(head.num_keys) + 2 * rows * head.width)

    def run(self, workload: Workload) -> RivalRun:
        """Run what a workload is without pruning and quantization, head by head.

        Args:
            workload: Pruned or not: A3 knows neither, so it is made dense first.

        >>> a3_conservative().run(Workload.from_counts(keys=[[100] * 12], heads=12, num_queries=100)).cycles
        1004688
        """
        heads = list(head_shapes(dense_workload(workload)))
        return RivalRun(
            name=self.name,
            cycles=sum(count * self.head_cycles(head) for head, count in heads),
            dram_bytes=sum(count * self.head_bytes(head) for head, count in heads),
            operations=sum(count * self.operations(head) for head, count in heads),
            dense_operations=sum(count * head.dense_operations for head, count in heads),
            clock_ghz=self.clock_ghz,
        )


def a3_conservative() -> A3:
    """A3 with the milder of its published settings: M = n / 2, T = 5 %.

    >>> a3_conservative().num_iterations(320)
    160
    """
    return _a3("conservative")


def a3_aggressive() -> A3:
    """A3 with the rougher of its published settings: M = n / 8, T = 10 %.

    >>> a3_aggressive().num_iterations(320)
    40
    """
    return _a3("aggressive")


def _a3(setting: str) -> A3:
    """T decides how many candidates are kept, which differs from task to task and is not published: all are."""
    ratio = published("a3_2020", f"{setting}_iterations").number
    return replace(A3(), name=f"A3 ({setting})", iteration_ratio=ratio)
