"""What each technique gives: a benchmark with none of them, then with one more at a time.

Source: SpAtten (HPCA 2021), section V, breakdown of the speed-up.
Differs from the paper: its first steps are another machine's; here every step runs on SpAtten.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from multum.accelerator.paper.assumptions import Assumptions
from multum.accelerator.paper.benchmarks30 import Benchmark
from multum.accelerator.paper.measured import geometric_mean, measure
from multum.accelerator.paper.workloads import TECHNIQUES

NAMES = {
    "tokens": "token pruning",
    "values": "value pruning",
    "heads": "head pruning",
    "static": "static quantization",
    "progressive": "progressive quantization",
}
"""What reports call them."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Some techniques together."""

    name: str
    """The one that was added last."""
    seconds: float
    """Geometric mean over the benchmarks."""
    moved_bytes: float
    """Likewise."""
    joules: float
    """Likewise."""
    dram_efficiency: float
    """Likewise: bytes over what the buses could have carried in all the time."""


def breakdown(benchmarks: Sequence[Benchmark], assumptions: Assumptions | None = None) -> tuple[Step, ...]:
    """Run benchmarks with none of the techniques, then with one more at a time.

    >>> from multum.accelerator.paper.benchmarks30 import thirty_benchmarks
    >>> steps = breakdown(thirty_benchmarks()[:1])
    >>> [step.name for step in steps][:2], steps[0].seconds > steps[-1].seconds
    (['dense, float32', 'token pruning'], True)
    """
    steps = []
    for count in range(len(TECHNIQUES) + 1):
        done = TECHNIQUES[:count]
        runs = [measure(it, done, assumptions) for it in benchmarks]
        steps.append(
            Step(
                name=NAMES[done[-1]] if done else "dense, float32",
                seconds=geometric_mean(it.seconds for it in runs),
                moved_bytes=geometric_mean(it.moved_bytes for it in runs),
                joules=geometric_mean(it.energy.total for it in runs),
                dram_efficiency=geometric_mean(it.dram_efficiency for it in runs),
            )
        )
    return tuple(steps)
