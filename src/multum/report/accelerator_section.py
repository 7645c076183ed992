"""The part of a page that shows what SpAtten would make of a run: cycles, bytes and energy, layer by layer."""

from multum.attention import OnAccelerator
from multum.cost.units import format_joules, format_less
from multum.report.blocks import Section, notes, paragraph, section
from multum.report.figure import plot
from multum.report.number_text import (
    THIN_SPACE,
    format_percent,
    sentence_case,
    tell_bytes,
    tell_count,
    tell_seconds,
)
from multum.report.sparse_plots import layer_columns
from multum.report.tables import table

NOTE = (
    "Simulated cycle by cycle, nothing measured on a chip; which tokens survive is drawn at random, as many as the run "
    "kept. Every head fetches its own keys and values, also where heads share them in the model. The "
    "processor's time is that of the whole model."
)


def accelerator_section(results: OnAccelerator, what: str) -> Section:
    """Draw both runs on the accelerator.

    Args:
        results: What `on_accelerator` gave.
        what: What was run, for the sentence above.
    """
    lead = tell_accelerator(results, what)
    pruned = {it.layer: it for it in results.pruned.layers}
    cycles = [pruned[it.layer].cycles / 1000 if it.layer in pruned else 0 for it in results.dense.layers]
    figure = layer_columns(
        cycles,
        full=[it.cycles / 1000 for it in results.dense.layers],
        y_label="thousand cycles",
        names=("pruned", "dense"),
    )
    header = ["Attention", "Cycles", "Time", "DRAM", "Part of the buses used", "Energy"]
    rows = [
        [
            sentence_case(it.name),
            tell_count(it.cycles),
            tell_seconds(it.seconds),
            tell_bytes(it.dram_bytes),
            format_percent(it.dram_efficiency),
            format_joules(it.joules).replace(" ", THIN_SPACE),
        ]
        for it in (results.dense, results.pruned)
    ]
    return section(
        f"The same on {results.architecture}",
        paragraph(lead, lead=True),
        plot(
            figure, "Cycles of each layer's attention, dense and as it was run.", f"Columns of cycles. {lead}"
        ),
        table(header, rows, "Attention alone, one gigahertz.", emphasis=[1]),
        notes([NOTE]),
    )


def tell_accelerator(results: OnAccelerator, what: str) -> str:
    """Tell how long attention would take, and beside it what the processor took for everything."""
    dense, pruned = results.dense, results.pruned
    told = (
        f"On a simulated {results.architecture} the attention of {what} takes {tell_seconds(pruned.seconds)}, "
        f"dense in 32 bits {tell_seconds(dense.seconds)}: {format_less(results.speedup)} time, "
        f"{format_less(dense.dram_bytes / pruned.dram_bytes)} traffic, "
        f"{format_less(dense.joules / pruned.joules)} energy."
    )
    if results.processor_seconds is None:
        return told
    whole = tell_seconds(results.processor_seconds)
    return f"{told} This machine took {whole} for the whole pruned model, linear layers and all."
