"""The paper's two sweeps over the design: how wide the top-k engines are, how large the memories on the chip.

Source: SpAtten (HPCA 2021), section V, design-space exploration.
Differs from the paper: a row of keys has to fit into a buffer here, so the memories grow and shrink by whole buffers of
1,024 rows: with one, nothing is fetched while it is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from multum.accelerator.architecture import Architecture
from multum.accelerator.area import area_of
from multum.accelerator.paper.benchmarks30 import Benchmark
from multum.accelerator.paper.measured import measure
from multum.accelerator.paper.step_tables import gpt2_medium_benchmark
from multum.accelerator.topk_engine import TopkEngine

PARALLELISMS = (1, 2, 4, 8, 16, 32)
BUFFERS = (1, 2, 3, 4)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One design."""

    value: float
    """What was swept."""
    seconds: float
    """How long the benchmark takes."""
    area_mm2: float
    """How large the chip is."""
    is_paper: bool
    """Whether it is the paper's own."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A line of designs."""

    name: str
    """What was swept, with its unit."""
    benchmark: str
    """What ran."""
    points: tuple[Point, ...]
    """In ascending order."""


def sweep_topk(benchmark: Benchmark | None = None, parallelisms: Sequence[int] = PARALLELISMS) -> Sweep:
    """Comparators of an array, of both engines alike.

    Args:
        benchmark: What runs; None: GPT-2-Medium.
        parallelisms: Comparators of an array, powers of two.
    """
    usual = Architecture()

    def sized(parallelism: int) -> Architecture:
        engine = TopkEngine(
            parallelism=parallelism, fifo_depth=max(1, usual.token_topk.capacity // parallelism)
        )
        return replace(usual, token_topk=engine, value_topk=engine)

    designs = {float(it): sized(it) for it in parallelisms}
    return _sweep("comparators of an array of the top-k engines", benchmark, designs)


def sweep_sram(benchmark: Benchmark | None = None, buffers: Sequence[int] = BUFFERS) -> Sweep:
    """Buffers of keys and of values.

    Args:
        benchmark: What runs; None: GPT-2-Medium.
        buffers: Of each of the two memories.
    """
    usual = Architecture()
    designs = {}
    for count in buffers:
        memory = replace(usual.key_sram, buffers=count)
        designs[2 * memory.num_bytes / 1024] = replace(usual, key_sram=memory, value_sram=memory)
    return _sweep("KB of the memories of keys and values", benchmark, designs)


def _sweep(name: str, benchmark: Benchmark | None, designs: dict[float, Architecture]) -> Sweep:
    run = benchmark or gpt2_medium_benchmark()
    points = tuple(
        Point(
            value=value,
            seconds=measure(run, architecture=design).seconds,
            area_mm2=area_of(design).total,
            is_paper=design == Architecture(),
        )
        for value, design in designs.items()
    )
    return Sweep(name=name, benchmark=run.network.name if run.generates else run.name, points=points)
