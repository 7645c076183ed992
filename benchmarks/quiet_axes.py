"""How every picture of the benchmarks looks: grey axes on no background, so that it suits light and dark pages."""

from typing import Any

GREY = "#777777"


def quiet(drawing: Any, axes: Any, *, x: str, y: str, **legend: Any) -> None:
    """Label axes, leave only the lower line of their frame, and put the legend in; `legend` says where."""
    axes.set_xlabel(x, color=GREY)
    axes.set_ylabel(y, color=GREY)
    axes.tick_params(colors=GREY)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(GREY)
    axes.legend(frameon=False, labelcolor=GREY, **legend)
    drawing.patch.set_alpha(0.0)
    axes.patch.set_alpha(0.0)
