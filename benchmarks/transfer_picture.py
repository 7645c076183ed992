"""Accuracy against memory: every mode of transfer learning on few digits, and its rivals."""

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
    for name, (memory_mb, percent, _) in points.items():
        axes.annotate(
            name, (memory_mb, percent), xytext=(5, 4), textcoords="offset points", color="#777777", fontsize=8
        )
    axes.set_xlim(left=0)
    quiet(drawing, axes, x="memory of a step, MB", y="test accuracy, %", loc="lower right")
    return drawing
