"""The detector, on the three frames of KITTI that are at hand: whether it finds again what it was shown."""

from collections.abc import Mapping

import torch

from benchmarks.detection_problem import MIN_POINTS, DetectionProblem, ap
from benchmarks.registry import Case, Figure, Setting, Suite
from benchmarks.schema import Check
from multum.pointcloud.detections import Detections
from multum.pointcloud.lidar import KITTI_CLASSES

_CASE = "kitti_overfit"


def _prepare(setting: Setting) -> DetectionProblem:
    return DetectionProblem(seed=setting.seed, is_small=setting.quick)


def _check(problem: DetectionProblem) -> Check:
    """Whoever knows all boxes gets 1, and whoever says nothing 0, of every class."""
    knowing = [Detections(it.boxes, torch.ones(len(it.boxes))) for it in problem.scans() if it.boxes]
    silent = [it.at(torch.zeros(len(it), dtype=torch.bool)) for it in knowing]
    scores = {
        who: {ap(found, problem.truths(name), name) for name in KITTI_CLASSES}
        for who, found in (("knowing", knowing), ("silent", silent))
    }
    right = scores == {"knowing": {1.0}, "silent": {0.0}}
    return Check.holds(right, "average precision is 1 of the labels themselves, 0 of nothing")


def _run(problem: DetectionProblem, _setting: Setting) -> Mapping[str, float]:
    found = problem.found()
    readings: dict[str, float] = {}
    for name in KITTI_CLASSES:
        truths, word = problem.truths(name), name.lower()
        readings[f"{word}_counted"] = float(sum(int(it.is_counted_L.sum()) for it in truths))
        readings[f"{word}_ap"] = ap(found, truths, name)
        readings[f"{word}_ap_above"] = ap(found, truths, name, "above")
    return readings


SUITE = Suite(
    name="detection",
    about="The detector on three frames of KITTI: what it was shown, found again",
    counts_only=True,
    cases=(
        Case(
            name=_CASE,
            about="SPVCNN at a quarter of its widths, 120 steps on three frames, judged on the same three",
            prepare=_prepare,
            check=_check,
            run=_run,
        ),
    ),
    figures=(
        Figure(
            id="pointcloud.detection_overfit_ap",
            unit="",
            goal_min=0.9,
            peer="none; it is no measure of what the detector finds in other frames",
            how="a sanity figure: 3D average precision of cars, 40 points of recall, overlap 0.7, on the very three "
            f"frames that were learned from; their two labelled cars with at least {MIN_POINTS} points in range, of "
            "any difficulty or none",
            value=lambda results: results.number(_CASE, "car_ap"),
        ),
    ),
)
