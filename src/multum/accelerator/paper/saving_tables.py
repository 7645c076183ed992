"""What pruning and quantization save, what is reached of the roofline, power, area, and the top-k engine.

Source: SpAtten (HPCA 2021), section V; numbers by their keys in `papers/spatten.toml`.
"""

from statistics import fmean

from multum.accelerator.architecture import Architecture
from multum.accelerator.area import area_of
from multum.accelerator.odd_even_sorter import sorter_cycles
from multum.accelerator.paper.assumptions import Assumptions, assumed
from multum.accelerator.paper.benchmarks30 import Benchmark
from multum.accelerator.paper.measured import dense_cost, geometric_mean, measure
from multum.accelerator.paper.rows import OF_RUN, OF_WORK, Row, Table, row_of
from multum.accelerator.paper.workloads import workload_of
from multum.accelerator.topk_expectation import expected_search_cycles

SORTER_COMPARATORS = 64
"""Of the sorter that the top-k engine is compared with."""
SORTED = 1024
"""Scores of that comparison; half of them are looked for, which takes longest."""
AREA_PARTS = {
    "prob x V": "prob_value",
    "Q x K": "query_key",
    "fetcher": "fetcher",
    "softmax": "softmax",
    "top-k": "topk",
    "others": "others",
}
"""Units of the area, and the ends of their keys."""


def dram_reduction(benchmark: Benchmark, assumptions: Assumptions | None = None) -> float:
    """Bytes of the dense benchmark in float32 over those that memory moves."""
    return dense_cost(benchmark)[1] / measure(benchmark, assumptions=assumptions).moved_bytes


def computation_reduction(benchmark: Benchmark, assumptions: Assumptions | None = None) -> float:
    """Operations of the dense benchmark over those that are done; what a flat row repeats counts twice."""
    return dense_cost(benchmark)[0] / measure(benchmark, assumptions=assumptions).operations


def rows_reduction(benchmark: Benchmark) -> float:
    """Keys and values that queries meet densely over those under token and value pruning, head by head."""
    dense, pruned = (workload_of(benchmark, techniques) for techniques in ((), ("tokens", "values")))
    return (dense.key_rows + dense.value_rows) / (pruned.key_rows + pruned.value_rows)


def key_saving(benchmark: Benchmark) -> float:
    """Bytes of the pruned benchmark's keys in float32 over those that are read."""
    return workload_of(benchmark, ("tokens", "values", "heads")).key_bytes / workload_of(benchmark).key_bytes


def reductions() -> Table:
    """What is saved."""
    every = assumed().benchmarks
    generated = [it for it in every if it.generates]
    traffic, work = (*OF_WORK, "bits", "flat rows", "mean"), (*OF_WORK, "flat rows", "mean")
    saved = [dram_reduction(it) for it in every]
    heads = [len(workload_of(it, ())) / len(workload_of(it)) for it in every]
    met = "keys and values that a query meets"
    rows = (
        row_of("DRAM access, geometric mean of 30", "dram_reduction", geometric_mean(saved), *traffic),
        row_of("DRAM access, arithmetic mean of 30", "dram_reduction", fmean(saved), *traffic),
        row_of(
            "computation of attention, geometric mean of 30",
            "computation_reduction",
            geometric_mean(map(computation_reduction, every)),
            *work,
        ),
        row_of(
            f"{met}, geometric mean of 30",
            "tokens_and_values_reduction",
            geometric_mean(map(rows_reduction, every)),
            *OF_WORK,
            is_input=True,
        ),
        row_of(
            f"{met}, GPT-2",
            "tokens_and_values_reduction_gpt2",
            geometric_mean(map(rows_reduction, generated)),
            *OF_WORK,
            is_input=True,
        ),
        row_of(
            "heads, geometric mean of 30", "heads_reduction", geometric_mean(heads), "ratios", is_input=True
        ),
        row_of(
            "bits of GPT-2's keys against float32",
            "quantization_saving",
            geometric_mean(map(key_saving, generated)),
            "bits",
            "flat rows",
            is_input=True,
        ),
    )
    return Table(title="What pruning and quantization save", rows=rows)


def rates() -> Table:
    """What is reached of the roofline."""
    rows = tuple(
        row_of(
            f"{name}, arithmetic mean of {22 if key == 'bert' else 8}",
            f"tflops_{key}",
            mean_teraflops(generates=key == "gpt2"),
            *OF_RUN,
            "mean",
        )
        for name, key in (("BERT", "bert"), ("GPT-2", "gpt2"))
    )
    return Table(title="Operations a second", rows=rows)


def mean_teraflops(
    *, generates: bool, assumptions: Assumptions | None = None, architecture: Architecture | None = None
) -> float:
    """Operations a second of BERT's benchmarks or of GPT-2's, arithmetic mean, in TFLOPS."""
    rule = assumptions or assumed()
    runs = [
        measure(it, assumptions=rule, architecture=architecture)
        for it in rule.benchmarks
        if it.generates == generates
    ]
    return fmean(it.flops for it in runs) / 1e12


def power_and_area() -> Table:
    """Power of the 30 benchmarks, and area."""
    every = assumed().benchmarks
    depends_on = (*OF_RUN, "energy constants", "mean")
    rows: list[Row] = [
        row_of(
            f"power of {group}, arithmetic mean of 30",
            f"power_{group.lower()}",
            fmean(measure(it).energy.watts[group] for it in every),
            *depends_on,
        )
        for group in ("compute", "SRAM", "DRAM")
    ]
    for said, benchmarks in (("30", every), ("GPT-2's 8", [it for it in every if it.generates])):
        watts = fmean(measure(it).watts for it in benchmarks)
        rows.append(row_of(f"power, arithmetic mean of {said}", "power_total", watts, *depends_on))
    area = area_of(Architecture())
    rows.append(row_of("area", "area", area.total, "area constants"))
    rows += [
        row_of(f"part of the area that {unit} takes", f"area_part_{key}", area.shares[unit], "area constants")
        for unit, key in AREA_PARTS.items()
    ]
    note = "The paper does not say of what its power is the mean; how much GPT-2 moves makes most of it."
    return Table(title="Power and area", rows=tuple(rows), note=note)


def topk() -> Table:
    """The top-k engine against a full sorter."""
    row = row_of(
        f"throughput over Batcher's sorter of {SORTER_COMPARATORS} comparators",
        "topk_throughput_vs_batcher",
        topk_over_sorter(),
        "comparators",
    )
    return Table(title=f"Top-k engine, {SORTED:,} scores", rows=(row,))


def topk_over_sorter(num_comparators: int = SORTER_COMPARATORS) -> float:
    """Cycles of a sorter of so many comparators over those of the engine's expected search.

    >>> round(topk_over_sorter(67), 1)
    1.4
    """
    search = expected_search_cycles(Architecture().token_topk, SORTED, SORTED // 2)
    return sorter_cycles(SORTED, num_comparators) / search
