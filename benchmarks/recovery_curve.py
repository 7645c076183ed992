"""The curve of recovery: what is lost on the way from no pruning to a schedule, untuned and tuned for its end."""

from collections.abc import Callable
from typing import Any

from benchmarks.quiet_axes import quiet
from benchmarks.schema import NoNumberError, Results
from multum.attention import TokenSchedule, annealed_schedule

WAY_PERCENTS = (25, 50, 75, 100)
"""Milder schedules on the curves: so far on the way from keeping everything to the schedule."""
LABELS = {"sst2": "SST-2, accuracy", "stsb": "STS-B, Spearman"}
"""Cases with a curve, as the picture calls them."""


def milder_losses(
    schedule: TokenSchedule,
    dense: float,
    *,
    pruned_only: Callable[[TokenSchedule], float],
    tuned: Callable[[TokenSchedule], float],
    reduction: Callable[[TokenSchedule], float],
) -> dict[str, float]:
    """What is lost, in points, on the way from no pruning to the schedule's: untuned, and tuned for all of it."""
    found: dict[str, float] = {}
    for percent in WAY_PERCENTS:
        plan, name = annealed_schedule(schedule, percent / 100, 1.0), f"curve.{percent}_percent"
        found |= {
            f"{name}.token_reduction": reduction(plan),
            f"{name}.pruned_only_loss_points": 100 * (dense - pruned_only(plan)),
            f"{name}.tuned_loss_points": 100 * (dense - tuned(plan)),
        }
    return found


def _points(results: Results, case: str, what: str) -> list[tuple[float, float]]:
    """Token reductions and losses along a case's curve, from the dense model on."""
    names = [f"curve.{percent}_percent" for percent in WAY_PERCENTS]
    return [
        (results.number(case, f"{name}.token_reduction"), results.number(case, f"{name}.{what}_loss_points"))
        for name in names
    ]


def _with_curve(results: Results) -> list[str]:
    """The cases that have one; raises `NoNumberError` when none has."""
    first = f"curve.{WAY_PERCENTS[0]}_percent.token_reduction"
    found = [it.name for it in results.cases if it.name in LABELS and first in it.readings]
    if not found:
        raise NoNumberError("no curve was measured")
    return found


def curve_table(results: Results) -> str:
    """What is lost at growing reductions, untuned and tuned for the last of them."""
    lines = ["| test set | fewer tokens | pruned only | tuned for the last |", "|---|---:|---:|---:|"]
    for case in _with_curve(results):
        untuned, tuned = (_points(results, case, what) for what in ("pruned_only", "tuned"))
        lines += [
            f"| {LABELS[case]} | {reduction:.2f}x | {0.0 - lost:+.1f} | {0.0 - left:+.1f} |"
            for (reduction, lost), (_, left) in zip(untuned, tuned, strict=True)
        ]
    return "\n".join(lines)


def draw_curve(results: Results) -> Any:
    """Points lost against the token reduction."""
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(7, 3.2), layout="constrained")
    axes = drawing.subplots()
    for case, colour in zip(_with_curve(results), ("#0f7285", "#c2611f"), strict=False):
        for what, line, how in (("pruned_only", ":", "pruned only"), ("tuned", "-", "tuned")):
            reduction, lost = zip(*_points(results, case, what), strict=True)
            axes.plot(reduction, lost, line, marker="o", color=colour, label=f"{LABELS[case]}, {how}")
    axes.axhline(0, color="#777777", linewidth=1)
    quiet(drawing, axes, x="tokens of the dense model over tokens kept", y="points lost")
    return drawing
