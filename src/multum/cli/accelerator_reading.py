"""What SpAtten would make of a run, as a table in the terminal: dense and pruned, layer by layer."""

from typing import TYPE_CHECKING

from multum.attention import OnAccelerator
from multum.cost.units import format_bytes, format_count, format_joules, format_less, format_seconds

if TYPE_CHECKING:
    from rich.console import Group


def reading_table(found: OnAccelerator) -> "Group":
    """A line for each layer and one for all, and below it time, energy and the processor.

    Args:
        found: What `on_accelerator` gave.
    """
    from rich.console import Group
    from rich.table import Table

    table = Table(title=f"attention on {found.architecture}, simulated: dense, then pruned")
    table.add_column("layer")
    for column in ("cycles", "pruned", "DRAM", "pruned", "energy", "pruned"):
        table.add_column(column, justify="right")
    pruned = {it.layer: it for it in found.pruned.layers}
    for dense in found.dense.layers:
        ours = pruned.get(dense.layer)
        table.add_row(
            str(dense.layer + 1),
            *(format_count(dense.cycles), format_count(ours.cycles) if ours else "-"),
            *(format_bytes(dense.dram_bytes), format_bytes(ours.dram_bytes) if ours else "-"),
            *(format_joules(dense.joules), format_joules(ours.joules) if ours else "-"),
        )
    both = found.dense, found.pruned
    table.add_section()
    table.add_row(
        "all",
        *(format_count(it.cycles) for it in both),
        *(format_bytes(it.dram_bytes) for it in both),
        *(format_joules(it.joules) for it in both),
    )
    times = " and ".join(f"{format_seconds(it.seconds)} {it.name}" for it in both)
    lines = [f"attention takes {times}: {format_less(found.speedup)} time"]
    if found.processor_seconds is not None:
        whole = format_seconds(found.processor_seconds)
        lines.append(f"this machine took {whole} for the whole pruned model, linear layers and all")
    return Group(table, *lines)
