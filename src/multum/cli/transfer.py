"""`multum transfer train DATA`, `report RUN` and `evaluate RUN DATA`: a network learns classes of the user's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from multum.cli.verb import Outcome, RunFolder, RunVerb, Verb
from multum.core.config import to_dict
from multum.core.errors import MissingExtraError
from multum.core.progress import say
from multum.report.transfer_run import TransferReportConfig, write_transfer_report
from multum.transfer import (
    EvaluateTransferConfig,
    Judgement,
    TransferConfig,
    TransferResult,
    evaluate_transfer,
    train_transfer,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

MOST_MISTAKES = 5
"""So many mistakes are told, the surest."""


def _train(config: TransferConfig, folder: RunFolder) -> Outcome:
    result = train_transfer(config, folder.out, resume=folder.resume, overwrite=folder.overwrite)
    try:
        say(f"the report: {write_transfer_report(folder.out)}")
    except MissingExtraError as missing:  # the training is done and kept all the same
        say(f"no report: {missing}")
    return Outcome(result=to_dict(result), text=trained_text(result, folder.out))


def _report(config: TransferReportConfig) -> Outcome:
    report = write_transfer_report(config.run)
    return Outcome(result={"report": str(report)}, text=f"report: {report}")


def _evaluate(config: EvaluateTransferConfig) -> Outcome:
    found = evaluate_transfer(config)
    return Outcome(result=to_dict(found), text=judgement_text(found))


def trained_text(result: TransferResult, folder: Path) -> "RenderableType":
    """Tell what a training came to.

    Args:
        result: What `train_transfer` found.
        folder: Where the run lies.
    """
    from rich.console import Group

    chosen = ""
    if result.validation_accuracy is not None:
        chosen = f", {result.validation_accuracy:.1%} on {result.num_validation} pictures to choose by"
    early = ", stopped early" if result.stopped_early else ""
    trained = (
        f"{result.backbone} at {result.side} px, {result.mode}: {result.num_trained:,} numbers trained, "
        f"{result.num_frozen:,} frozen"
    )
    learned = (
        f"{result.num_train} pictures of {len(result.classes)} classes, {result.num_epochs} epochs{early}; "
        f"best: epoch {result.best_epoch}{chosen}"
    )
    return Group(trained, learned, "", judgement_text(result.test), f"wrote {folder}")


def judgement_text(found: Judgement) -> "RenderableType":
    """Tell how good a network is, class by class.

    Args:
        found: What was measured.
    """
    from rich.console import Group

    from multum.cost.table import rich_table

    title = f"{found.accuracy:.1%} of {found.num_pictures} pictures known"
    rows = [
        (
            name,
            str(sum(counts)),
            f"{found.class_accuracy[name]:.1%}",
            _taken_for(place, counts, found.classes),
        )
        for place, (name, counts) in enumerate(zip(found.classes, found.confusion, strict=True))
        if sum(counts)
    ]
    mistakes = [
        f"{it.picture}: {it.is_class}, taken for {it.taken_for} ({it.confidence:.0%} sure)"
        for it in found.mistakes[:MOST_MISTAKES]
    ]
    return Group(rich_table(("Class", "Pictures", "Known", "Else most often"), rows, title=title), *mistakes)


def _taken_for(place: int, counts: Sequence[int], classes: Sequence[str]) -> str:
    """What the pictures of a class are most often mistaken for."""
    wrong = [0 if other == place else count for other, count in enumerate(counts)]
    return f"{classes[wrong.index(max(wrong))]} ({max(wrong)})" if any(wrong) else ""


TRAIN = RunVerb(options=TransferConfig, execute=_train, out=Path("runs/transfer"), recipes="transfer")
REPORT = Verb(options=TransferReportConfig, execute=_report)
EVALUATE = Verb(options=EvaluateTransferConfig, execute=_evaluate)
