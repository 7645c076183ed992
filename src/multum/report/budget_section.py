"""The part of a training's page that tells how a budget of memory was used."""

from collections.abc import Mapping
from typing import Any

from multum.report.blocks import Section, definitions, notes, paragraph, section
from multum.report.figure import plot
from multum.report.markup import Html
from multum.report.number_text import tell_bytes
from multum.report.plots import bar_plot


def budget_section(memory: Mapping[str, Any]) -> Section:
    """Draw what was allowed, predicted, and taken.

    Args:
        memory: What a training within a budget leaves in its result (`multum.transfer.budget.within`).
    """
    budget, grown = memory["budget_bytes"], memory.get("grown_bytes")
    values = {"Predicted": memory["predicted_bytes"]}
    predicted = tell_bytes(memory["predicted_bytes"])
    told = f"The training may take {tell_bytes(budget)}, and was predicted to take {predicted}."
    if grown is not None:
        values["The process grew by"] = grown
        told += f" The process grew by {tell_bytes(grown)} at most."
    figure = bar_plot(
        values,
        written=[tell_bytes(value) for value in values.values()],
        full_width=max(budget, *values.values()),
    )
    caption = f"The full width is the budget, {tell_bytes(budget)}."
    if max(values.values()) > budget:
        caption = f"The budget is {tell_bytes(budget)}; the full width is what was taken."
    blocks: list[Html] = [paragraph(told, lead=True), plot(figure, caption, f"Bars of memory. {told}")]
    parts = {name: tell_bytes(value) for name, value in (memory.get("parts") or {}).items()}
    if parts:
        blocks.append(definitions(parts, "What a step was predicted to hold at its fullest moment."))
    if memory.get("plan"):
        blocks.append(notes([f"The plan: {memory['plan']}"]))
    return section("The memory budget", *blocks)
