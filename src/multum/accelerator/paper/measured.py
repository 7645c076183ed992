"""A benchmark on an architecture, in the few numbers that the paper's tables are made of; run once and remembered."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import cache

from multum.accelerator.activity import activity_of
from multum.accelerator.architecture import Architecture
from multum.accelerator.energy import Energy, energy_of
from multum.accelerator.paper.assumptions import Assumptions, assumed
from multum.accelerator.paper.benchmarks30 import Benchmark
from multum.accelerator.paper.workloads import TECHNIQUES, workload_of
from multum.accelerator.simulator import simulate
from multum.accelerator.workload import Workload
from multum.core import invalid


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What came out."""

    seconds: float
    """How long it took."""
    operations: float
    """Operations of Q x K and prob x V that were done, a product and its sum counted as two."""
    moved_bytes: int
    """Bytes over the memory's buses."""
    dram_efficiency: float
    """Bytes over what the buses could have carried in all that time."""
    energy: Energy
    """What it took, by unit."""

    @property
    def flops(self) -> float:
        """Operations a second."""
        return self.operations / self.seconds

    @property
    def operations_per_byte(self) -> float:
        """Where on the roofline it lies."""
        return self.operations / self.moved_bytes

    @property
    def watts(self) -> float:
        """Mean power of everything."""
        return self.energy.total / self.energy.seconds


def measure_workload(workload: Workload, architecture: Architecture | None = None) -> Measured:
    """Run a workload.

    >>> work = Workload.from_counts(keys=[[64]], heads=2, num_queries=64, key_bits=8, value_bits=8)
    >>> measured = measure_workload(work)
    >>> measured.operations == 4 * 2 * 64 * 64 * 64, measured.moved_bytes == 2 * 2 * 64 * 64
    (True, True)
    """
    run = simulate(workload, architecture)
    peak = run.architecture.dram_bytes_per_second * run.seconds
    return Measured(
        seconds=run.seconds,
        operations=run.activity.operations,
        moved_bytes=run.dram.moved_bytes,
        dram_efficiency=run.dram.moved_bytes / peak,
        energy=energy_of(run.activity, run.dram, run.architecture, run.cycles),
    )


def measure(
    benchmark: Benchmark,
    techniques: Collection[str] = TECHNIQUES,
    assumptions: Assumptions | None = None,
    architecture: Architecture | None = None,
) -> Measured:
    """Run a benchmark, or remember what it took.

    Args:
        benchmark: Which.
        techniques: What is done to it.
        assumptions: What was not published; None: `assumed()`.
        architecture: On what; None: SpAtten.
    """
    nameless = replace(benchmark, task="")  # a task is nothing but its length
    rule = (assumptions or assumed()).relevant_to(benchmark)
    return _measured(nameless, frozenset(techniques), rule, architecture or Architecture())


@cache
def _measured(
    benchmark: Benchmark, techniques: frozenset[str], rule: Assumptions, architecture: Architecture
) -> Measured:
    return measure_workload(workload_of(benchmark, techniques, rule), architecture)


@cache
def dense_cost(benchmark: Benchmark) -> tuple[float, int]:
    """Operations and bytes of a benchmark when nothing is pruned and everything is float32; no run is needed.

    >>> from multum.accelerator.paper.benchmarks30 import thirty_benchmarks
    >>> operations, moved = dense_cost(thirty_benchmarks()[-1])
    >>> round(moved / 1e9, 3), operations / moved
    (6.345, 0.5)
    """
    dense = workload_of(benchmark, ())
    return activity_of(dense, Architecture()).operations, dense.key_bytes + dense.value_bytes


def geometric_mean(numbers: Iterable[float]) -> float:
    """The mean that ratios have.

    Raises:
        UserError: No number, or one that is not positive.

    >>> round(geometric_mean([1.0, 4.0]), 12)
    2.0
    """
    given = list(numbers)
    if not given or min(given) <= 0:
        raise invalid("numbers", "positive, at least one", given)
    return math.exp(math.fsum(math.log(it) for it in given) / len(given))
