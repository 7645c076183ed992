"""A LiDAR scan inside a page, to be turned: its classes, what a network told, and where it was wrong.

Why our own viewer and not plotly, measured in Chromium without a GPU on two busy cores, two views of 59,000 points
beside each other: the page weighs 0.55 MB here and 6.9 MB there (4.8 of them plotly's script), is drawn after 0.6 s and
after 7.7 s, and a picture of a turn takes 0.15 s against 7.6 s. With 167,000 points: 1.3 MB, 1.2 s and 0.24 s; what
plotly takes was not waited for. Here one camera serves all views, and the policy of a page stays as strict as it was.

Without script, without WebGL and on paper stand the same pictures from above (`birds_eye`), and the legend is a table.

Shape legend: N points.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from multum.core import invalid
from multum.pointcloud.lidar import Scan
from multum.report.birds_eye import FATE_COLOURS, RAMP, birds_eye_plot, mistakes_plot
from multum.report.class_palette import class_colours
from multum.report.figure import plot
from multum.report.markup import Html, element, join
from multum.report.number_text import format_fixed, plural, sentence_case
from multum.report.scan_bytes import MOST_CLASSES, pack_points
from multum.report.scan_judgement import WRONG, class_iou, point_fates
from multum.report.scan_legend import scan_legend

TRUTH = "truth"
"""What the labels of the scan itself are called."""

MOST_POINTS = 400_000
"""More points than this are thinned out evenly before they go into a page."""

HELP = (
    "Drag to turn; Shift and drag, or two fingers, to move; pinch, + and -, or the wheel after a click, to zoom. "
    "Arrow keys turn, with Shift they move. A click on a class hides it."
)


@dataclass(frozen=True)
class _View:
    """One way to colour the points."""

    name: str
    kind: str
    of: int = 0  # number of the labelling, for "class" and "error"


def scan_view(
    scan: Scan,
    classes: Sequence[str] = (),
    predictions: Mapping[str, Int[Tensor, " N"]] | None = None,
    *,
    caption: str = "",
) -> Html:
    """Show a scan that can be turned, with its labels, predictions of them, and their mistakes.

    Args:
        scan: Points, with labels and boxes where there are any.
        classes: Names of the labels' classes; left out, only height and intensity are shown.
        predictions: Labellings of the same points by what they are called ("before training", "after").
        caption: What stands under it, before how to turn it.

    Returns:
        The block. A page carries the script for it by itself.

    Raises:
        UserError: Labels that are no class or not one for each point, two labellings of one name, or too many classes.
        MissingExtraError: matplotlib is not installed.
    """
    told = dict(predictions or {})
    _check(scan, classes, told)
    truth_N = scan.label_N if classes else None
    labellings = ({} if truth_N is None else {TRUTH: truth_N}) | told
    views = _views(labellings, judged=truth_N is not None)
    shown_N = _thinned(len(scan))
    packed = pack_points(
        scan.xyz_N3[shown_N], scan.intensity_N[shown_N], [it[shown_N] for it in labellings.values()]
    )
    start = _start(views)
    facts = _facts(scan, classes) | {
        "points": packed.num_points,
        "middle": packed.middle,
        "step": packed.step_metres,
        "views": [{"name": sentence_case(it.name), "kind": it.kind, "of": it.of} for it in views],
        "start": start,
    }
    described = f"{scan.name or 'a scan'}: {plural(len(scan), 'point')} that can be turned"
    parts: list[Html | str] = [
        _tools(views, start, scan),
        _stage(described),
        _still(scan, classes, truth_N, told),
        _keys(views, *_heights(scan)),
    ]
    if labellings:
        parts.append(scan_legend(classes, truth_N, told))
    parts.append(element("figcaption", None, _caption(scan, packed.num_points, caption)))
    attributes = {
        "class": "scan",
        "data-needs": "scan_view",
        "data-facts": json.dumps(facts, separators=(",", ":")),
        "data-points": packed.text,
    }
    return element("figure", attributes, *parts)


def tell_prediction(scan: Scan, name: str, told_N: Int[Tensor, " N"], num_classes: int) -> str:
    """Tell in a sentence how well a prediction knows a labelled scan.

    Args:
        scan: Points with their labels.
        name: What the prediction is called.
        told_N: The prediction.
        num_classes: How many classes there are.

    Returns:
        The sentence, with its share of right points and the mean over classes of their IoU.

    Raises:
        UserError: The scan has no labels.
    """
    if scan.label_N is None:
        raise invalid("labels of the scan", "there, to judge a prediction by", None)
    fate_N = point_fates(scan.label_N, told_N)
    known, wrong = int((scan.label_N >= 0).sum()), int((fate_N == WRONG).sum())
    if not known:
        return f"{name}: no point is labelled, so nothing can be judged."
    mean = float(class_iou(scan.label_N, told_N, num_classes).nanmean())
    right = format_fixed(100 * (1 - wrong / known), 1)
    return f"{name}: {right} % of {known:,} labelled points right, mean IoU {format_fixed(100 * mean, 1)} %."


def _check(scan: Scan, classes: Sequence[str], told: Mapping[str, Tensor]) -> None:
    if len(classes) > MOST_CLASSES:
        raise invalid("classes", f"at most {MOST_CLASSES}", len(classes))
    if told and not classes:
        raise invalid("classes", "the names of what was predicted", tuple(classes))
    if TRUTH in told:
        raise invalid("name of a prediction", f"another one than {TRUTH!r}", TRUTH)
    labels = {} if scan.label_N is None or not classes else {TRUTH: scan.label_N}
    for name, label_N in (labels | dict(told)).items():
        if len(label_N) != len(scan):
            raise invalid(f"labels {name!r}", f"{len(scan)}, one for each point", len(label_N))
        if len(label_N) and int(label_N.max()) >= len(classes):
            raise invalid(
                f"labels {name!r}", f"below {len(classes)}, the number of classes", int(label_N.max())
            )


def _views(labellings: Mapping[str, Tensor], *, judged: bool) -> list[_View]:
    views = [_View(name, "class", place) for place, name in enumerate(labellings)]
    if judged:
        views += [_View(f"mistakes, {it.name}", "error", it.of) for it in views[1:]]
    return [*views, _View("height", "height"), _View("intensity", "intensity")]


def _start(views: Sequence[_View]) -> list[int]:
    """Show first what there is to compare: the truth and the last prediction's mistakes, or else one view."""
    mistakes = [place for place, it in enumerate(views) if it.kind == "error"]
    return [0, mistakes[-1]] if mistakes else [0]


