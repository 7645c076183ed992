"""Plots that any report needs: lines, bars, cost against quality.

All of them speak the same way. The unit stands once, above the axis, written level so that nobody tilts
the head. Only horizontal guides are drawn, and no frame. Bars carry their name and their value on a line of
their own, so that a long name does not squeeze the bars on a phone. Colours are marks that the page turns
into its own (`multum.report.palette`), and never the only difference between two series.

Each returns a figure, for `multum.report.plot` to put into the page.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from multum.core.errors import invalid
from multum.cost.units import Number
from multum.report.figure import add_legend, drawing_style, new_figure
from multum.report.palette import GRID, INK, LINE_STYLES, MARKERS, MUTED, PAPER, series_colour

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

BAR_ROW_PIXELS = 44
"""Height of one bar with its line of text."""


def line_plot(
    series: Mapping[str, tuple[Sequence[Number], Sequence[Number]]],
    *,
    x_label: str,
    y_label: str,
    height_pixels: Number = 320.0,
    starts_at_zero: bool = False,
) -> "matplotlib.figure.Figure":
    """Draw how values change along an axis.

    Args:
        series: For each name the x values and the y values, equally many.
        x_label: What runs along the bottom, with its unit.
        y_label: What the height means, with its unit.
        height_pixels: Height of the drawing.
        starts_at_zero: Whether the y axis begins at zero, as it must where areas or bars are compared.

    Returns:
        The figure.

    Raises:
        UserError: When there is no series, or one is empty or uneven.
    """
    _check_series(series)
    figure, axes = new_figure(height_pixels)
    with drawing_style():
        for index, (name, (x_values, y_values)) in enumerate(series.items()):
            axes.plot(
                list(x_values),
                list(y_values),
                label=name,
                color=series_colour(index),
                marker=MARKERS[index % len(MARKERS)],
                linestyle=LINE_STYLES[index % len(LINE_STYLES)],
                markeredgecolor=PAPER,
                clip_on=False,
            )
        label_axes(axes, x_label, y_label)
        if starts_at_zero:
            axes.set_ylim(bottom=0)
        if len(series) > 1:
            add_legend(figure, axes)
    return figure


def bar_plot(
    values: Mapping[str, Number],
    *,
    written: Sequence[str] = (),
    spreads: Sequence[Number] = (),
    emphasis: Sequence[str] = (),
    full_width: Number | None = None,
) -> "matplotlib.figure.Figure":
    """Draw quantities as horizontal bars from zero, each under its own name.

    Args:
        values: The quantities by name, none negative.
        written: How each is written beside its name, with its unit; the plain numbers when left out.
        spreads: Half the length of each bar's whisker, in the unit of the values; none when left out.
        emphasis: Names whose bars are drawn in the first series' colour; the others are grey. All are
            coloured when left out.
        full_width: The quantity that would fill the whole width, shown as a pale bar behind each; the longest
            bar fills it when left out.

    Returns:
        The figure, as high as its bars need.

    Raises:
        UserError: When there are no values, one is negative, or the lengths differ.
    """
    _check_bars(values, written, spreads)
    texts = list(written) or [f"{value:g}" for value in values.values()]
    figure, axes = new_figure(BAR_ROW_PIXELS * len(values) + 8)
    with drawing_style():
        for row, (name, value) in enumerate(values.items()):
            is_strong = not emphasis or name in emphasis
            if full_width is not None:
                axes.barh(-row, full_width, height=0.24, color=GRID)
            axes.barh(-row, value, height=0.24, color=series_colour(0 if is_strong else 5))
            if spreads:
                axes.errorbar(value, -row, xerr=spreads[row], color=INK, elinewidth=1.2, capsize=3)
            axes.text(0.0, -row + 0.26, name, color=INK, ha="left", va="bottom")
            axes.text(
                1.0,
                -row + 0.26,
                texts[row],
                color=INK if is_strong else MUTED,
                ha="right",
                va="bottom",
                transform=axes.get_yaxis_transform(),
            )
        _strip_axes(axes)
        longest = max(values.values()) + max(spreads, default=0.0)
        axes.set_xlim(0, max(longest * 1.02, full_width or 0.0) or 1.0)
        axes.set_ylim(-len(values) + 0.7, 0.75)
    return figure


def scatter_plot(
    points: Mapping[str, Sequence[tuple[Number, Number, str]]],
    *,
    x_label: str,
    y_label: str,
    reference: tuple[Number, str] | None = None,
    is_joined: bool = True,
    height_pixels: Number = 340.0,
) -> "matplotlib.figure.Figure":
    """Draw cost against quality: each point is one setting, named where it stands.

    Args:
        points: For each series its points (x, y, name); an empty name writes nothing.
        x_label: The cost, with its unit.
        y_label: The quality, with its unit.
        reference: A quality to compare with, as a level line, and its name.
        is_joined: Whether a line leads from point to point.
        height_pixels: Height of the drawing.

    Returns:
        The figure.

    Raises:
        UserError: When there is no series, or one has no points.
    """
    _check_points(points)
    figure, axes = new_figure(height_pixels)
    with drawing_style():
        if reference is not None:
            _add_reference(axes, *reference)
        for index, (name, of_series) in enumerate(points.items()):
            axes.plot(
                [x for x, _, _ in of_series],
                [y for _, y, _ in of_series],
                label=name,
                color=series_colour(index),
                marker=MARKERS[index % len(MARKERS)],
                markersize=8,
                markeredgecolor=PAPER,
                linestyle=LINE_STYLES[index % len(LINE_STYLES)] if is_joined else "none",
                linewidth=1.4,
            )
            for x, y, label in of_series:
                axes.annotate(label, (x, y), (0, 9), textcoords="offset points", ha="center", color=INK)
        axes.margins(x=0.1, y=0.22)
        label_axes(axes, x_label, y_label)
        if len(points) > 1:
            add_legend(figure, axes)
    return figure


def label_axes(axes: "matplotlib.axes.Axes", x_label: str, y_label: str) -> None:
    """Write what the axes mean: the vertical one level above it, the horizontal one at its right end."""
    axes.set_title(y_label)
    axes.set_xlabel(x_label, loc="right")


def _strip_axes(axes: "matplotlib.axes.Axes") -> None:
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines["bottom"].set_visible(False)
    axes.axvline(0, color=GRID, linewidth=1.0, zorder=0)


def _add_reference(axes: "matplotlib.axes.Axes", level: Number, name: str) -> None:
    axes.axhline(level, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate(
        name,
        (1.0, level),
        (0, -5),
        xycoords=axes.get_yaxis_transform(),
        textcoords="offset points",
        ha="right",
        va="top",
        color=MUTED,
    )


def _check_series(series: Mapping[str, tuple[Sequence[Number], Sequence[Number]]]) -> None:
    if not series:
        raise invalid("series", "at least one", dict(series))
    for name, (x_values, y_values) in series.items():
        if not x_values or len(x_values) != len(y_values):
            lengths = (len(x_values), len(y_values))
            raise invalid(f"series {name!r}", "as many x as y values, at least one", lengths)


def _check_bars(values: Mapping[str, Number], written: Sequence[str], spreads: Sequence[Number]) -> None:
    if not values:
        raise invalid("values", "at least one bar", dict(values))
    for name, value in values.items():
        if not value >= 0:
            raise invalid(f"the bar {name!r}", "at least 0", value, "bars begin at zero")
    for label, extra in (("written", written), ("spreads", spreads)):
        if extra and len(extra) != len(values):
            raise invalid(label, f"one for each of the {len(values)} bars", list(extra))


def _check_points(points: Mapping[str, Sequence[tuple[Number, Number, str]]]) -> None:
    if not points:
        raise invalid("points", "at least one series", dict(points))
    for name, of_series in points.items():
        if not of_series:
            raise invalid(f"series {name!r}", "at least one point", list(of_series))
