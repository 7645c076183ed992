"""The page that `multum accelerator reproduce --html` writes: every table of the paper beside ours, and the figures."""

from collections.abc import Mapping

from multum.accelerator.architecture import Architecture
from multum.accelerator.paper import ASSUMED, Reproduction, Row, Table
from multum.accelerator.reproduce_command import INPUT, dependencies, letters
from multum.report.accelerator_plots import (
    benchmark_columns,
    breakdown_bars,
    ratio_dumbbells,
    roofline_scatter,
    sweep_line,
    tornado,
)
from multum.report.blocks import definitions, paragraph, section, small_print
from multum.report.figure import plot
from multum.report.markup import Html
from multum.report.page import Page
from multum.report.tables import table


def reproduction_page(found: Reproduction, provenance: Mapping[str, object] | None = None) -> Page:
    """Tell what was reproduced, and what it depends on.

    Args:
        found: From `multum.accelerator.reproduce_command.reproduce_paper`.
        provenance: Where it was run, from `multum.core.provenance.provenance()`.

    Returns:
        The page.
    """
    page = Page(
        "SpAtten, reproduced",
        "The published numbers beside those of the simulator. Nothing is fitted to the row that it stands in.",
        provenance,
    )
    for one in found.tables:
        page.add(section(one.title, *_table_blocks(one)))
    page.add(section("Benchmark by benchmark", *_benchmark_blocks(found)))
    page.add(section("One technique more at a time", *_step_blocks(found)))
    if found.sweeps:
        blocks = [
            plot(
                sweep_line(sweep),
                f"{sweep.benchmark}, by {sweep.name}.",
                f"Times in ms by {sweep.name}: "
                + ", ".join(f"{point.value:g}: {1e3 * point.seconds:.2f}" for point in sweep.points),
            )
            for sweep in found.sweeps
        ]
        page.add(section("Designs", *blocks))
    if found.sensitivities:
        page.add(section("What moves the results", *_effect_blocks(found)))
    explained = {f"{letter}: {name}": ASSUMED[name] for name, letter in letters().items()}
    return page.add(section("What the rows depend on", definitions(explained)))


def _table_blocks(one: Table) -> list[Html]:
    blocks: list[Html] = []
    compared = [row for row in one.rows if not row.is_input]
    apart = max(max(row.paper, row.ours) for row in compared) / min(
        min(row.paper, row.ours) for row in compared
    )
    if len({row.unit for row in compared}) == 1 and len(compared) > 2 and apart > 2:
        numbers = "; ".join(f"{row.what}: {row.ours:.3g} of {row.paper:.4g}" for row in compared)
        blocks.append(plot(ratio_dumbbells(compared), "", f"Published numbers and ours. {numbers}"))
    header = ["", "Paper", "Ours", "Unit", "Error", "Depends on"]
    blocks.append(table(header, [_cells(row) for row in one.rows]))
    return [*blocks, small_print(one.note)] if one.note else blocks


def _cells(row: Row) -> list[str]:
    error = INPUT if row.is_input else f"{row.error:+.0%}"
    return [row.what, f"{row.paper:.4g}", f"{row.ours:.4g}", row.unit, error, dependencies(row)]


def _benchmark_blocks(found: Reproduction) -> list[Html]:
    usual = Architecture()
    roof = roofline_scatter(
        found.benchmarks,
        roof_teraflops=usual.roof_flops / 1e12,
        bytes_per_second=usual.dram_bytes_per_second,
    )
    listed = "; ".join(
        f"{it.name}: {it.teraflops:.2f} TFLOPS, {it.titan_xp_speedup:.1f} times faster"
        for it in found.benchmarks
    )
    return [
        plot(
            roof, "Each benchmark under the roof of the multipliers and the memory.", f"A roofline. {listed}"
        ),
        plot(
            benchmark_columns(found.benchmarks),
            "Times faster than a TITAN Xp with launches; GPT-2 in colour.",
            f"Bars of speed-ups. {listed}",
        ),
    ]


def _step_blocks(found: Reproduction) -> list[Html]:
    blocks: list[Html] = []
    for name, steps in (
        ("GPT-2-Medium, 32 generated tokens", found.generation_steps),
        ("BERT's 22 benchmarks, geometric mean", found.sentence_steps),
    ):
        described = "; ".join(f"{step.name}: {1e3 * step.seconds:.4g} ms" for step in steps)
        blocks.append(plot(breakdown_bars(steps), f"{name}.", f"{name}. {described}"))
    return blocks


def _effect_blocks(found: Reproduction) -> list[Html]:
    blocks = [
        paragraph(
            "Each bar goes from the result at one end of an assumption's range to that at the other.",
            lead=True,
        )
    ]
    for one in found.sensitivities:
        described = "; ".join(
            f"{it.name}: {it.low} gives {it.low_value:.3g}, {it.high} gives {it.high_value:.3g}"
            for it in one.effects
        )
        blocks.append(plot(tornado(one), f"{one.what}, {one.unit}.", f"{one.what}. {described}"))
    return blocks
