"""The two pictures of a `Cost`: memory over one pass, and the model's profile layer by layer."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from multum.core.errors import invalid
from multum.cost.result import Cost, LayerCost, Moment
from multum.cost.units import Number, format_bytes, format_count
from multum.report.figure import add_legend, drawing_style, new_figure
from multum.report.palette import INK, MUTED, PAPER, SERIES
from multum.report.plots import label_axes

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

NUM_KINDS_NAMED = 5
"""Types of module that get a colour of their own in the profile; the rest share one."""


def memory_timeline(cost: Cost, *, full_bytes: int | None = None) -> "matplotlib.figure.Figure":
    """Draw what is alive in memory while the operations of one pass run.

    The areas are stacked: weights, buffers and inputs at the bottom, then optimizer state, gradients, and the
    activations on top. Parts that never exist are not drawn.

    Args:
        cost: A reading with a timeline.
        full_bytes: The amount that fills the height, so that two drawings can be compared; its own peak when left out.

    Returns:
        The figure.

    Raises:
        UserError: When the reading has no timeline.
    """
    moments = cost.timeline
    if not moments:
        raise invalid("cost.timeline", "measured", moments, "measure(...) fills it")
    unit_bytes, unit = _byte_unit(full_bytes or max(moment.live_bytes for moment in moments))
    parts = {name: values for name, values in _parts(moments).items() if any(values)}
    colours = dict(zip(_parts(moments), (SERIES[5], SERIES[2], SERIES[1], SERIES[0]), strict=True))
    figure, axes = new_figure(330)
    with drawing_style():
        axes.stackplot(
            [moment.step for moment in moments],
            *[[value / unit_bytes for value in values] for values in parts.values()],
            labels=list(parts),
            colors=[colours[name] for name in parts],
            alpha=0.8,
            edgecolor=PAPER,
            linewidth=0.4,
        )
        axes.set_xlim(moments[0].step, max(moments[-1].step, moments[0].step + 1))
        axes.margins(y=0.16)
        axes.set_ylim(bottom=0, top=1.16 * full_bytes / unit_bytes if full_bytes else None)
        _mark_phases(axes, moments)
        _mark_peak(axes, moments, unit_bytes)
        label_axes(axes, "operations, in order", f"alive, {unit}")
        add_legend(figure, axes)
    return figure


def layer_bars(cost: Cost) -> "matplotlib.figure.Figure":
    """Draw the model's profile: one bar for each layer in its order, coloured by its type.

    The upper panel shows multiply-accumulates, the lower one memory: what is kept for the backward pass in
    training, what the layer hands on in inference.

    Args:
        cost: A reading with layers.

    Returns:
        The figure.

    Raises:
        UserError: When the reading has no layer that computes.
    """
    layers = [layer for layer in cost.layers if layer.macs or memory_of(cost, layer)]
    if not layers:
        raise invalid("cost.layers", "measured", cost.layers, "measure(...) fills it")
    kinds = _ranked_kinds(layers)
    figure, upper = new_figure(430)
    with drawing_style():
        figure.delaxes(upper)
        upper, lower = figure.subplots(2, 1, sharex=True)
        largest = max(memory_of(cost, layer) for layer in layers)
        unit_bytes, unit = _byte_unit(largest)
        scale, prefix = _count_unit(max(layer.macs for layer in layers))
        _profile(upper, layers, kinds, [layer.macs / scale for layer in layers])
        _profile(lower, layers, kinds, [memory_of(cost, layer) / unit_bytes for layer in layers])
        label_axes(upper, "", f"multiply-accumulates, {prefix}")
        label_axes(lower, "layers, in order", f"{memory_name(cost)}, {unit}")
        upper.tick_params(bottom=False)
        add_legend(figure, upper)
    return figure


def memory_of(cost: Cost, layer: LayerCost) -> int:
    """Give the memory that a layer answers for: what it keeps in training, what it hands on in inference."""
    return layer.kept_bytes if cost.mode == "training" else layer.output_bytes


def memory_name(cost: Cost) -> str:
    """Name what `memory_of` gives."""
    return "kept for backward" if cost.mode == "training" else "output"


def _parts(moments: Sequence[Moment]) -> dict[str, list[int]]:
    return {
        "weights, buffers, inputs": [
            max(0, m.live_bytes - m.activation_bytes - m.gradient_bytes - m.optimizer_bytes) for m in moments
        ],
        "optimizer state": [m.optimizer_bytes for m in moments],
        "gradients": [m.gradient_bytes for m in moments],
        "activations": [m.activation_bytes for m in moments],
    }


def _mark_phases(axes: "matplotlib.axes.Axes", moments: Sequence[Moment]) -> None:
    """Write where each phase begins, when there is more than one."""
    first_step: dict[str, int] = {}
    for moment in moments:
        first_step.setdefault(moment.phase, moment.step)
    if len(first_step) == 1:
        return
    last_step = moments[-1].step
    begins = [*first_step.values(), last_step]
    for (phase, step), following in zip(first_step.items(), begins[1:], strict=True):
        axes.axvline(step, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
        if following - step > 0.12 * (last_step - begins[0]):  # a phase too short for its name stays unnamed
            axes.annotate(
                phase,
                (step, 1.0),
                (4, -2),
                xycoords=axes.get_xaxis_transform(),
                textcoords="offset points",
                va="top",
                color=MUTED,
            )


def _mark_peak(axes: "matplotlib.axes.Axes", moments: Sequence[Moment], unit_bytes: Number) -> None:
    peak = max(moments, key=lambda moment: moment.live_bytes)
    is_late = peak.step > (moments[0].step + moments[-1].step) / 2
    height = peak.live_bytes / unit_bytes
    axes.plot([peak.step], [height], "o", color=INK, markersize=5, markeredgecolor=PAPER)
    axes.annotate(
        f"peak {format_bytes(peak.live_bytes)}",
        (peak.step, height),
        (-6 if is_late else 6, 4),
        textcoords="offset points",
        ha="right" if is_late else "left",
        va="bottom",
        color=INK,
    )


def _ranked_kinds(layers: Sequence[LayerCost]) -> dict[str, str]:
    """Give a colour to each of the most expensive types, and to "other"."""
    weight: Counter[str] = Counter()
    for layer in layers:
        weight[layer.kind] += layer.macs + layer.output_bytes // 4
    named = [kind for kind, _ in weight.most_common(NUM_KINDS_NAMED)]
    colours = {kind: SERIES[index] for index, kind in enumerate(named)}
    return colours if len(weight) == len(named) else {**colours, "other": SERIES[5]}


def _profile(
    axes: "matplotlib.axes.Axes",
    layers: Sequence[LayerCost],
    kinds: dict[str, str],
    heights: Sequence[Number],
) -> None:
    for kind, colour in kinds.items():
        at = [i for i, layer in enumerate(layers) if (layer.kind if layer.kind in kinds else "other") == kind]
        axes.bar(at, [heights[i] for i in at], width=0.9, color=colour, label=kind)
    axes.set_xlim(-0.8, len(layers) - 0.2)


def _byte_unit(largest: Number) -> tuple[float, str]:
    """Choose one unit for an axis by its largest value."""
    unit = format_bytes(largest).split()[-1]
    return {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}.get(unit, 1.0), unit


def _count_unit(largest: Number) -> tuple[float, str]:
    words = format_count(largest).split()
    names = {
        "k": (1e3, "thousands"),
        "M": (1e6, "millions"),
        "G": (1e9, "billions"),
        "T": (1e12, "trillions"),
    }
    return names.get(words[-1], (1.0, "count"))
