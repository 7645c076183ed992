"""The page that `multum cost ... --html` writes: one reading of the ruler, from the key numbers to every layer."""

from collections.abc import Mapping

from multum.cost.result import Cost, LayerCost
from multum.cost.units import format_joules
from multum.report.blocks import definitions, details, key_numbers, notes, paragraph, section
from multum.report.cost_plots import layer_bars, memory_name, memory_of, memory_timeline
from multum.report.figure import plot
from multum.report.markup import Html, element, join
from multum.report.number_text import format_percent, plural, tell_bytes, tell_count, tell_seconds
from multum.report.page import Page
from multum.report.tables import bar_cell, table

MOST_ROWS_SHOWN = 24
"""Layers in the open table: the most expensive ones; a longer model has its full table under a fold."""


def cost_page(cost: Cost, provenance: Mapping[str, object] | None = None) -> Page:
    """Tell what a model costs.

    Args:
        cost: A reading of `multum.cost.measure`.
        provenance: Where it was taken, from `multum.core.provenance.provenance()`.

    Returns:
        The page.
    """
    what = "one training step" if cost.mode == "training" else "one forward pass"
    page = Page(cost.name, f"What {what} costs on {cost.device}.", provenance)
    page.add(key_numbers(_key_numbers(cost)))
    if cost.timeline:
        page.add(_memory_section(cost))
    if cost.layers:
        page.add(_layer_section(cost))
    return page.add(_everything(cost))


def _key_numbers(cost: Cost) -> list[tuple[str, str, str]]:
    numbers = [
        ("Parameters", tell_count(cost.num_parameters), tell_bytes(cost.parameter_bytes)),
        ("Multiply-accumulates", tell_count(cost.macs), _attention_note(cost)),
        ("Peak alive", tell_bytes(cost.peak_live_bytes), "weights included"),
    ]
    if cost.mode == "training":
        numbers.append(("Kept for backward", tell_bytes(cost.kept_bytes), "activations"))
    if cost.latency is not None:
        note = f"median of {cost.latency.num_runs}, {plural(cost.latency.num_threads, 'thread')}"
        numbers.append(("Time", tell_seconds(cost.latency.median_seconds), note))
    return numbers


def _attention_note(cost: Cost) -> str:
    if not cost.attention_counted:
        return "without attention"
    share = cost.attention_macs / cost.macs if cost.macs else 0.0
    return f"{format_percent(share)} of it in attention" if cost.attention_macs else "no attention"


def _memory_section(cost: Cost) -> Html:
    peak = max(cost.timeline, key=lambda moment: moment.live_bytes)
    layer = "" if peak.layer.startswith("(") else f" in {peak.layer}"  # the root and the phases are no layers
    lead = (
        f"At the fullest moment, in the {peak.phase} phase, {tell_bytes(peak.live_bytes)} are alive; "
        f"the operation then is {peak.operation}{layer}."
    )
    if cost.mode == "training":
        lead += (
            f" Training keeps {tell_bytes(cost.kept_bytes)} of activations for the backward pass,"
            f" {tell_bytes(cost.gradient_bytes)} of gradients"
            f" and {tell_bytes(cost.optimizer_bytes)} of optimizer state."
        )
    caption = "What is alive while each operation runs, stacked by what it is. Scratch memory of kernels is not drawn."
    return section(
        "Memory over time",
        paragraph(lead, lead=True),
        plot(memory_timeline(cost), caption, f"Stacked areas of live memory over the operations. {lead}"),
    )


