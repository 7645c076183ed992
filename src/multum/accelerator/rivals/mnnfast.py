"""MnnFast: values whose probability is small are not multiplied; everything is read, and every score computed.

Keys and values stream by, chunk by chunk. A chunk's exponentials are summed up and multiply their values at once,
and the division by the sum waits until the end (lazy softmax), so no score is ever stored. That hides the memory behind
the multipliers, and a value whose probability is under a threshold is skipped ("zero-skipping"). But a value has
already come when its probability is known, and the scores are computed all the same:

    query = max(n keys in Q x K, kept values in prob x V)      (two arrays, as SpAtten-1/8 and A3 have them)
    head = max(read K and V, queries x query)

So with two arrays, skipping spares energy and no time. Two switches tell what that rests on: `overlapped=False` lets
prob x V of a query wait for its scores and Q x K of the next for its output (n + kept cycles), `shared_multipliers`
lets one array of both sizes do one after the other ((n + kept) / 2, the best that skipping could be worth).

Source: MnnFast (Jang et al., ISCA 2019), sections on column-based streaming and zero-skipping; resources as in SpAtten
(HPCA 2021), section V: 128 multipliers, 64 GB/s, 1 GHz.
Differs from the paper: which builds it on CPUs, GPUs and an FPGA, with float32, as we take it to read here; the part of
the values that is kept is not published for our tasks, so 1 is the default, and a dial. The memory is ideal, a chunk's
keys and values serve all queries of a head, and heads follow each other without a gap: all three favour it, and its
multipliers never wait, so a sentence runs at their peak.
"""

import math
from dataclasses import dataclass, field

from multum.accelerator.multiplier_array import MultiplierArray
from multum.accelerator.rivals.dense import dense_workload
from multum.accelerator.rivals.rival_run import HeadShape, RivalRun, check_rival, head_shapes
from multum.accelerator.softmax import SoftmaxUnit
from multum.accelerator.workload import FLOAT_BITS, Workload


@dataclass(frozen=True, kw_only=True)
class MnnFast:
    """The accelerator.

    Raises:
        UserError: A part outside (0, 1], or a size that is not positive.

    >>> MnnFast().head_cycles(HeadShape(100, 100, 64)), MnnFast().head_cycles(HeadShape(1000, 1, 64))
    (10000, 8000)
    """

    name: str = "MnnFast"
    """What reports call it."""
    kept_ratio: float = 1.0
    """Values that a query multiplies, as part of the keys."""
    overlapped: bool = True
    """Whether prob x V of a query runs beside Q x K of the next."""
    shared_multipliers: bool = False
    """Whether one array, of the multipliers of both, does Q x K and then prob x V."""
    bits: int = FLOAT_BITS
    """Of a key and a value, outside."""
    bytes_per_cycle: float = 64.0
    """What the memory outside brings, in every cycle."""
    query_key: MultiplierArray = field(default_factory=lambda: MultiplierArray(multipliers=64))
    """Q x K."""
    prob_value: MultiplierArray = field(default_factory=lambda: MultiplierArray(multipliers=64))
    """prob x V."""
    softmax: SoftmaxUnit = field(default_factory=SoftmaxUnit)
    """Latencies of exponential and division; at least one score a cycle."""
    clock_ghz: float = 1.0
    """Cycles of a nanosecond."""

    def __post_init__(self) -> None:
        check_rival(self, ("kept_ratio",))

    @property
    def fill_cycles(self) -> int:
        """The pipeline's latency, once in a run: product, exponential, product, division.

        >>> MnnFast().fill_cycles
        58
        """
        products = self.query_key.latency_cycles + self.prob_value.latency_cycles
        return products + self.softmax.exponential_cycles + self.softmax.divide_cycles

    def num_kept(self, num_keys: int) -> int:
        """Values that a query multiplies, rounded up."""
        return math.ceil(self.kept_ratio * num_keys)

    def query_cycles(self, head: HeadShape) -> int:
        """From one query to the next."""
        kept = self.num_kept(head.num_keys)
        if self.shared_multipliers:
            array = MultiplierArray(multipliers=self.query_key.multipliers + self.prob_value.multipliers)
            return array.busy_cycles(head.num_keys + kept, head.width)
        scores = self.query_key.busy_cycles(head.num_keys, head.width)
        values = self.prob_value.busy_cycles(kept, head.width)
        return max(scores, values) if self.overlapped else scores + values

    def head_bytes(self, head: HeadShape) -> int:
        """Bytes read for a head: all its keys and values."""
        return 2 * head.num_keys * head.width * self.bits // 8

    def head_cycles(self, head: HeadShape) -> int:
        """Memory and multipliers beside each other: the slower one's cycles."""
        load = math.ceil(self.head_bytes(head) / self.bytes_per_cycle)
        return max(load, head.num_queries * self.query_cycles(head))

    def operations(self, head: HeadShape) -> int:
        """Operations done for a head: all scores, and the values that are kept."""
        return 2 * head.num_queries * (head.num_keys + self.num_kept(head.num_keys)) * head.width

    def run(self, workload: Workload) -> RivalRun:
        """Run what a workload is without pruning and quantization.

        Args:
            workload: Pruned or not: MnnFast knows neither, so it is made dense first.

        >>> MnnFast().run(Workload.from_counts(keys=[[100] * 12], heads=12, num_queries=100)).cycles
        1440058
        """
        heads = list(head_shapes(dense_workload(workload)))
        return RivalRun(
            name=self.name,
            cycles=self.fill_cycles + sum(count * self.head_cycles(head) for head, count in heads),
            dram_bytes=sum(count * self.head_bytes(head) for head, count in heads),
            operations=sum(count * self.operations(head) for head, count in heads),
            dense_operations=sum(count * head.dense_operations for head, count in heads),
            clock_ghz=self.clock_ghz,
        )
