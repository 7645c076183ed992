"""Every figure that was asked for, with its goal, and whether it holds: `python -m benchmarks figures`.

A goal that is missed is printed as missed. It is explained in LOG.md, and never dropped.
"""

from collections.abc import Iterable
from pathlib import Path

from benchmarks.schema import FigureResult, read_results
from multum.core.errors import UserError

HOLDS = {True: "yes", False: "MISSED", None: "-"}
"""What the last column says; a figure without a goal is only reported."""


def figures_of(paths: Iterable[Path]) -> dict[str, FigureResult]:
    """Collect the figures of result files, by id.

    Raises:
        UserError: When a file is broken or has an unknown schema.
    """
    found: dict[str, FigureResult] = {}
    for path in paths:
        for name, figure in read_results(path).figures.items():
            if name in found:
                raise UserError(f"{path}: the figure {name} stands in another result file already")
            found[name] = figure
    return found


def tell_value(figure: FigureResult) -> str:
    """Tell a figure's value with its unit, or why there is none.

    >>> from benchmarks.schema import Goal
    >>> tell_value(FigureResult(value=2.567, unit="x", goal=Goal(min=2), peer="", how=""))
    '2.57x'
    """
    if figure.value is None:
        return figure.reason or "no value"
    return with_unit(figure.value, figure.unit)


def tell_goal(figure: FigureResult) -> str:
    """Tell what was asked for.

    >>> from benchmarks.schema import Goal
    >>> tell_goal(FigureResult(value=None, unit="points", goal=Goal(max=2), peer="", how=""))
    '<= 2 points'
    """
    low, high = figure.goal.min, figure.goal.max
    parts = [f">= {with_unit(low, figure.unit)}"] if low is not None else []
    parts += [f"<= {with_unit(high, figure.unit)}"] if high is not None else []
    return " and ".join(parts) or "reported only"


def with_unit(value: float, unit: str) -> str:
    """Write a number with three significant digits and its unit.

    >>> with_unit(1234567.0, "bytes"), with_unit(3.14159, "x"), with_unit(0.00012, "")
    ('1,234,567 bytes', '3.14x', '0.00012')
    """
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{text}x" if unit == "x" else f"{text} {unit}".strip()


def figures_text(figures: dict[str, FigureResult]) -> str:
    """Lay out the figures as lines of text, one each, with a last line that counts."""
    rows = [
        (name, tell_value(figure), tell_goal(figure), HOLDS[figure.holds], figure.peer)
        for name, figure in sorted(figures.items())
    ]
    header = ("figure", "value", "goal", "holds", "peer")
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]
    with_goal = [figure for figure in figures.values() if figure.holds is not None]
    met = sum(bool(figure.holds) for figure in with_goal)
    return "\n".join([*lines, f"{met} of {len(with_goal)} goals hold"])


def figures_markdown(figures: dict[str, FigureResult]) -> str:
    """Lay out the figures as a Markdown table for the README."""
    lines = ["| Figure | Value | Goal | Holds | Beside |", "|---|---:|---:|:-:|---|"]
    for name, figure in sorted(figures.items()):
        cells = (f"`{name}`", tell_value(figure), tell_goal(figure), HOLDS[figure.holds], figure.peer)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)