def _layer_section(cost: Cost) -> Html:
    ranked = sorted(cost.layers, key=lambda layer: layer.macs, reverse=True)
    top = ranked[0]
    share = top.macs / cost.macs if cost.macs else 0.0
    lead = f"{plural(len(cost.layers), 'layer')} compute or own something."
    num_ties = sum(layer.macs == top.macs for layer in ranked)
    if top.macs and num_ties == 1:
        lead += f" The one that computes most is {top.path} ({top.kind}), with {format_percent(share, 1)} of the work."
    elif top.macs:
        lead += (
            f" {num_ties} of them compute most, {format_percent(share, 1)} of the work each; "
            f"the first is {top.path} ({top.kind})."
        )
    blocks: list[Html] = [paragraph(lead, lead=True)]
    if any(layer.macs or memory_of(cost, layer) for layer in cost.layers):
        caption = "Each bar is one layer, in the model's order."
        description = f"Bars of multiply-accumulates and of memory ({memory_name(cost)}) by layer. {lead}"
        blocks.append(plot(layer_bars(cost), caption, description))
    if len(cost.layers) <= MOST_ROWS_SHOWN:
        blocks.append(_layer_table(cost, list(cost.layers), "All layers, in the model's order."))
    else:
        most = f"The {MOST_ROWS_SHOWN} layers that compute most."
        everything = _layer_table(cost, list(cost.layers), "All layers, in the model's order.")
        blocks += [
            _layer_table(cost, ranked[:MOST_ROWS_SHOWN], most),
            details(f"All {len(cost.layers)} layers", everything),
        ]
    return section("Layer by layer", *blocks)


def _layer_table(cost: Cost, layers: list[LayerCost], caption: str) -> Html:
    header = ["Layer", "Parameters", "MACs", memory_name(cost).capitalize(), "DRAM", "Peak alive"]
    most_macs = max(layer.macs for layer in cost.layers) or 1
    most_bytes = max(memory_of(cost, layer) for layer in cost.layers) or 1
    rows: list[list[Html | str]] = [
        [
            join([layer.path.replace(".", ".\u200b"), element("small", None, layer.kind)]),
            tell_count(layer.num_parameters),
            bar_cell(tell_count(layer.macs), layer.macs / most_macs),
            bar_cell(tell_bytes(memory_of(cost, layer)), memory_of(cost, layer) / most_bytes),
            tell_bytes(layer.dram_read_bytes + layer.dram_written_bytes),
            tell_bytes(layer.peak_live_bytes),
        ]
        for layer in layers
    ]
    return table(header, rows, caption)


def _everything(cost: Cost) -> Html:
    entries: dict[str, object] = {
        "parameters": f"{cost.num_parameters:,}, of which {cost.num_trainable_parameters:,} are trained",
        "buffers": tell_bytes(cost.buffer_bytes),
        "inputs and outputs": f"{tell_bytes(cost.input_bytes)} and {tell_bytes(cost.output_bytes)}",
        "multiply-accumulates": f"{cost.macs:,}, of which {cost.attention_macs:,} in attention",
        "peak alive": f"{tell_bytes(cost.peak_live_bytes)}, of which {tell_bytes(cost.workspace_bytes)} are an "
        "estimate of the kernels' scratch memory",
        "DRAM": f"{tell_bytes(cost.dram_bytes)} when nothing stays in a cache between two operations; "
        f"{tell_bytes(cost.dram_floor_bytes)} at least",
    }
    if cost.mode == "training":
        entries["kept for backward"] = (
            f"{tell_bytes(cost.kept_bytes)}, and {tell_bytes(cost.kept_input_bytes)} of inputs"
        )
        entries["gradients and optimizer"] = (
            f"{tell_bytes(cost.gradient_bytes)} and {tell_bytes(cost.optimizer_bytes)}"
        )
    if cost.latency is not None:
        spread = tell_seconds(cost.latency.spread_seconds)
        entries["time"] = f"{tell_seconds(cost.latency.median_seconds)}, interquartile range {spread}"
    if cost.cycles is not None:
        entries["cycles"] = f"{cost.cycles:,}"
    if cost.energy_joules is not None:
        entries["energy"] = format_joules(cost.energy_joules)
    blocks = [definitions(entries)]
    if cost.uncounted_ops:
        operations = ", ".join(cost.uncounted_ops)
        blocks.append(notes([f"The MACs are too small: no formula is known for {operations}."]))
    return section("Everything that was read", *blocks)
