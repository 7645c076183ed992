"""Plots of the four dials: which heads are computed, what each layer still works on, and a cache while it is read.

Grids are drawn as one path for each state and not as pictures of pixels, so that they follow the page's colours and
stay sharp. Each function returns a figure, for `multum.report.plot` to put into the page.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multum.core.errors import invalid, require_module
from multum.cost.units import Number
from multum.report.figure import add_legend, drawing_style, new_figure
from multum.report.palette import GRID, INK, LINE_STYLES, MUTED, series_colour
from multum.report.plots import label_axes

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""


@dataclass(frozen=True, kw_only=True)
class RowLife:
    """How long one row of a cache was there."""

    position: int
    """The token's place in the text, from 0."""
    first_step: int
    """The step that brought it: 0 for the prompt, t for the t-th generated token."""
    last_step: int
    """The last step that still read it."""


def head_map(heads_by_layer: Sequence[Sequence[int]], num_heads: int) -> "matplotlib.figure.Figure":
    """Draw which heads each layer computes: a filled cell is computed, an empty one is pruned.

    Args:
        heads_by_layer: For each layer the heads it computed, by their number in the model.
        num_heads: Heads of each layer of the dense model.

    Returns:
        The figure.

    Raises:
        UserError: No layer, or a head that the model does not have.
    """
    if not heads_by_layer:
        raise invalid("heads_by_layer", "one list for each layer", list(heads_by_layer))
    for layer, heads in enumerate(heads_by_layer, 1):
        if not set(heads) <= set(range(num_heads)):
            raise invalid(f"heads of layer {layer}", f"among 0..{num_heads - 1}", list(heads))
    computed = [(layer, head) for layer, heads in enumerate(heads_by_layer, 1) for head in heads]
    there = set(computed)
    pruned = [
        (layer, head)
        for layer in range(1, len(heads_by_layer) + 1)
        for head in range(num_heads)
        if (layer, head) not in there
    ]
    figure, axes = new_figure(90 + 14 * num_heads)
    with drawing_style():
        add_boxes(axes, (_cell(*place) for place in pruned), colour=GRID, alpha=0.45)
        add_boxes(axes, (_cell(*place) for place in computed), colour=series_colour(0))
        axes.set_xlim(0.4, len(heads_by_layer) + 0.6)
        axes.set_ylim(num_heads - 0.4, -0.6)
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        axes.set_yticks(_some(range(num_heads)))
        axes.set_xticks(_some(range(1, len(heads_by_layer) + 1)))
        axes.tick_params(length=0)
        label_axes(axes, "layer", "head (filled: computed)")
    return figure


def layer_columns(
    values: Sequence[Number],
    *,
    full: Sequence[Number] = (),
    y_label: str,
    names: tuple[str, str] = ("", ""),
    height_pixels: Number = 240.0,
) -> "matplotlib.figure.Figure":
    """Draw a quantity of each layer as a column, before what it would be densely.

    Args:
        values: One for each layer, none negative.
        full: What each layer would have densely, as pale columns behind; none when left out.
        y_label: What the height means, with its unit.
        names: What the columns and the pale ones mean, for the legend; no legend when left out.
        height_pixels: Height of the drawing.

    Returns:
        The figure.

    Raises:
        UserError: No values, negative ones, or another number of full ones.
    """
    if not values or not all(value >= 0 for value in values):
        raise invalid("values", "one number of at least 0 for each layer", list(values))
    if full and len(full) != len(values):
        raise invalid("full", f"one for each of the {len(values)} layers", list(full))
    layers = list(range(1, len(values) + 1))
    figure, axes = new_figure(height_pixels)
    with drawing_style():
        if full:
            axes.bar(layers, list(full), width=0.72, color=GRID, label=names[1] or None)
        axes.bar(layers, list(values), width=0.72, color=series_colour(0), label=names[0] or None)
        axes.set_xlim(0.4, len(values) + 0.6)
        axes.set_ylim(0, 1.04 * max([*values, *full]) or 1.0)
        axes.set_xticks(_some(layers))
        label_axes(axes, "layer", y_label)
        if any(names):
            add_legend(figure, axes)
    return figure


