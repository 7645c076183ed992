"""The top-k engine of the accelerator: its mean times beside the reference's, and a full sorter's beside them.

Cycles are counts, so they do not depend on the machine that counts them.
"""

import math
from collections.abc import Mapping

import numpy as np

from benchmarks.registry import Case, Figure, Setting, Suite, Table
from benchmarks.schema import Check, Paper, Results
from multum.accelerator.odd_even_sorter import sorter_cycles
from multum.accelerator.topk_engine import TopkEngine
from multum.core import published

SEARCHES = ((128, 64, 16), (512, 64, 16), (1024, 512, 16), (1024, 204, 16), (307, 92, 16), (1024, 512, 1))
"""Items, how many of them are looked for, and items a cycle, as the reference has them."""
NUM_DRAWS, QUICK_DRAWS = 4000, 200
SORTER_COMPARATORS = (16, 32, 64, 67, 128)
SHOWN_COMPARATORS = 64
"""For the figure: the next power of two, which nobody has fitted to the published ratio."""
WORST = SEARCHES[2]
"""Half of the most items: the search that takes longest."""


def _name(search: tuple[int, int, int]) -> str:
    return "_".join(map(str, search))


def _check(search: tuple[int, int, int]) -> Check:
    """What is found are the k largest, ties to the earlier."""
    num_items, k, parallelism = search
    scores = np.random.default_rng(1).integers(0, num_items // 2, num_items)
    kept = TopkEngine(parallelism=parallelism, fifo_depth=1024).select(scores, k).kept
    wanted = np.sort(np.argsort(-scores, kind="stable")[:k])
    return Check.holds(
        np.array_equal(kept, wanted), f"the {k} largest of {num_items} with ties, in their order"
    )


def _measure(search: tuple[int, int, int], setting: Setting) -> Mapping[str, float]:
    num_items, k, parallelism = search
    engine = TopkEngine(parallelism=parallelism, fifo_depth=1024)
    generator = np.random.default_rng(setting.seed)
    draws = QUICK_DRAWS if setting.quick else NUM_DRAWS
    cycles = [engine.select(generator.permutation(num_items), k).search_cycles for _ in range(draws)]
    mean = float(np.mean(cycles))
    readings = {
        "mean_cycles": mean,
        "standard_error_cycles": float(np.std(cycles, ddof=1) / math.sqrt(draws)),
        "worst_cycles": float(max(cycles)),
        "reference_cycles": _reference(search),
    }
    if search == WORST:
        readings |= {
            f"sorter_{count}_comparators_cycles": float(sorter_cycles(num_items, count))
            for count in SORTER_COMPARATORS
        }
    return readings


def _reference(search: tuple[int, int, int]) -> float:
    return published("spatten", f"topk_mean_cycles_{_name(search)}").number


def _worst_error(results: Results) -> float:
    pairs = [
        (results.number(_name(search), "mean_cycles"), results.number(_name(search), "reference_cycles"))
        for search in SEARCHES
    ]
    return max(abs(mean / reference - 1) for mean, reference in pairs)


def _vs_sorter(results: Results) -> float:
    name = _name(WORST)
    return results.number(name, f"sorter_{SHOWN_COMPARATORS}_comparators_cycles") / results.number(
        name, "mean_cycles"
    )


def _case(search: tuple[int, int, int]) -> Case:
    num_items, k, parallelism = search
    items = f"{parallelism} items" if parallelism > 1 else "one item"
    return Case(
        name=_name(search),
        about=f"the {k:,} largest of {num_items:,} random scores, {items} a cycle, the last pass not counted",
        prepare=lambda _: search,
        check=_check,
        run=_measure,
        paper=Paper(
            value=_reference(search), unit="cycles", where="derived from the authors' hardware description"
        ),
    )


def means_table(results: Results) -> str:
    """Ours beside the reference, a row for each search."""
    lines = [
        "| scores | looked for | a cycle | mean cycles | reference | longest of all draws |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for num_items, k, parallelism in SEARCHES:
        name = _name((num_items, k, parallelism))
        mean, error, reference, worst = (
            results.number(name, f"{what}_cycles")
            for what in ("mean", "standard_error", "reference", "worst")
        )
        lines.append(
            f"| {num_items:,} | {k} | {parallelism} | {mean:,.1f} ± {error:.1f} | {reference:,.0f} | {worst:,.0f} |"
        )
    return "\n".join(lines)


SUITE = Suite(
    name="topk_engine",
    about="The accelerator's top-k engine: mean cycles against the reference, and against a full sorter",
    counts_only=True,
    cases=tuple(_case(search) for search in SEARCHES),
    tables=(Table(name="means", render=means_table),),
    figures=(
        Figure(
            id="accelerator.topk_mean_worst_error",
            unit="",
            goal_max=0.05,
            peer="the means that the authors' hardware description gives",
            how=f"largest relative error of six means; {NUM_DRAWS:,} random orders each, pivots from the register",
            value=_worst_error,
        ),
        Figure(
            id="accelerator.topk_throughput_vs_batcher",
            unit="x",
            peer=f"Batcher's odd-even merge sorter with {SHOWN_COMPARATORS} comparators (the paper says 1.4 and not "
            "how many)",
            how="1,024 scores, 512 looked for; the sorter's exchanges over its comparators, over the engine's mean "
            "search; the engine has 32 comparators",
            value=_vs_sorter,
        ),
    ),
)
