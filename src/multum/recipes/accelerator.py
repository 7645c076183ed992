"""Recipes of `multum accelerator`."""

from pathlib import Path

from multum.accelerator.reproduce_command import ReproduceConfig
from multum.accelerator.simulate_command import SimulateConfig
from multum.accelerator.sweep_command import SweepConfig

TRACE = Path("gpt2-medium-wikitext2-pruned.csv")
"""The authors' public trace, in their folder of workloads."""


def medium_trace() -> SimulateConfig:
    """The authors' pruned trace of GPT-2-Medium on SpAtten.

    Command: `multum accelerator simulate gpt2-medium-wikitext2-pruned.csv --recipe medium_trace`.
    Paper: 2.716 ms follow from its Table IV and Fig. 14 for the step after this trace, progressive quantization.
    Expected: `accelerator.medium_trace_ms`; two seconds.
    """
    return SimulateConfig(trace=TRACE)


def medium_trace_ideal() -> SimulateConfig:
    """The same under a memory that never waits, where every row can be held against a pencil.

    Command: `multum accelerator simulate gpt2-medium-wikitext2-pruned.csv --recipe medium_trace_ideal`.
    Paper: none; the bound is the slowest unit of a row, and the sum of all for the first of a layer.
    Expected: `ideal_memory_ms` of the case `trace_medium` in benchmarks/results/accelerator.json, the top-k engine busy
    for most of them; a second. Behind `accelerator.trace_closed_form_worst_error`.
    """
    return SimulateConfig(trace=TRACE, ideal_dram=True)


def topk_parallelism() -> SweepConfig:
    """How many scores a cycle the top-k engine should take.

    Command: `multum accelerator sweep gpt2-medium-wikitext2-pruned.csv --recipe topk_parallelism`.
    Paper: SpAtten, section V, design space: 16 comparators an array are enough.
    Expected: the case `topk_parallelism` of benchmarks/results/accelerator.json: up to 16 twice the width is nearly
    half the time, then a fifth less; half a minute.
    """
    return SweepConfig(
        trace=TRACE, vary=("value_topk.parallelism=1,2,4,8,16,32",), front=("seconds", "area_mm2")
    )


def paper_tables() -> ReproduceConfig:
    """The paper's tables, without sweeps and sensitivities.

    Command: `multum accelerator reproduce --recipe paper_tables`.
    Paper: SpAtten, section V: speed-ups and energy over platforms and rivals, savings, Table III and IV, power, area.
    Expected: what `accelerator.*` in benchmarks/results/accelerator.json says; about half a minute.
    """
    return ReproduceConfig(sweeps=False, sensitivity=False)