def cache_rows(
    rows: Mapping[str, Sequence[Number]], *, dense: Sequence[Number], y_label: str, first_step: int = 0
) -> "matplotlib.figure.Figure":
    """Draw a quantity of a cache from step to step, under the line of the dense one that grows with every token.

    Args:
        rows: For each name (a layer, or all of them) one number a step.
        dense: The same for a cache that keeps everything.
        y_label: What the height means, with its unit.
        first_step: The step of the first number: 0 for the prompt's, 1 for the first generated token's.

    Returns:
        The figure.

    Raises:
        UserError: No series, or one with another number of steps than the dense one.
    """
    if not rows:
        raise invalid("rows", "at least one series", dict(rows))
    for name, values in rows.items():
        if len(values) != len(dense) or not dense:
            raise invalid(f"series {name!r}", f"{len(dense)} steps long, like the dense one", len(values))
    steps = list(range(first_step, first_step + len(dense)))
    figure, axes = new_figure(300.0)
    with drawing_style():
        axes.plot(steps, list(dense), label="dense", color=MUTED, linewidth=1.4, linestyle=(0, (4, 3)))
        for index, (name, values) in enumerate(rows.items()):
            style = LINE_STYLES[index % len(LINE_STYLES)]
            axes.plot(steps, list(values), label=name, color=series_colour(index), linestyle=style)
        axes.set_ylim(bottom=0)
        label_axes(axes, "generated tokens", y_label)
        add_legend(figure, axes)
    return figure


def life_map(lives: Sequence[RowLife], num_steps: int, num_prompt_tokens: int) -> "matplotlib.figure.Figure":
    """Draw which rows of one layer's cache are there at each step: the text runs down, time runs to the right.

    Args:
        lives: The life of every position.
        num_steps: Tokens that were generated.
        num_prompt_tokens: Where the prompt ends.

    Returns:
        The figure.

    Raises:
        UserError: No lives, or one that ends before it began or after the last step.
    """
    if not lives:
        raise invalid("lives", "at least one row", list(lives))
    for life in lives:
        if not 0 <= life.first_step <= life.last_step <= num_steps:
            steps = (life.first_step, life.last_step)
            raise invalid(f"life of position {life.position}", f"within steps 0..{num_steps}", steps)
    longest = max(life.position for life in lives) + 1
    figure, axes = new_figure(380.0)
    with drawing_style():
        possible = _possible_boxes(longest, num_steps, num_prompt_tokens)
        add_boxes(axes, possible, colour=GRID, alpha=0.6, label="pruned")
        add_boxes(axes, _life_boxes(lives), colour=series_colour(0), label="in the cache")
        name, dashes = "end of the prompt", (0, (4, 3))
        axes.axhline(num_prompt_tokens, label=name, color=INK, linewidth=1.0, linestyle=dashes)
        axes.set_xlim(0, num_steps + 1)
        axes.set_ylim(longest, 0)
        axes.grid(visible=False)
        label_axes(axes, "generated tokens", "position in the text")
        add_legend(figure, axes)
    return figure


def _life_boxes(lives: Sequence[RowLife]) -> Iterable[Box]:
    """Rectangles of neighbours that came and went together."""
    stretch: list[RowLife] = []
    for life in [*sorted(lives, key=lambda it: it.position), None]:
        same = (
            life is not None
            and stretch
            and life.position == stretch[-1].position + 1
            and (life.first_step, life.last_step) == (stretch[-1].first_step, stretch[-1].last_step)
        )
        if stretch and not same:
            first, last = stretch[0], stretch[-1]
            yield first.first_step, first.position, first.last_step + 1, last.position + 1
            stretch = []
        if life is not None:
            stretch.append(life)


def _possible_boxes(longest: int, num_steps: int, num_prompt_tokens: int) -> Iterable[Box]:
    """The rectangles in which a dense cache has rows: the prompt from the start, each token from its own step."""
    yield 0, 0, num_steps + 1, min(longest, num_prompt_tokens)
    for position in range(num_prompt_tokens, longest):
        yield position - num_prompt_tokens + 1, position, num_steps + 1, position + 1


def _cell(layer: int, head: int) -> Box:
    return layer - 0.42, head - 0.42, layer + 0.42, head + 0.42


def add_boxes(
    axes: "matplotlib.axes.Axes", boxes: Iterable[Box], *, colour: str, alpha: Number = 1.0, label: str = ""
) -> None:
    """Fill rectangles as one path.

    Args:
        axes: Where.
        boxes: The rectangles; with none nothing is drawn.
        colour: Their mark (`multum.report.palette`).
        alpha: Their opacity, in [0, 1].
        label: Their name in a legend; empty for none.
    """
    path, patches = (
        require_module("matplotlib.path", "report"),
        require_module("matplotlib.patches", "report"),
    )
    corners = [((x, y), (right, y), (right, top), (x, top), (x, y)) for x, y, right, top in boxes]
    if not corners:
        return
    codes = [path.Path.MOVETO, *[path.Path.LINETO] * 3, path.Path.CLOSEPOLY]
    whole = path.Path([corner for box in corners for corner in box], codes * len(corners))
    patch = patches.PathPatch(whole, facecolor=colour, linewidth=0, alpha=alpha, label=label or None)
    axes.add_patch(patch)


def _some(numbers: Sequence[int]) -> list[int]:
    """Every one of few numbers, or about ten of many."""
    step = max(1, -(-len(numbers) // 12))
    return list(numbers)[::step]
