"""The paper's evaluation, all of it: tables, breakdowns, single benchmarks, sweeps, and what moves the results."""

from collections.abc import Callable
from dataclasses import dataclass

from multum.accelerator.paper.assumptions import assumed
from multum.accelerator.paper.breakdown import Step, breakdown
from multum.accelerator.paper.measured import measure
from multum.accelerator.paper.opponents import eager_of
from multum.accelerator.paper.public_trace import medium_trace
from multum.accelerator.paper.rival_tables import platform_speedup, platforms, rivals, tasks
from multum.accelerator.paper.rows import Table
from multum.accelerator.paper.saving_tables import (
    computation_reduction,
    dram_reduction,
    power_and_area,
    rates,
    reductions,
    topk,
)
from multum.accelerator.paper.sensitivity import Sensitivity, sensitivities
from multum.accelerator.paper.step_tables import buses, gpt2_medium, gpt2_medium_benchmark
from multum.accelerator.paper.sweeps import Sweep, sweep_sram, sweep_topk
from multum.accelerator.workload import Workload
from multum.core import say


@dataclass(frozen=True, kw_only=True)
class BenchmarkResult:
    """One of the 30."""

    name: str
    """Network and task."""
    generates: bool
    """Whether it is one of GPT-2's."""
    num_tokens: int
    """Tokens of the sentence or the prompt."""
    seconds: float
    """On SpAtten."""
    teraflops: float
    """Operations a second."""
    operations_per_byte: float
    """Where on the roofline it lies."""
    dram_reduction: float
    """Bytes of the dense benchmark over its own."""
    computation_reduction: float
    """Operations of the dense benchmark over its own."""
    watts: float
    """Mean power."""
    titan_xp_speedup: float
    """Over a TITAN Xp with launches."""


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """Everything that was found."""

    tables: tuple[Table, ...]
    """What is published, beside ours."""
    benchmarks: tuple[BenchmarkResult, ...]
    """The 30."""
    generation_steps: tuple[Step, ...]
    """GPT-2-Medium, one technique more at a time."""
    sentence_steps: tuple[Step, ...]
    """The same of BERT's 22, geometric means."""
    sweeps: tuple[Sweep, ...]
    """Over the design; empty where none were asked for."""
    sensitivities: tuple[Sensitivity, ...]
    """What moves the main results; empty likewise."""


def reproduce(
    trace: Workload | None = None, *, with_sweeps: bool = True, with_sensitivity: bool = True
) -> Reproduction:
    """Run the evaluation; about two minutes of one core with everything, one without the extras.

    Args:
        trace: The public trace of GPT-2-Medium; None: made again from its counts, which gives the same.
        with_sweeps: Whether the design is swept.
        with_sensitivity: Whether assumptions are varied.
    """
    public = trace or medium_trace()
    tables: tuple[tuple[str, Callable[[], Table]], ...] = (
        ("30 benchmarks", reductions),
        ("operations a second", rates),
        ("platforms", platforms),
        ("single tasks", tasks),
        ("A3 and MNNFast", rivals),
        ("GPT-2-Medium, dense and pruned", lambda: gpt2_medium(public)),
        ("the memory's buses", buses),
        ("power and area", power_and_area),
        ("the top-k engine", topk),
    )
    found = []
    for said, table in tables:
        say(f"reproducing: {said}")
        found.append(table())
    say("reproducing: one technique more at a time")
    sentences = [it for it in assumed().benchmarks if not it.generates]
    generation_steps, sentence_steps = breakdown([gpt2_medium_benchmark()]), breakdown(sentences)
    if with_sweeps:
        say("reproducing: sweeps over the design")
    if with_sensitivity:
        say("reproducing: assumptions varied")
    return Reproduction(
        tables=tuple(found),
        benchmarks=benchmark_results(),
        generation_steps=generation_steps,
        sentence_steps=sentence_steps,
        sweeps=(sweep_topk(), sweep_sram()) if with_sweeps else (),
        sensitivities=sensitivities(public) if with_sensitivity else (),
    )


def benchmark_results() -> tuple[BenchmarkResult, ...]:
    """The 30, one by one."""
    results = []
    for benchmark in assumed().benchmarks:
        run = measure(benchmark)
        results.append(
            BenchmarkResult(
                name=benchmark.name,
                generates=benchmark.generates,
                num_tokens=benchmark.num_tokens,
                seconds=run.seconds,
                teraflops=run.flops / 1e12,
                operations_per_byte=run.operations_per_byte,
                dram_reduction=dram_reduction(benchmark),
                computation_reduction=computation_reduction(benchmark),
                watts=run.watts,
                titan_xp_speedup=platform_speedup("titan_xp", benchmark, eager_of),
            )
        )
    return tuple(results)
