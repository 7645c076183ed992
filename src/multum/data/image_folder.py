"""A folder of pictures in which each sub-folder is a class: the way in which people sort pictures already.

What cannot be used is found out at the start, and told in one sentence: every file's header is looked at (a fraction
of a millisecond each) before any training begins, since an error on picture 9,000 costs an evening. Nothing is left
out silently: what is no picture is listed in `ImageFolder.skipped`, with the reason.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from multum.core.errors import UserError, invalid
from multum.data.folder_entries import Entries, visible_entries
from multum.data.folder_layout import LAYOUT, find_parts, settle_classes
from multum.data.picture_file import check_picture

SUFFIXES = frozenset(
    [
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
        *(".webp", ".avif", ".ppm", ".pgm", ".pbm", ".jp2", ".tga"),
    ]
)
"""Endings of files that are read; others are listed as skipped."""

UNREADABLE_SUFFIXES = frozenset(
    (".heic", ".heif", ".svg", ".psd", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".eps", ".pdf")
)
"""Endings of pictures that are not decoded here: broken for us, so that they are not overlooked."""


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """The pictures of a folder and their classes; nothing is decoded yet."""

    classes: tuple[str, ...]
    """Names of the classes, sorted as people count: img2 before img10."""
    paths: tuple[Path, ...]
    """The picture files, by part, class and name."""
    labels: tuple[int, ...]
    """Class of each picture, an index into `classes`."""
    parts: tuple[str, ...] = ()
    """"train", "validation" or "test" for each picture; empty where the folder leaves it open."""
    skipped: tuple[str, ...] = ()
    """What was left out, a sentence each."""

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self.paths)


def read_image_folder(
    folder: Path,
    *,
    skip_broken: bool = False,
    classes: Sequence[str] | None = None,
    least_classes: int = 2,
) -> ImageFolder:
    """List the pictures of a folder, and look at the header of each.

    Hidden files and links that lead out of the folder do not count.

    Args:
        folder: One sub-folder for each class; or `train/` and, where there are, `val/` and `test/`, each with one
            sub-folder for each class.
        skip_broken: Whether broken files are left out, and listed, instead of ending it.
        classes: Only these sub-folders, in this order; None takes all.
        least_classes: Refuse fewer.

    Returns:
        The pictures, at least two of each class (one, where the folder itself says what is for testing).

    Raises:
        UserError: No folder, no or too few classes, pictures or tests of an unknown class, or a broken file.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("cat/2.png", "cat/10.png", "dog/1.png", "dog/3.png"):
        ...         (Path(folder) / name).parent.mkdir(exist_ok=True)
        ...         Image.new("RGB", (8, 8)).save(Path(folder) / name)
        ...     found = read_image_folder(Path(folder))
        >>> found.classes, [path.name for path in found.paths], found.labels
        (('cat', 'dog'), ['2.png', '10.png', '1.png', '3.png'], (0, 0, 1, 1))
    """
    if not folder.is_dir():
        raise invalid("picture folder", "an existing folder", str(folder), LAYOUT)
    parts, notes = find_parts(folder)
    inside = {part: visible_entries(place, folder) for part, place in parts.items()}
    names = settle_classes(folder, inside, classes, least_classes)
    pictures, broken, more = _listed(folder, inside, names)
    notes = [*notes, *more]
    if broken and not skip_broken:
        raise _broken_files(folder, broken, len(pictures))
    counts = Counter((label, part) for _, label, part in pictures)
    _check_counts(names, counts, "train" if "train" in inside else "")
    return ImageFolder(
        classes=names,
        paths=tuple(path for path, _, _ in pictures),
        labels=tuple(label for _, label, _ in pictures),
        parts=tuple(part for _, _, part in pictures if part),
        skipped=(*notes, *map(str, broken)),
    )


def _listed(
    folder: Path, inside: Mapping[str, Entries], names: Sequence[str]
) -> tuple[list[tuple[Path, int, str]], list[UserError], list[str]]:
    """Path, class and part of every picture; broken ones; notes about the rest."""
    pictures: list[tuple[Path, int, str]] = []
    broken: list[UserError] = []
    notes: list[str] = []
    for part, entries in inside.items():
        notes += [*entries.notes, *(f"{file}: beside the classes' folders" for file in entries.files)]
        by_name = {place.name: place for place in entries.folders if place.name in names}
        for name in filter(by_name.__contains__, names):
            good, bad, others = _pictures(visible_entries(by_name[name], folder))
            if not (good or bad):
                raise _empty_class(by_name[name], others)
            pictures += [(path, names.index(name), part) for path in good]
            broken += bad
            notes += others
    return pictures, broken, notes


def _empty_class(folder: Path, others: Sequence[str]) -> UserError:
    found = f"none, but {len(others)} other things" if others else "none"
    return invalid(f"class folder {folder}", "one with pictures in it", found, LAYOUT)


def _pictures(entries: Entries) -> tuple[list[Path], list[UserError], list[str]]:
    """Sort what a class folder holds into pictures, broken ones, and notes about the rest."""
    good, bad = [], []
    notes = [*entries.notes, *(f"{place}: a folder inside a class" for place in entries.folders)]
    for path in entries.files:
        suffix = path.suffix.casefold()
        if suffix in UNREADABLE_SUFFIXES:
            bad.append(invalid(f"picture {path}", "JPEG, PNG or the like", suffix, "convert it"))
        elif suffix not in SUFFIXES:
            notes.append(f"{path}: no picture, by its name")
        else:
            try:
                check_picture(path)
                good.append(path)
            except UserError as problem:
                bad.append(problem)
    return good, bad, notes


def _broken_files(folder: Path, broken: list[UserError], num_good: int) -> UserError:
    """Name the first few of the files that cannot be read."""
    told = "; ".join(map(str, broken[:3]))
    remedy = f"{told}; repair or remove them, or read with skip_broken=True to leave them out"
    number = len(broken)
    return invalid(
        f"pictures in {folder}", "readable, every one", f"{number} broken of {number + num_good}", remedy
    )


def _check_counts(names: Sequence[str], count: Counter[tuple[int, str]], part: str) -> None:
    """Refuse a class that no picture is left of, or one alone where it must still be split."""
    least = 1 if part else 2
    for label, name in enumerate(names):
        if count[label, part] < least:
            remedy = (
                "add pictures of it, or take its folder away; what is learned from one is tested on another"
            )
            raise invalid(
                f"class {name}", f"of at least {least} readable pictures", count[label, part], remedy
            )
