"""The paper's numbers beside ours: what the suite `accelerator` measures of them."""

from collections.abc import Mapping
from statistics import fmean

from benchmarks.registry import Setting
from benchmarks.schema import Check, Results
from multum.accelerator.fully_connected import Table4
from multum.accelerator.paper import Benchmark, geometric_mean, measure, workload_of
from multum.accelerator.paper.rival_tables import rival_ratios
from multum.accelerator.paper.saving_tables import (
    computation_reduction,
    dram_reduction,
    key_saving,
    mean_teraflops,
)
from multum.accelerator.rivals import MnnFast, a3_conservative
from multum.core import published


def check_dense(benchmark: Benchmark) -> Check:
    """All keys and values of all heads, four bytes a number."""
    dense = workload_of(benchmark, ())
    expected = 24 * 16 * sum(range(993, 1025)) * 2 * 64 * 4
    found = dense.key_bytes + dense.value_bytes
    return Check.holds(found == expected, f"{found:,} bytes of float32")


def run_dense(benchmark: Benchmark, _setting: Setting) -> Mapping[str, float]:
    """Time, and how much of the memory's buses is used."""
    run = measure(benchmark, ())
    return {"ms": 1e3 * run.seconds, "dram_efficiency": run.dram_efficiency}


def check_layers(found: Table4) -> Check:
    """Every weight is read once for each token."""
    expected = 32 * 24 * 12 * 1024**2
    return Check.holds(
        found.blocks.traffic.useful_bytes == expected, f"{expected:,} bytes of weights, once a token"
    )


def run_layers(found: Table4, _setting: Setting) -> Mapping[str, float]:
    """The blocks, beside them with the language-model head."""
    return {
        "ms": 1e3 * found.blocks.seconds,
        "with_head_ms": 1e3 * found.with_head.seconds,
        "dram_efficiency": found.blocks.dram_efficiency,
        "published_dram_efficiency": found.published_dram_efficiency,
        "watts": found.blocks.energy.total / found.blocks.seconds,
    }


def check_thirty(benchmarks: tuple[Benchmark, ...]) -> Check:
    """There are 30, and GPT-2's keys are as narrow as the published saving says."""
    saving = key_saving(benchmarks[-1])
    identity = 32 / (6 + 0.059 * 4)
    return Check.holds(
        len(benchmarks) == 30 and abs(saving / identity - 1) < 0.01,
        f"30 benchmarks, keys of GPT-2 in {saving:.2f} times fewer bits, 32 / (6 + 0.059 x 4) = {identity:.2f}",
    )


def run_thirty(benchmarks: tuple[Benchmark, ...], _setting: Setting) -> Mapping[str, float]:
    """Means over the benchmarks."""
    sentences = tuple(it for it in benchmarks if not it.generates)
    a3, mnnfast = a3_conservative(), MnnFast()
    watts = {
        group: fmean(measure(it).energy.watts[group] for it in benchmarks)
        for group in ("compute", "SRAM", "DRAM")
    }
    return {
        "dram_reduction": geometric_mean(map(dram_reduction, benchmarks)),
        "dram_reduction_arithmetic": fmean(map(dram_reduction, benchmarks)),
        "computation_reduction": geometric_mean(map(computation_reduction, benchmarks)),
        "bert_teraflops": mean_teraflops(generates=False),
        "gpt2_teraflops": mean_teraflops(generates=True),
        "watts": sum(watts.values()),
        "gpt2_watts": fmean(measure(it).watts for it in benchmarks if it.generates),
        **{f"{group.lower()}_watts": value for group, value in watts.items()},
        "speedup_a3": rival_ratios(a3, benchmarks)[0],
        "speedup_a3_bert": rival_ratios(a3, sentences)[0],
        "speedup_mnnfast": rival_ratios(mnnfast, benchmarks)[0],
        "speedup_mnnfast_bert": rival_ratios(mnnfast, sentences)[0],
    }


BESIDE = (
    ("GPT-2-Medium, the public trace, ms", "trace_medium", "hbm_ms", "wikitext2_attention_time"),
    ("GPT-2-Medium, nothing pruned, float32, ms", "dense_step", "ms", "dense_step_time"),
    ("GPT-2-Medium, fully connected layers, ms", "fully_connected", "ms", "table_4_fc_time"),
    ("DRAM access, times less, geometric mean of 30", "thirty", "dram_reduction", "dram_reduction"),
    (
        "computation, times less, geometric mean of 30",
        "thirty",
        "computation_reduction",
        "computation_reduction",
    ),
    ("BERT, TFLOPS, mean of 22", "thirty", "bert_teraflops", "tflops_bert"),
    ("GPT-2, TFLOPS, mean of 8", "thirty", "gpt2_teraflops", "tflops_gpt2"),
    ("power, W, mean of 30", "thirty", "watts", "power_total"),
    ("SpAtten-1/8 over A3, times, geometric mean of 30", "thirty", "speedup_a3", "speedup_a3"),
    ("SpAtten-1/8 over MNNFast, times, geometric mean of 30", "thirty", "speedup_mnnfast", "speedup_mnnfast"),
)
"""What it is, case, reading, published number."""


def beside_table(results: Results) -> str:
    """The paper's numbers beside ours."""
    lines = ["| | paper | ours | error |", "|---|---:|---:|---:|"]
    for what, case, reading, key in BESIDE:
        paper, ours = published("spatten", key).number, results.number(case, reading)
        lines.append(f"| {what} | {paper:.4g} | {ours:.4g} | {ours / paper - 1:+.0%} |")
    return "\n".join(lines)
