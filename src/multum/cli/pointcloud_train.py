"""`multum pointcloud train DATA`, `evaluate RUN DATA` and `predict RUN SCANS`: the class of every point."""

from pathlib import Path
from typing import TYPE_CHECKING

from multum.cli.verb import Outcome, RunFolder, RunVerb, Verb
from multum.core.config import to_dict
from multum.pointcloud.segmentation import (
    EvaluateSegmentationConfig,
    PredictSegmentationConfig,
    SegmentationConfig,
    SegmentationJudgement,
    SegmentationPredictions,
    SegmentationResult,
    evaluate_segmentation,
    predict_segmentation,
    train_segmentation,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

MOST_TOLD = 20
"""So many predictions are told; all are in the files."""


def _train(config: SegmentationConfig, folder: RunFolder) -> Outcome:
    result = train_segmentation(config, folder.out, resume=folder.resume, overwrite=folder.overwrite)
    return Outcome(result=to_dict(result), text=trained_text(result, folder.out))


def _evaluate(config: EvaluateSegmentationConfig) -> Outcome:
    found = evaluate_segmentation(config)
    return Outcome(result=to_dict(found), text=judgement_text(found))


def _predict(config: PredictSegmentationConfig) -> Outcome:
    found = predict_segmentation(config)
    return Outcome(result=to_dict(found), text=predictions_text(found))


def trained_text(result: SegmentationResult, folder: Path) -> "RenderableType":
    """Tell what a training came to.

    Args:
        result: What `train_segmentation` found.
        folder: Where the run lies.
    """
    from rich.console import Group

    chosen = ""
    if result.validation_mean_iou is not None:
        chosen = f", mean IoU {result.validation_mean_iou:.1%} on {result.num_validation} scans to choose by"
    early = ", stopped early" if result.stopped_early else ""
    made = (
        f"{result.network}: {result.num_parameters:,} numbers trained, voxels of {result.voxel_size:g} m, "
        f"{result.points} points"
    )
    learned = (
        f"{result.num_train} scans of {len(result.classes)} classes, {result.num_epochs} epochs{early}; "
        f"best: epoch {result.best_epoch}{chosen}"
    )
    notes = [f"note: {note}" for note in result.notes]
    judged = judgement_text(result.judged, part=f"{result.judged_part} part: ")
    return Group(made, learned, *notes, "", judged, f"wrote {folder}")


def judgement_text(found: SegmentationJudgement, part: str = "") -> "RenderableType":
    """Tell how right a network is, class by class.

    Args:
        found: What was measured.
        part: What was judged, before the rest of the title.
    """
    from rich.console import Group

    from multum.cost.table import rich_table
    from multum.cost.units import format_count, format_seconds

    title = f"{part}mean IoU {found.mean_iou:.1%}, {found.accuracy:.1%} of {found.num_judged:,} points right"
    rows = [
        (name, f"{sum(counts):,}", f"{found.class_iou[name]:.1%}", _taken_for(place, counts, found.classes))
        for place, (name, counts) in enumerate(zip(found.classes, found.confusion, strict=True))
        if name in found.class_iou
    ]
    views = f", {found.num_views} views each" if found.num_views > 1 else ""
    cost = (
        f"{found.num_scans} scans{views}: {format_count(found.macs_per_scan)} MACs and "
        f"{format_seconds(found.seconds_per_scan)} a scan"
    )
    return Group(rich_table(("Class", "Points", "IoU", "Else most often"), rows, title=title), cost)


def predictions_text(found: SegmentationPredictions) -> "RenderableType":
    """Tell what the first scans were taken for, and where all predictions are.

    Args:
        found: What `predict_segmentation` reports.
    """
    from rich.console import Group

    from multum.cost.table import rich_table

    rows = [
        (it.scan, f"{it.num_points:,}", _most(it.class_points), it.path.as_posix())
        for it in found.predictions[:MOST_TOLD]
    ]
    more = len(found.predictions) - len(rows)
    notes = [f"and {more} more"] if more else []
    table = rich_table(("Scan", "Points", "Most of them", "File"), rows)
    return Group(table, *notes, f"wrote {found.path}")


def _most(class_points: dict[str, int]) -> str:
    """The three classes that most points were taken for."""
    total = sum(class_points.values())
    ranked = sorted(class_points.items(), key=lambda it: -it[1])[:3]
    return ", ".join(f"{name} {count / total:.0%}" for name, count in ranked)


def _taken_for(place: int, counts: tuple[int, ...], classes: tuple[str, ...]) -> str:
    """What the points of a class are most often mistaken for."""
    wrong = [0 if other == place else count for other, count in enumerate(counts)]
    return f"{classes[wrong.index(max(wrong))]} ({max(wrong):,})" if any(wrong) else ""


TRAIN = RunVerb(options=SegmentationConfig, execute=_train, out=Path("runs/pointcloud"), recipes="pointcloud")
EVALUATE = Verb(options=EvaluateSegmentationConfig, execute=_evaluate)
PREDICT = Verb(options=PredictSegmentationConfig, execute=_predict)
