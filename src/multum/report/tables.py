"""Tables: a header, rows of text, and numbers that line up.

A table is wider than a phone sooner or later, so each one lives in a box of its own that scrolls sideways
and leaves the page where it is. The first column names the row and is a header for a screen reader.
"""

from collections.abc import Sequence

from multum.core.errors import invalid
from multum.cost.compare import Comparison
from multum.cost.units import Number
from multum.report.blocks import small_print
from multum.report.markup import Html, element, join


def table(
    header: Sequence[str],
    rows: "Sequence[Sequence[Html | str]]",
    caption: str = "",
    numeric: bool = True,
    emphasis: Sequence[int] = (),
) -> Html:
    """Build a table.

    Args:
        header: The columns' names.
        rows: Each with one cell per column; text is escaped.
        caption: What the table shows, above it.
        numeric: Whether all columns but the first hold numbers, and are set flush right.
        emphasis: Rows, counted from 0, that are set strong.

    Returns:
        The table in its scrolling box.

    Raises:
        UserError: When there are no columns, no rows, or a row of another length.

    >>> "<td>0.32</td>" in str(table(["Schedule", "R@1"], [["dense", "0.32"]]))
    True
    """
    if not header or not rows:
        raise invalid("a table", "one with columns and rows", (list(header), list(rows)))
    for index, row in enumerate(rows):
        if len(row) != len(header):
            raise invalid(f"row {index} of the table", f"{len(header)} cells long", list(row))
    head = element("tr", None, *[element("th", {"scope": "col"}, name) for name in header])
    body = [_row(row, index in emphasis) for index, row in enumerate(rows)]
    parts = [element("thead", None, head), element("tbody", None, *body)]
    built = element("table", {"class": "numeric" if numeric else None, "aria-label": caption or None}, *parts)
    # a box that scrolls must be reachable by keyboard, and whoever reaches it must hear what it is
    box = element(
        "div", {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": caption or "Table"}, built
    )
    # the caption stays outside, or it would grow as wide as the table and scroll out of sight with it
    return join([small_print(caption), box]) if caption else box


def comparison_table(comparison: Comparison, caption: str = "") -> Html:
    """Show what something cost before and after.

    Args:
        comparison: `before / after`.
        caption: What the table shows.

    Returns:
        A table with a line for each quantity that at least one reading has.

    Raises:
        UserError: When neither reading has any.
    """
    header = ["", comparison.before.name, comparison.after.name, "times less"]
    return table(header, [list(row) for row in comparison.rows()], caption)


def bar_cell(label: str, share: Number) -> Html:
    """Put a thin bar under a number of a table.

    Args:
        label: The number as text.
        share: The bar's length as a part of the column's longest, in [0, 1].

    Returns:
        What to put into the cell.

    Raises:
        UserError: When the share lies outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise invalid("share", "in [0, 1]", share)
    bar = element("span", {"class": "bar", "style": f"--share:{share:.4f}", "aria-hidden": "true"})
    return join([label, bar])


def _row(cells: "Sequence[Html | str]", is_strong: bool) -> Html:
    first, *rest = cells
    built = [element("th", {"scope": "row"}, first), *[element("td", None, cell) for cell in rest]]
    return element("tr", {"class": "strong" if is_strong else None}, *built)
