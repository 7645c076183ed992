"""The legend of a scan: every class with its colour, its points, and how well each prediction knows it.

Shape legend: N points, C classes.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from multum.cost.units import DASH
from multum.report.class_palette import class_colours
from multum.report.markup import Html, element
from multum.report.number_text import format_percent
from multum.report.scan_judgement import class_iou
from multum.report.tables import table


def scan_legend(
    classes: Sequence[str],
    truth_N: Int[Tensor, " N"] | None,
    predictions: Mapping[str, Int[Tensor, " N"]],
) -> Html:
    """Draw the legend as a table, a line for each class that is there or was predicted.

    Args:
        classes: Names, in the order of the labels.
        truth_N: Labels of the scan; None where nobody labelled it, and then nothing is judged.
        predictions: Labellings by what they are called.

    Returns:
        The table; a page that can turn the scan makes switches of its first column.
    """
    labellings = ({} if truth_N is None else {"": truth_N}) | dict(predictions)
    counts = {name: torch.bincount(it[it >= 0], minlength=len(classes)) for name, it in labellings.items()}
    shown = [place for place in range(len(classes)) if any(int(count[place]) for count in counts.values())]
    colours = class_colours(classes)
    judged = {} if truth_N is None else predictions
    iou = {name: class_iou(truth_N, it, len(classes)) for name, it in judged.items() if truth_N is not None}
    # what was predicted is counted only where there is no truth to count
    counted = {"": counts[""]} if truth_N is not None else counts
    header = ["Class", *(f"Points, {name}" if name else "Points" for name in counted)]
    rows: list[list[Html | str]] = [
        [
            _switch(place, classes[place], colours[place]),
            *(f"{int(count[place]):,}" for count in counted.values()),
            *(_share(float(of_class[place])) for of_class in iou.values()),
        ]
        for place in shown
    ]
    sums = [f"{int(count.sum()):,}" for count in counted.values()]
    rows.append(
        ["All, mean IoU" if iou else "All", *sums, *(_share(float(it.nanmean())) for it in iou.values())]
    )
    header += [f"IoU, {name}" for name in iou]
    return table(header, rows, emphasis=(len(rows) - 1,))


def _switch(place: int, name: str, colour: str) -> Html:
    dot = element("i", {"style": f"--colour:{colour}", "aria-hidden": "true"})
    return element("button", {"type": "button", "class": "scan-class", "data-class": place}, dot, name)


def _share(iou: float) -> str:
    return format_percent(iou, 1) if not math.isnan(iou) else DASH
