"""Accuracy against memory: every mode of transfer learning on few digits, and its rivals."""

from collections.abc import Mapping
from typing import Any

from benchmarks.quiet_axes import quiet
from benchmarks.schema import NoNumberError, Results
from benchmarks.transfer_growth import CHECKPOINTED, LEAN, STOCK
from benchmarks.transfer_peft import LORA
from benchmarks.transfer_trials import DIGITS

MEMORY = "digits_memory"
RIVALS = {STOCK: "full, as torch has it", CHECKPOINTED: "full, blocks computed again"}
"""These train what `full` trains, so its accuracy is theirs."""
LORA_TOLD = "LoRA by peft"
LETTER, LINE = 4.2, 10.0
"""Width of a letter and height of a line of names, in points, about."""
PLACES = ((True, 4), (False, 4), (True, 16), (False, 16), (True, -12), (False, -12))
"""Where a name may stand: to the right or not, and so many points up."""
OURS, THEIRS = "#0f7285", "#c2611f"


def _points(results: Results) -> dict[str, tuple[float, float, float]]:
    """Memory in MB, accuracy in percent and its spread, of every mode that was measured.

    Raises:
        NoNumberError: Fewer than two modes were.
    """
    found: dict[str, tuple[float, float, float]] = {}
    for slug, told in (*LEAN.items(), (LORA, LORA_TOLD)):
        try:
            accuracy, spread = (results.number(f"{DIGITS.name}_{slug}", it) for it in ("test", "test_spread"))
        except NoNumberError:
            continue
        found[told] = (results.number(MEMORY, f"{slug}_mb"), accuracy, spread)
        if told == "full":
            for rival, label in RIVALS.items():
                found[label] = (results.number(MEMORY, f"{rival}_mb"), accuracy, spread)
    if len(found) < 2:
        raise NoNumberError("fewer than two modes were measured on the digits")
    return found


def modes_table(results: Results) -> str:
    """Accuracy on the digits and growth of the process, mode by mode."""
    lines = ["| trained | test accuracy, % | memory of a step, MB |", "|---|---:|---:|"]
    lines += [
        f"| {name} | {accuracy:.1f} ± {spread:.1f} | {memory:.0f} |"
        for name, (memory, accuracy, spread) in _points(results).items()
    ]
    return "\n".join(lines)


def draw_modes(results: Results) -> Any:
    """Accuracy against the memory of a step."""
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(7, 3.6), layout="constrained")
    axes = drawing.subplots()
    points = _points(results)
    rivals = {*RIVALS.values(), LORA_TOLD}
    for label, colour, chosen in (
        ("modes of multum transfer", OURS, [it for it in points if it not in rivals]),
        ("torch's own layers, and peft", THEIRS, [it for it in points if it in rivals]),
    ):
        if chosen:
            memory, accuracy, spread = zip(*(points[it] for it in chosen), strict=True)
            axes.errorbar(memory, accuracy, yerr=spread, fmt="o", color=colour, label=label, capsize=2)
    axes.set_xlim(left=0)
    quiet(drawing, axes, x="memory of a step, MB", y="test accuracy, %", loc="lower right")
    _name_points(axes, {name: (memory_mb, percent) for name, (memory_mb, percent, _) in points.items()})
    return drawing


def _name_points(axes: Any, points: Mapping[str, tuple[float, float]]) -> None:
    """Write names beside points, each at the first of a few places where no other name is."""
    per_point = axes.figure.dpi / 72
    taken: list[tuple[float, float, float]] = []  # left, right, bottom in points
    for name, place in sorted(
        points.items(), key=lambda it: -it[1][0]
    ):  # of two neighbours the left one goes left
        x, y = axes.transData.transform(place) / per_point
        width = LETTER * len(name)
        for right, up in PLACES:
            left = x + 5 if right else x - 5 - width
            box = (left, left + width, y + up)
            if not any(box[0] < b and a < box[1] and abs(box[2] - low) < LINE for a, b, low in taken):
                break
        taken.append(box)
        axes.annotate(
            name,
            place,
            xytext=(5 if right else -5, up),
            ha="left" if right else "right",
            textcoords="offset points",
            color="#777777",
            fontsize=8,
        )
