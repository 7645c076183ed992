"""`multum transfer predict`, as a plain function: what a trained network takes pictures for, and how sure it is.

Shape legend: B pictures of a batch, K classes.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from multum.core import (
    MissingExtraError,
    UserError,
    check_fields,
    invalid,
    say,
    to_dict,
    track,
    write_json_atomic,
    write_text_atomic,
)
from multum.data import check_picture, read_picture
from multum.data.folder_entries import visible_entries
from multum.data.image_batches import shrink
from multum.data.image_folder import SUFFIXES, UNREADABLE_SUFFIXES
from multum.transfer.train_data import SHRUNK
from multum.transfer.trained_run import TrainedNetwork, load_trained

PREDICTIONS_FILE = "predictions.csv"
"""In the run's folder, where nothing else is said."""

KINDS = (".csv", ".json")
"""Endings of files that predictions are written to."""


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """Tell what a trained network takes pictures for.

    Raises:
        UserError: A value outside its range.
    """

    run: Path
    """Folder of a finished run of `multum transfer train` or `multum transfer add-classes`."""

    pictures: tuple[Path, ...]
    """Picture files, or folders whose pictures are taken, those in folders inside too."""

    out: Path | None = None
    """File for all predictions, .csv or .json; predictions.csv in the run's folder when left alone."""

    most: int = 3
    """So many classes are told for each picture, the likeliest first."""

    batch_size: int = 8
    """Pictures that go through the network at a time."""

    skip_broken: bool = False
    """Leave pictures out that cannot be read, and list them, instead of ending."""

    num_threads: int = 1
    """Threads that torch computes with; at least 1."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("most", "batch_size", "num_threads"):
            if getattr(self, name) < 1:
                raise invalid(name, "at least 1", getattr(self, name))
        if not self.pictures:
            raise invalid("pictures", "one file or folder at least", "none")
        if self.out is not None and self.out.suffix.casefold() not in KINDS:
            raise invalid("out", f"a file that ends in {' or '.join(KINDS)}", str(self.out))


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a network takes one picture for."""

    picture: str
    """The picture's file."""
    classes: tuple[str, ...]
    """The likeliest classes, the likeliest first."""
    confidences: tuple[float, ...]
    """How sure the network is of each, in [0, 1]; over all classes they sum to 1."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What `predict_transfer` reports."""

    path: Path
    """The file that all predictions are in."""
    predictions: tuple[Prediction, ...]
    """In the order of the pictures."""
    skipped: tuple[str, ...] = ()
    """What was left out, a sentence each."""


def predict_transfer(config: PredictConfig) -> Predictions:
    """Tell what a trained network takes pictures for, and write it down.

    Args:
        config: The run, the pictures, and the dials.

    Raises:
        UserError: No finished run, or its backbone is another now; no pictures; or broken ones, the first three named.
        MissingExtraError: Pillow is not installed.
    """
    torch.set_num_threads(config.num_threads)
    trained = load_trained(config.run)
    paths, notes = find_pictures(config.pictures)
    if not config.skip_broken:
        _refuse_broken([str(problem) for path in paths if (problem := _problem_of(path))], len(paths))
    broken: list[str] = []
    found: list[Prediction] = []
    for names, batch_B3SS in _batches(trained, paths, config.batch_size, broken):
        found += _predictions(trained, names, batch_B3SS, config.most)
    if not config.skip_broken:
        _refuse_broken(broken, len(paths))
    if not found:
        raise invalid("pictures", "one readable at least", "none", "; ".join(broken[:3]))
    skipped = (*notes, *broken)
    for sentence in skipped:
        say(f"left out: {sentence}")
    out = config.out or config.run / PREDICTIONS_FILE
    result = Predictions(path=out, predictions=tuple(found), skipped=skipped)
    write_predictions(result)
    return result


