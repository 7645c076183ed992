"""The figures of the accelerator's evaluation: single benchmarks, breakdown, roofline, sweeps, and what moves a result.

Each returns a figure, for `multum.report.plot` to put into the page. Where numbers lie decades apart the axis is
logarithmic, and then there are points and no bars: a bar has to begin at zero.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from multum.accelerator.paper import BenchmarkResult, Row, Sensitivity, Step, Sweep
from multum.core.errors import invalid
from multum.cost.units import Number
from multum.report.figure import add_legend, drawing_style, new_figure
from multum.report.palette import GRID, INK, MARKERS, MUTED, PAPER, series_colour
from multum.report.plots import bar_plot, label_axes

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.axis
    import matplotlib.figure

ROW_PIXELS = 62
"""Height of a line with its text."""
AXIS_PIXELS = 84
"""Height of what stands above and below the lines."""


def ratio_dumbbells(rows: Sequence[Row]) -> "matplotlib.figure.Figure":
    """Draw published numbers and ours on one logarithmic axis: two points a row, and a line between them.

    Args:
        rows: All of one kind, say times faster; inputs are left out.

    Returns:
        The figure.

    Raises:
        UserError: No row that compares anything.
    """
    shown = [row for row in rows if not row.is_input]
    if not shown:
        raise invalid("rows", "at least one that is no input", list(rows))
    figure, axes = new_figure(ROW_PIXELS * len(shown) + AXIS_PIXELS)
    with drawing_style():
        for place, row in enumerate(shown):
            axes.plot([row.paper, row.ours], [-place, -place], color=GRID, linewidth=3.0, zorder=1)
            _row_text(axes, -place, row.what, f"ours {row.ours:.3g}, paper {row.paper:.4g} {row.unit}")
        for index, (name, values) in enumerate(
            {"paper": [row.paper for row in shown], "ours": [row.ours for row in shown]}.items()
        ):
            axes.plot(
                values,
                [-place for place in range(len(shown))],
                marker=MARKERS[index],
                color=series_colour(index),
                linestyle="none",
                markersize=8,
                markeredgecolor=PAPER,
                label=name,
            )
        axes.set_xscale("log")
        _name_steps(axes.xaxis, [it for row in shown for it in (row.paper, row.ours)])
        _only_rows(axes, len(shown))
        add_legend(figure, axes)
    return figure


def benchmark_columns(benchmarks: Sequence[BenchmarkResult]) -> "matplotlib.figure.Figure":
    """Draw the speed-up over a TITAN Xp of each benchmark as a bar, BERT's and GPT-2's apart by their colour.

    Args:
        benchmarks: One or more.
    """
    values = {it.name: it.titan_xp_speedup for it in benchmarks}
    strong = [it.name for it in benchmarks if it.generates]
    return bar_plot(values, written=[f"{it:.1f}x" for it in values.values()], emphasis=strong)


def breakdown_bars(steps: Sequence[Step]) -> "matplotlib.figure.Figure":
    """Draw the time with one technique more at a time.

    Args:
        steps: The first without any.

    Raises:
        UserError: No step.
    """
    if not steps:
        raise invalid("steps", "at least one", list(steps))
    first = steps[0].seconds
    return bar_plot(
        {step.name: 1e3 * step.seconds for step in steps},
        written=[f"{1e3 * step.seconds:.3g} ms, {first / step.seconds:.2f}x faster" for step in steps],
        emphasis=[steps[-1].name],
    )


def roofline_scatter(
    benchmarks: Sequence[BenchmarkResult], *, roof_teraflops: Number, bytes_per_second: Number
) -> "matplotlib.figure.Figure":
    """Draw where each benchmark lies under the roof of the multipliers and the slope of the memory.

    Args:
        benchmarks: One or more.
        roof_teraflops: What the multipliers can do.
        bytes_per_second: What the memory can bring.

    Raises:
        UserError: No benchmark.
    """
    if not benchmarks:
        raise invalid("benchmarks", "at least one", list(benchmarks))
    intensity = [it.operations_per_byte for it in benchmarks]
    ridge = 1e12 * float(roof_teraflops) / float(bytes_per_second)
    ends = (min(*intensity, ridge) / 2, max(*intensity, ridge) * 2)
    figure, axes = new_figure(340)
    with drawing_style():
        roof = [
            min(float(roof_teraflops), at * float(bytes_per_second) / 1e12)
            for at in (ends[0], ridge, ends[1])
        ]
        axes.plot([ends[0], ridge, ends[1]], roof, color=MUTED, linewidth=1.4, label="roof")
        for index, (name, generates) in enumerate((("BERT", False), ("GPT-2", True))):
            points = [it for it in benchmarks if it.generates == generates]
            axes.plot(
                [it.operations_per_byte for it in points],
                [it.teraflops for it in points],
                marker=MARKERS[index],
                color=series_colour(index),
                linestyle="none",
                markersize=8,
                markeredgecolor=PAPER,
                label=name,
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        _name_steps(axes.xaxis, ends)
        _name_steps(axes.yaxis, [it.teraflops for it in benchmarks])
        label_axes(axes, "operations a byte of memory", "TFLOPS")
        add_legend(figure, axes)
    return figure


def sweep_line(sweep: Sweep) -> "matplotlib.figure.Figure":
    """Draw how the time falls along a sweep; the paper's own design stands out.

    Args:
        sweep: At least one point.

    Raises:
        UserError: No point.
    """
    if not sweep.points:
        raise invalid("sweep.points", "at least one", list(sweep.points))
    figure, axes = new_figure(280)
    values = [point.value for point in sweep.points]
    with drawing_style():
        axes.plot(
            values,
            [1e3 * point.seconds for point in sweep.points],
            marker=MARKERS[0],
            color=series_colour(0),
            markeredgecolor=PAPER,
            clip_on=False,
        )
        for point in sweep.points:
            height = 1e3 * point.seconds
            name = f"{height:.2f}{' (paper)' * point.is_paper}"
            axes.annotate(
                name,
                (point.value, height),
                (0, 8),
                textcoords="offset points",
                ha="center",
                color=INK if point.is_paper else MUTED,
            )
        axes.set_xscale("log", base=2)
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.minorticks_off()
        axes.margins(x=0.08, y=0.2)
        axes.set_ylim(bottom=0)
        label_axes(axes, sweep.name, f"{sweep.benchmark}, ms")
    return figure


def tornado(sensitivity: Sensitivity) -> "matplotlib.figure.Figure":
    """Draw how far each assumption moves a result, the strongest on top; lines for ours and for the paper's.

    Args:
        sensitivity: At least one effect.

    Raises:
        UserError: No effect.
    """
    if not sensitivity.effects:
        raise invalid("sensitivity.effects", "at least one", list(sensitivity.effects))
    figure, axes = new_figure(ROW_PIXELS * len(sensitivity.effects) + AXIS_PIXELS)
    marks: Mapping[str, float] = {"ours": sensitivity.ours, "paper": sensitivity.paper}
    with drawing_style():
        for index, (name, value) in enumerate(marks.items()):
            axes.axvline(value, color=series_colour(index), linestyle=("-", (0, (4, 3)))[index], label=name)
        for place, effect in enumerate(sensitivity.effects):
            ends = (effect.low_value, effect.high_value)
            axes.barh(-place, max(ends) - min(ends), left=min(ends), height=0.14, color=MUTED, zorder=2)
            said = f"{effect.low}: {effect.low_value:.3g}, {effect.high}: {effect.high_value:.3g}"
            _row_text(axes, -place, effect.name, said)
        axes.use_sticky_edges = False  # the longest bar keeps off the edge
        _only_rows(axes, len(sensitivity.effects))
        axes.set_xlabel(sensitivity.unit, loc="right")
        add_legend(figure, axes)
    return figure


def _row_text(axes: "matplotlib.axes.Axes", height: Number, name: str, value: str) -> None:
    """A row's name above it, and its value between the two: below each other, so that both fit a phone."""
    for above, text, colour in ((0.42, name, INK), (0.14, value, MUTED)):
        written = axes.text(
            0.0,
            float(height) + above,
            text,
            color=colour,
            ha="left",
            va="bottom",
            transform=axes.get_yaxis_transform(),
        )
        written.set_in_layout(False)  # a long name must not squeeze the axes


def _name_steps(axis: "matplotlib.axis.Axis", values: Sequence[float]) -> None:
    """Name the powers of ten of a logarithmic axis, and what lies between them where there are less than two."""
    from matplotlib.ticker import LogLocator

    if max(values) < 100 * min(values):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(lambda *_: "")


def _only_rows(axes: "matplotlib.axes.Axes", count: int) -> None:
    """Rows stand below each other; only the horizontal axis has ticks."""
    axes.set_yticks([])
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", which="major")
    axes.minorticks_off()
    axes.set_ylim(-count + 0.75, 0.8)
