"""Plots of a training: its curves, and what was taken for what."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from multum.core.errors import invalid, require_module
from multum.report.figure import add_legend, drawing_style, new_figure
from multum.report.palette import GRID, INK, LINE_STYLES, MARKERS, MUTED, PAPER, series_colour
from multum.report.plots import label_axes
from multum.report.sparse_plots import add_boxes
from multum.report.transfer_results import EpochRow

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

MOST_MARKED_EPOCHS = 20
"""Longer curves are drawn without a mark for each epoch."""

MOST_COUNTED_CLASSES = 12
"""With more classes the cells are too small for their counts on a phone."""

MOST_NAMED_CLASSES = 40
"""With more classes not every row has room for its name."""

LONGEST_NAME = 14
"""Letters of a class name beside a row."""

MOST_NUMBERED_COLUMNS = 8
"""Numbers below the columns that a phone has room for."""

LONGEST_COLUMN_NAME = 3
"""Letters that stand below a column; where names are longer the columns have numbers."""

NUM_SHADES = 10
DARKEST = 0.6
"""Opacity of a full cell: ink stays readable on it, in light and in dark."""

KNOWN, MISTAKEN = series_colour(0), series_colour(1)


def training_curves(epochs: Sequence[EpochRow], best_epoch: int) -> "matplotlib.figure.Figure":
    """Draw the losses over the epochs, and below them the accuracy on the validation part, where there is one.

    Args:
        epochs: How the training went.
        best_epoch: The epoch that was chosen, which is marked.

    Returns:
        The figure.

    Raises:
        UserError: When there are no epochs.
    """
    if not epochs:
        raise invalid("epochs", "at least one", list(epochs))
    judged = [it for it in epochs if it.validation_accuracy is not None]
    figure, upper = new_figure(430 if judged else 260)
    with drawing_style():
        panels = [upper]
        if judged:
            figure.delaxes(upper)
            panels = list(figure.subplots(2, 1, sharex=True))
        _curve(panels[0], 0, "learned from", [(it.epoch, it.loss) for it in epochs])
        losses = [(it.epoch, it.validation_loss) for it in judged if it.validation_loss is not None]
        if losses:
            _curve(panels[0], 1, "validation part", losses)
        label_axes(panels[0], "" if judged else "epoch", "loss")
        if judged:
            known = [(it.epoch, 100 * (it.validation_accuracy or 0.0)) for it in judged]
            _curve(panels[1], 1, "", known)
            panels[1].set_ylim(0, 104)
            label_axes(panels[1], "epoch", "validation pictures known, %")
            add_legend(figure, panels[0])
        panels[0].set_ylim(bottom=0)
        for panel in panels:
            _mark_chosen(panel, best_epoch, epochs[-1].epoch, is_named=panel is panels[-1])
    return figure


def confusion_map(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> "matplotlib.figure.Figure":
    """Draw what the pictures of each class were taken for, as a map of shades.

    A shade is a part of the row's pictures, and grows with its root, so that rare mistakes are seen. What was known
    has another colour than what was mistaken.

    Args:
        confusion: Pictures by class (rows) and by what they were taken for (columns).
        classes: Names of the classes.

    Returns:
        The figure: with counts where there are few classes.

    Raises:
        UserError: No class, or a map that is not square.
    """
    size = len(classes)
    if not size or len(confusion) != size or any(len(row) != size for row in confusion):
        raise invalid("confusion", f"{size} rows of {size} counts", [len(row) for row in confusion])
    figure, axes = new_figure(70 + _map_height(size))
    with drawing_style():
        add_boxes(axes, _ground(size), colour=GRID, alpha=0.35)
        for colour, is_known in ((KNOWN, True), (MISTAKEN, False)):
            for shade in range(1, NUM_SHADES + 1):
                boxes = [_cell(x, y, size) for x, y in _of_shade(confusion, shade, is_known=is_known)]
                add_boxes(axes, boxes, colour=colour, alpha=DARKEST * shade / NUM_SHADES)
        if size <= MOST_COUNTED_CLASSES:
            _write_counts(axes, confusion)
        _name_classes(axes, classes)
        axes.set_xlim(-0.5, size - 0.5)
        axes.set_ylim(size - 0.5, -0.5)
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        label_axes(axes, "taken for", "what it is")
    return figure


def shade_of(count: int, num_pictures: int) -> int:
    """How strongly a cell is shaded, from 0 for none to `NUM_SHADES` for all of its row.

    >>> [shade_of(count, 100) for count in (0, 1, 25, 100)]
    [0, 1, 5, 10]
    """
    return round(max(1.0, NUM_SHADES * (count / num_pictures) ** 0.5)) if count else 0


def short_name(name: str, longest: int = LONGEST_NAME) -> str:
    """Cut a name that is too long.

    >>> short_name("a very long name of a class")
    'a very long n…'
    """
    return name if len(name) <= longest else f"{name[: longest - 1].rstrip()}…"


def _curve(axes: "matplotlib.axes.Axes", index: int, name: str, points: Sequence[tuple[int, float]]) -> None:
    axes.plot(
        [x for x, _ in points],
        [y for _, y in points],
        label=name or None,
        color=series_colour(index),
        linestyle=LINE_STYLES[index],
        marker=MARKERS[index] if len(points) <= MOST_MARKED_EPOCHS else None,
        markeredgecolor=PAPER,
        clip_on=False,
        zorder=3,
    )


def _mark_chosen(axes: "matplotlib.axes.Axes", epoch: int, last: int, *, is_named: bool) -> None:
    axes.axvline(epoch, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xlim(0.5 if last == 1 else 1 - 0.02 * last, last + (0.5 if last == 1 else 0.02 * last))
    locators = require_module("matplotlib.ticker", "report")
    axes.xaxis.set_major_locator(locators.MaxNLocator(nbins=8, integer=True))
    if not is_named:
        return
    is_late = epoch > (1 + last) / 2
    axes.annotate(
        f"epoch {epoch}, kept",
        (epoch, 0.0),
        (-6 if is_late else 6, 6),
        xycoords=axes.get_xaxis_transform(),
        textcoords="offset points",
        ha="right" if is_late else "left",
        va="bottom",
        color=INK,
    )


def _map_height(size: int) -> float:
    """Pixels of a map: roomy rows for few classes, thin ones for many."""
    return min(34.0 * size, 340.0 + 7.0 * max(0, size - 10), 720.0)


def _of_shade(confusion: Sequence[Sequence[int]], shade: int, *, is_known: bool) -> Iterable[tuple[int, int]]:
    """Columns and rows of the cells of a shade."""
    for y, row in enumerate(confusion):
        for x, count in enumerate(row):
            if (x == y) is is_known and shade_of(count, sum(row)) == shade:
                yield x, y


def _ground(size: int) -> Iterable[tuple[float, float, float, float]]:
    """What lies below the shades: every cell, or, where cells touch, one rectangle."""
    if size > MOST_NAMED_CLASSES:
        yield -0.5, -0.5, size - 0.5, size - 0.5
        return
    for y in range(size):
        for x in range(size):
            yield _cell(x, y, size)


def _cell(x: int, y: int, size: int) -> tuple[float, float, float, float]:
    half = 0.47 if size <= MOST_NAMED_CLASSES else 0.5
    return x - half, y - half, x + half, y + half


def _write_counts(axes: "matplotlib.axes.Axes", confusion: Sequence[Sequence[int]]) -> None:
    for y, row in enumerate(confusion):
        for x, count in enumerate(row):
            if count:
                axes.text(x, y, f"{count}", ha="center", va="center_baseline", color=INK, fontsize=11)


def _name_classes(axes: "matplotlib.axes.Axes", classes: Sequence[str]) -> None:
    """Names beside the rows; below the columns too where they are short, and else the rows' numbers."""
    size = len(classes)
    has_short = all(len(name) <= LONGEST_COLUMN_NAME for name in classes)
    names = [
        short_name(name) if has_short else f"{short_name(name)}  {i}" for i, name in enumerate(classes, 1)
    ]
    columns = list(classes) if has_short else [f"{i}" for i in range(1, size + 1)]
    rows = range(0, size, -(-size // MOST_NAMED_CLASSES))
    some = range(0, size, 1 if size <= MOST_COUNTED_CLASSES else -(-size // MOST_NUMBERED_COLUMNS))
    axes.set_yticks(list(rows), [names[i] for i in rows], fontsize=12 if size <= 24 else 10)
    axes.set_xticks(list(some), [columns[i] for i in some])
    axes.tick_params(length=0)
