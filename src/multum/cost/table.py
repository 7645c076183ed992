"""Readings as tables: plain text for logs and tests, rich ones for a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from multum.cost.units import format_bytes, format_count, format_seconds

if TYPE_CHECKING:
    from rich.table import Table

    from multum.cost.result import Cost, LayerCost

LAYER_HEADER = ("Layer", "Type", "Params", "Trainable", "MACs", "DRAM", "Floor", "Kept", "Output", "Peak")
"""Columns of the table of layers."""

_NEEDED_WIDTH: Final = {"Type": 110, "Trainable": 140, "Floor": 120, "Output": 130, "Params": 80}
"""Characters of a line from which on a column is shown."""


def plain_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Set rows as text, the first column to the left and the others to the right.

    Args:
        header: Names of the columns.
        rows: One sequence of texts for each row, as long as the header.

    Returns:
        Lines without trailing blanks.

    >>> print(plain_table(("", "bytes"), [("weights", "12"), ("total", "1,024")]))
             bytes
    weights     12
    total    1,024
    """
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def rich_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> "Table":
    """Set rows as a rich table, the first column to the left and the others to the right.

    Args:
        header: Names of the columns.
        rows: One sequence of texts for each row.
        title: Line above the table.

    Returns:
        Something that `rich.print` draws.
    """
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title and escape(title), title_justify="left", header_style="bold")
    for number, name in enumerate(header):
        table.add_column(escape(name), justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def cost_rows(cost: "Cost") -> list[tuple[str, str]]:
    """Tell a reading as pairs of label and value, without the layers.

    Args:
        cost: The reading.

    Returns:
        The pairs, in the order of the comparison table; quantities that are 0 or were not measured are left out.
    """
    from multum.cost.compare import QUANTITIES, amount_of

    rows = [("Mode", f"{cost.mode} on {cost.device}")]
    for quantity in QUANTITIES:
        amount = amount_of(cost, quantity.field)
        if amount:
            rows.append((quantity.label, quantity.tell(amount)))
    if cost.latency is not None:
        spread, threads = format_seconds(cost.latency.spread_seconds), cost.latency.num_threads
        note = f"spread {spread}, {cost.latency.num_runs} runs, {threads} thread{'s' if threads != 1 else ''}"
        rows.append(("  measured", note))
    if not cost.attention_counted:
        rows.append(("  attention", "not counted in the MACs"))
    if cost.uncounted_ops:
        rows.append(("  not counted", ", ".join(cost.uncounted_ops)))
    return rows


def layer_rows(layers: Sequence["LayerCost"]) -> list[tuple[str, ...]]:
    """Tell the layers of a reading as rows under `LAYER_HEADER`.

    Args:
        layers: Layers of a reading.

    Returns:
        One row for each layer.
    """
    return [
        (
            layer.path,
            layer.kind,
            format_count(layer.num_parameters),
            format_count(layer.num_trainable_parameters),
            format_count(layer.macs),
            format_bytes(layer.dram_read_bytes + layer.dram_written_bytes),
            format_bytes(layer.dram_floor_bytes),
            format_bytes(layer.kept_bytes),
            format_bytes(layer.output_bytes),
            format_bytes(layer.peak_live_bytes),
        )
        for layer in layers
    ]


def plain_cost(cost: "Cost") -> str:
    """Tell a reading as text, without the layers.

    Args:
        cost: The reading.

    Returns:
        A few lines.
    """
    return plain_table((cost.name, ""), cost_rows(cost))


def rich_cost(cost: "Cost") -> "Table":
    """Tell a reading as a rich table, without the layers.

    Args:
        cost: The reading.

    Returns:
        Something that `rich.print` draws.
    """
    return rich_table((cost.name, ""), cost_rows(cost))


def rich_layers(cost: "Cost", *, width: int = 120) -> "Table":
    """Tell the layers of a reading as a rich table.

    Args:
        cost: The reading.
        width: Characters in a line; where they are few, the columns that are read least are left out.

    Returns:
        Something that `rich.print` draws.
    """
    shown = [name for name in LAYER_HEADER if width >= _NEEDED_WIDTH.get(name, 0)]
    columns = [LAYER_HEADER.index(name) for name in shown]
    rows = [tuple(row[column] for column in columns) for row in layer_rows(cost.layers)]
    return rich_table(shown, rows, title=f"{cost.name}: layers")
