"""`multum transfer predict | export | merge | delta | add-classes`: what a trained network is good for."""

from pathlib import Path
from typing import TYPE_CHECKING

from multum.cli.verb import Outcome, RunFolder, RunVerb, Verb
from multum.core.config import to_dict
from multum.transfer.add_classes_command import AddClassesConfig, add_classes
from multum.transfer.add_classes_result import AddClassesResult
from multum.transfer.delta_command import DeltaConfig, DeltaFacts, show_delta
from multum.transfer.export_command import (
    ExportConfig,
    ExportResult,
    MergeConfig,
    MergeResult,
    export_transfer,
    merge_transfer,
)
from multum.transfer.predict_command import PredictConfig, Predictions, predict_transfer

if TYPE_CHECKING:
    from rich.console import RenderableType

MOST_TOLD = 20
"""So many predictions are told; all are in the file."""


def _predict(config: PredictConfig) -> Outcome:
    found = predict_transfer(config)
    return Outcome(result=to_dict(found), text=predictions_text(found))


def _export(config: ExportConfig) -> Outcome:
    done = export_transfer(config)
    return Outcome(result=to_dict(done), text=exported_text(done))


def _merge(config: MergeConfig) -> Outcome:
    done = merge_transfer(config)
    return Outcome(result=to_dict(done), text=merged_text(done))


def _delta(config: DeltaConfig) -> Outcome:
    facts = show_delta(config)
    return Outcome(result=to_dict(facts), text=delta_text(facts))


def _add_classes(config: AddClassesConfig, folder: RunFolder) -> Outcome:
    result = add_classes(config, folder.out, resume=folder.resume, overwrite=folder.overwrite)
    return Outcome(result=to_dict(result), text=added_text(result, folder.out))


def predictions_text(found: Predictions) -> "RenderableType":
    """Tell the first predictions, and where all of them are.

    Args:
        found: What `predict_transfer` reports.
    """
    from rich.console import Group

    from multum.cost.table import rich_table

    shown = found.predictions[:MOST_TOLD]
    rows = [
        (it.picture, it.classes[0], f"{it.confidences[0]:.1%}", _others(it.classes, it.confidences))
        for it in shown
    ]
    more = len(found.predictions) - len(shown)
    notes = [f"and {more} more"] if more else []
    skipped = [f"{len(found.skipped)} left out"] if found.skipped else []
    table = rich_table(("Picture", "Class", "Sure", "Else"), rows)
    return Group(table, *notes, *skipped, f"wrote {found.path}")


def exported_text(done: ExportResult) -> str:
    """Tell what was written for other programs, and how far off it is.

    Args:
        done: What `export_transfer` reports.
    """
    lines = [
        f"wrote {done.path} ({done.num_bytes / 1e6:.1f} MB)",
        f"run again by {done.checked_by}: outputs off by {done.difference:.1e} of the largest at most",
    ]
    if done.merge_difference is not None:
        lines.append(f"norms folded: outputs off by {done.merge_difference:.1e} of the largest at most")
    return "\n".join([*lines, f"classes, size and scaling: {done.about}"])


def merged_text(done: MergeResult) -> str:
    """Tell what was folded, and what is left.

    Args:
        done: What `merge_transfer` reports.
    """
    kept = f"; as layers of their own stay {', '.join(done.remaining)}" if done.remaining else ""
    return "\n".join(
        [
            f"{len(done.folded)} norms folded into the convolutions before them{kept}",
            f"before: {done.num_before:,} numbers, {done.bytes_before / 1e6:.2f} MB",
            f"after:  {done.num_after:,} numbers, {done.bytes_after / 1e6:.2f} MB",
            f"outputs off by {done.difference:.1e} of the largest at most",
            f"wrote {done.path}",
        ]
    )


def delta_text(facts: DeltaFacts) -> "RenderableType":
    """Tell what a delta holds.

    Args:
        facts: What `show_delta` reports.
    """
    from rich.console import Group

    from multum.cost.table import rich_table

    rows = [(it.kind, str(it.num_tensors), f"{it.num_numbers:,}", f"{it.num_bytes:,}") for it in facts.kinds]
    name = f"{facts.backbone_name}, " if facts.backbone_name else ""
    classes = (
        "nobody has said" if facts.classes is None else f"{len(facts.classes)}: {', '.join(facts.classes)}"
    )
    lines = [
        f"{facts.path}: {facts.num_bytes:,} bytes in {facts.precision}",
        f"backbone: {name}{facts.backbone[:12]}",
        f"mode: {facts.mode}, {facts.num_lite} lite residuals" if facts.num_lite else f"mode: {facts.mode}",
        f"classes: {classes}",
    ]
    if facts.copy is None:
        copied = []
    else:
        size = f"{facts.copy.num_bytes:,} bytes in {facts.copy.precision}"
        error = f"numbers off by {facts.copy.largest_error:.1e} of their tensor's largest at most"
        copied = [f"wrote {facts.copy.path}: {size}, {error}"]
    return Group(*lines, rich_table(("Tensors", "Number", "Numbers", "Bytes"), rows), *copied)


def added_text(result: AddClassesResult, folder: Path) -> "RenderableType":
    """Tell what adding classes came to, for old ones and new ones.

    Args:
        result: What `add_classes` reports.
        folder: Where the new run lies.
    """
    from rich.console import Group

    from multum.cost.table import rich_table

    judged = [
        ("old classes, by the run's own classifier", result.old_before),
        ("old classes, by their means", result.old_as_means),
        ("old classes, with the new ones added", result.old_after),
        ("new classes", result.new),
    ]
    rows = [
        (name, "-", "not there")
        if found is None
        else (name, str(found.num_pictures), f"{found.accuracy:.1%}")
        for name, found in judged
    ]
    learned = (
        f"{', '.join(result.added)} added: {result.num_new} pictures to learn from, beside the means of "
        f"{result.num_old}; {len(result.classes)} classes now"
    )
    return Group(learned, rich_table(("Test pictures", "Number", "Known"), rows), f"wrote {folder}")


def _others(classes: tuple[str, ...], confidences: tuple[float, ...]) -> str:
    pairs = list(zip(classes, confidences, strict=True))[1:]
    return ", ".join(f"{name} {sure:.1%}" for name, sure in pairs)


PREDICT = Verb(options=PredictConfig, execute=_predict)
EXPORT = Verb(options=ExportConfig, execute=_export)
MERGE = Verb(options=MergeConfig, execute=_merge)
DELTA = Verb(options=DeltaConfig, execute=_delta)
ADD_CLASSES = RunVerb(options=AddClassesConfig, execute=_add_classes, out=Path("runs/more-classes"))