def _facts(scan: Scan, classes: Sequence[str]) -> dict[str, object]:
    """What the viewer must know about the place: the ground, how far things reach, and what stands in boxes."""
    xyz_N3 = scan.xyz_N3.cpu().double().numpy()
    low, high = _heights(scan)
    reach = max(float(np.quantile(np.linalg.norm(xyz_N3[:, :2], axis=1), 0.8)), 2.0)
    rings = next(it for it in (5000, 1000, 500, 100, 50, 25, 10, 5, 1) if 2 * reach / it >= 2 or it == 1)
    target = (
        np.median(xyz_N3[:, :2], axis=0)
        if float(np.linalg.norm(xyz_N3[:, :2].mean(axis=0))) > reach
        else np.zeros(2)
    )
    return {
        "colours": list(class_colours(classes)),
        "ramp": list(RAMP),
        "low": low,
        "high": high,
        "ground": low,
        "reach": round(reach, 2),
        "ring": rings,
        "target": [round(float(it), 2) for it in target],
        "boxes": [] if scan.boxes is None else _box_rows(scan),
    }


def _heights(scan: Scan) -> tuple[float, float]:
    """Between which heights nearly all points lie, in metres."""
    low, high = np.quantile(scan.xyz_N3[:, 2].cpu().double().numpy(), [0.02, 0.98])
    return round(float(low), 3), round(float(high), 3)


def _box_rows(scan: Scan) -> list[list[float]]:
    assert scan.boxes is not None
    boxes = scan.boxes
    row_K7 = torch.cat([boxes.centre_K3, boxes.size_K3, boxes.yaw_K[:, None]], dim=1).cpu().double()
    return [[round(number, 3) for number in row] for row in row_K7.tolist()]


def _thinned(num_points: int) -> Tensor:
    stride = -(-num_points // MOST_POINTS)
    return torch.arange(0, num_points, stride)


def _tools(views: Sequence[_View], start: Sequence[int], scan: Scan) -> Html:
    switches = [
        element(
            "button",
            {"type": "button", "data-view": place, "aria-pressed": str(place in start).lower()},
            sentence_case(it.name),
        )
        for place, it in enumerate(views)
    ]
    tools: list[tuple[str, str, str | None]] = [("above", "From above", None), ("home", "Reset", None)]
    if scan.boxes is not None and len(scan.boxes):
        tools.insert(0, ("boxes", "Boxes", "true"))
    others = [
        element("button", {"type": "button", "data-tool": tool, "aria-pressed": pressed}, label)
        for tool, label, pressed in tools
    ]
    space = element("span", {"class": "space"})
    attributes = {"class": "scan-tools", "role": "group", "aria-label": "Views of the scan"}
    return element("div", attributes, *switches, space, *others)


def _stage(described: str) -> Html:
    canvas = element("canvas", {"tabindex": "0", "role": "application", "aria-label": described})
    return element("div", {"class": "scan-stage"}, canvas, element("div", {"class": "scan-names"}))


def _still(scan: Scan, classes: Sequence[str], truth_N: Tensor | None, told: Mapping[str, Tensor]) -> Html:
    """Pictures from above of what the viewer shows first."""
    name = scan.name or "The scan"
    label_N = truth_N if truth_N is not None else next(iter(told.values()), None)
    shown = "height" if label_N is None else TRUTH if truth_N is not None else next(iter(told))
    pictures = [
        plot(
            birds_eye_plot(scan, classes if label_N is not None else (), label_N),
            f"From above: {shown}.",
            f"{name} from above, {plural(len(scan), 'point')}, coloured by {shown}.",
        )
    ]
    if truth_N is not None and told:
        last, told_N = list(told.items())[-1]
        sentence = tell_prediction(scan, last, told_N, len(classes))
        pictures.append(plot(mistakes_plot(scan, told_N), f"From above: mistakes, {last}.", sentence))
    return element("div", {"class": "scan-still"}, *pictures)


def _keys(views: Sequence[_View], low: float, high: float) -> Html:
    """What colours mean that are no class's."""
    words = []
    if any(it.kind == "error" for it in views):
        names = ("right", "wrong", "not labelled")
        words += [
            element("span", None, element("i", {"style": f"--colour:{colour}"}), name)
            for colour, name in zip(FATE_COLOURS, names, strict=True)
        ]
    ramp = element("span", {"class": "ramp", "style": f"--ramp:linear-gradient(90deg,{','.join(RAMP)})"})
    words.append(
        element(
            "span",
            None,
            f"{format_fixed(low, 1)} m high, or dim",
            ramp,
            f"{format_fixed(high, 1)} m, or bright",
        )
    )
    return element("div", {"class": "scan-keys"}, *words)


def _caption(scan: Scan, num_shown: int, caption: str) -> Html:
    thinned = f" {num_shown:,} of {len(scan):,} points are shown." if num_shown < len(scan) else ""
    return join([f"{caption}{thinned} ".lstrip(), element("span", {"class": "scan-help"}, HELP)])