def find_pictures(wanted: Sequence[Path]) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """List picture files, those in folders in the order in which people count.

    Args:
        wanted: Files, which are taken whatever they are called, and folders.

    Returns:
        The files, each once, and what was left out, a sentence each.

    Raises:
        UserError: A file or folder that there is not, or no pictures at all.
    """
    paths: list[Path] = []
    notes: list[str] = []
    for place in wanted:
        if place.is_dir():
            _look_into(place, place, paths, notes)
        elif place.is_file():
            paths.append(place)
        else:
            raise invalid("pictures", "existing files or folders", str(place))
    if not paths:
        where = ", ".join(map(str, wanted))
        raise invalid(f"pictures in {where}", "one at least", "none", "; ".join(notes[:3]))
    return tuple(dict.fromkeys(paths)), tuple(notes)


def write_predictions(result: Predictions) -> None:
    """Write predictions as their file's ending says: a table for spreadsheets, or JSON."""
    if result.path.suffix.casefold() == ".json":
        write_json_atomic(result.path, to_dict(result))
        return
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    ranks = range(1, len(result.predictions[0].classes) + 1)
    ends = ["" if rank == 1 else f"_{rank}" for rank in ranks]
    table.writerow(["picture", *(f"{word}{end}" for end in ends for word in ("class", "confidence"))])
    for it in result.predictions:
        pairs = zip(it.classes, it.confidences, strict=True)
        table.writerow([it.picture, *(cell for name, sure in pairs for cell in (name, f"{sure:.6f}"))])
    write_text_atomic(result.path, text.getvalue())


def _look_into(folder: Path, root: Path, paths: list[Path], notes: list[str]) -> None:
    entries = visible_entries(folder, root)
    notes += entries.notes
    for path in entries.files:
        if path.suffix.casefold() in SUFFIXES | UNREADABLE_SUFFIXES:
            paths.append(path)
        else:
            notes.append(f"{path}: no picture, by its name")
    for inside in entries.folders:
        _look_into(inside, root, paths, notes)


def _problem_of(path: Path) -> UserError | None:
    """What is wrong with a picture, as far as its header tells: so most of it is found before anything is computed."""
    try:
        check_picture(path)
    except MissingExtraError:
        raise
    except UserError as problem:
        return problem
    return None


def _refuse_broken(broken: Sequence[str], number: int) -> None:
    if broken:
        told = "; ".join(broken[:3])
        remedy = f"{told}; repair or remove them, or leave them out with skip_broken"
        raise invalid("pictures", "readable, every one", f"{len(broken)} broken of {number}", remedy)


def _batches(
    trained: TrainedNetwork, paths: Sequence[Path], size: int, broken: list[str]
) -> Iterator[tuple[list[str], Tensor]]:
    """Decode pictures, and hand them on in batches with their names; what is broken is noted and left out."""
    names: list[str] = []
    ready: list[Tensor] = []
    frame = trained.frame
    for path in track(paths, "reading pictures"):
        try:
            picture_3HW = shrink(read_picture(path), round(frame.side * SHRUNK))
        except MissingExtraError:
            raise
        except UserError as problem:
            broken.append(str(problem))
            continue
        names.append(path.as_posix())
        ready.append(frame(picture_3HW))
        if len(ready) == size:
            yield names, torch.stack(ready)
            names, ready = [], []
    if ready:
        yield names, torch.stack(ready)


@torch.no_grad()
def _predictions(
    trained: TrainedNetwork, names: Sequence[str], batch_B3SS: Tensor, most: int
) -> Iterator[Prediction]:
    """Ask the network; of classes that are equally likely the first comes first."""
    model, classes = trained.network.model, trained.run.classes
    like = next(model.parameters())
    sure_BK = model(batch_B3SS.to(device=like.device, dtype=like.dtype)).float().softmax(dim=1).cpu()
    order_BK = sure_BK.argsort(dim=1, descending=True, stable=True)[:, :most]
    for name, sure_K, order_K in zip(names, sure_BK, order_BK, strict=True):
        yield Prediction(
            picture=name,
            classes=tuple(classes[place] for place in order_K.tolist()),
            confidences=tuple(sure_K[order_K].tolist()),
        )
