"""From the folder of a run of `multum transfer train` to its page: `multum transfer report`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from multum.core import MissingExtraError, UserError, read_json, to_dict
from multum.core.run import RUN_FILE
from multum.data import read_digits, read_picture
from multum.data.digits import NUM_DIGITS
from multum.data.image_batches import shrink
from multum.report.number_text import format_percent
from multum.report.picture_grid import Thumbnail, picture_data
from multum.report.transfer_page import transfer_page
from multum.report.transfer_results import EpochRow, MemoryStory, TransferStory
from multum.training import METRICS_FILE, read_metrics
from multum.transfer import Mistake, TransferConfig
from multum.transfer.train_command import ADAPTED_FILE, read_run

REPORT_FILE = "report.html"

MOST_THUMBNAILS = 24
"""Mistakes that are shown as pictures, the surest."""

THUMBNAIL_SIDE, DIGIT_SIDE = 168, 96
"""Pixels of a thumbnail's shorter side, of a photograph and of a digit of 8 x 8."""


@dataclass(frozen=True, kw_only=True)
class TransferReportConfig:
    """Draw the report of a training again."""

    run: Path
    """Folder of a finished run of `multum transfer train`."""


def write_transfer_report(folder: Path, *, memory: MemoryStory | None = None) -> Path:
    """Write the page of a finished run into its folder.

    Args:
        folder: The run's.
        memory: What a step of it takes; the page has no such part when left out.

    Returns:
        The page's place.

    Raises:
        UserError: No finished run of a transfer lies there.
        MissingExtraError: What draws a page is not installed.
    """
    config, result = read_run(folder)
    adapted = folder / ADAPTED_FILE
    story = TransferStory(
        result=result,
        epochs=read_epochs(folder),
        memory=memory,
        adapted_bytes=adapted.stat().st_size if adapted.is_file() else None,
    )
    told = {**to_dict(config), "data": Path(config.data).name}  # a page names no folder of this machine
    wished = {name: value for name, value in told.items() if value is not None}
    thumbnails = mistake_thumbnails(config, result.test.mistakes[:MOST_THUMBNAILS])
    source = read_json(folder / RUN_FILE)["provenance"]
    return transfer_page(story, thumbnails, wished, source).write(folder / REPORT_FILE)


def read_epochs(folder: Path) -> tuple[EpochRow, ...]:
    """Read how a training went from its metrics; nothing where the file is gone.

    Args:
        folder: The run's.
    """
    path = folder / METRICS_FILE
    if not path.is_file():
        return ()
    return tuple(
        EpochRow(
            epoch=record["epoch"],
            loss=float(record["loss"]),
            validation_accuracy=record.get("validation_accuracy"),
            validation_loss=record.get("validation_loss"),
        )
        for record in read_metrics(path)
    )


def mistake_thumbnails(config: TransferConfig, mistakes: Sequence[Mistake]) -> list[Thumbnail]:
    """Make small copies of the pictures that were mistaken, as far as they are still there.

    Args:
        config: What the training was told, for where its pictures lie.
        mistakes: In the order in which they are shown.
    """
    return [
        Thumbnail(
            label=f"{it.is_class}, taken for {it.taken_for}",
            note=f"{format_percent(it.confidence)} sure",
            name=it.picture,
            data=data,
        )
        for it, data in zip(mistakes, _pictures(config, mistakes), strict=True)
    ]


def _pictures(config: TransferConfig, mistakes: Sequence[Mistake]) -> list[str | None]:
    if not isinstance(config.data, Path):
        return _digits(mistakes)
    found: list[str | None] = []
    for it in mistakes:
        try:
            found.append(picture_data(shrink(read_picture(config.data / it.picture), THUMBNAIL_SIDE)))
        except UserError:  # moved, deleted, or nothing here reads it
            found.append(None)
    return found


def _digits(mistakes: Sequence[Mistake]) -> list[str | None]:
    """Digits are called by their number; one of another name is not theirs."""
    numbers = [it.picture.removeprefix("digit ") for it in mistakes]
    try:
        pictures_N3SS = read_digits(DIGIT_SIDE).pictures_N3SS
        return [
            picture_data(pictures_N3SS[int(it)]) if it.isdecimal() and int(it) < NUM_DIGITS else None
            for it in numbers
        ]
    except MissingExtraError:
        return [None] * len(mistakes)
