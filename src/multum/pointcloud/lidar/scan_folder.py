"""A folder of one's own scans, with or without labels beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from multum.core import invalid
from multum.data.folder_entries import visible_entries
from multum.pointcloud.lidar.label_files import read_labels
from multum.pointcloud.lidar.scan import IGNORED, Scan
from multum.pointcloud.lidar.scan_files import read_points
from multum.pointcloud.lidar.scan_set import ScanSet

SCAN_SUFFIXES = (".pcd.bin", ".bin", ".npy", ".ply", ".las", ".laz")
"""Endings of files that are scans; other files do not count."""

LABEL_SUFFIXES = (".label", ".label.npy")
"""Endings of a scan's labels, in place of its own: numbers from 0 in the order of the classes."""

_LAYOUT = f"put scans ({', '.join(SCAN_SUFFIXES)}) into it, and labels beside: NAME.label (uint32) or NAME.label.npy"


@dataclass(frozen=True)
class _How:
    """What the user told about the files."""

    ignored_label: int | None
    num_columns: int | None
    drop_bad: bool
    shift: tuple[float, float, float] | Literal["middle"]


def read_scan_folder(
    folder: Path,
    *,
    classes: Sequence[str] = (),
    ignored_label: int | None = None,
    num_columns: int | None = None,
    drop_bad: bool = False,
    shift: tuple[float, float, float] | Literal["middle"] = (0.0, 0.0, 0.0),
) -> ScanSet:
    """List the scans of a folder, as people count: scan2 before scan10. Sub-folders and hidden files do not count.

    Args:
        folder: The folder of files with one of `SCAN_SUFFIXES`; labels, of all scans or of none, lie beside them with
            one of `LABEL_SUFFIXES`.
        classes: Names of the labels' classes, in the order of their numbers; needed where there are labels.
        ignored_label: Number in the files that stands for no class, beside -1.
        num_columns: As for `read_points`; for `.bin` files only.
        drop_bad: As for `read_points`.
        shift: As for `read_points`.

    Returns:
        The scans, called after their files without the ending.

    Raises:
        UserError: The folder is missing or without scans, two scans have one name, only some are labelled, or labels
            have no classes.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder) / "street.npy", np.zeros((3, 4), dtype=np.float32))
        ...     np.save(Path(folder) / "street.label.npy", np.array([0, 1, 255]))
        ...     scans = read_scan_folder(Path(folder), classes=("road", "car"), ignored_label=255)
        ...     scans.names, scans.read(0).label_N
        (('street',), tensor([ 0,  1, -1]))
    """
    if not folder.is_dir():
        raise invalid("scan folder", "an existing folder", str(folder), _LAYOUT)
    scans = _scans(folder)
    labels = {name: _labels_beside(folder, name) for name in scans}
    missing = [name for name, path in labels.items() if path is None]
    if missing and len(missing) < len(labels):
        told = f"{len(missing)} of {len(labels)} without, {missing[0]} the first"
        raise invalid(f"scans in {folder}", "labelled, all or none", told, _LAYOUT)
    if not missing and not classes:
        raise invalid("classes", "the names of the labels' classes", tuple(classes), f"{folder} has labels")
    how = _How(ignored_label, num_columns, drop_bad, shift)
    return ScanSet(
        names=tuple(scans),
        load=partial(_load, scans, labels, how),
        classes=() if missing else tuple(classes),
        source=_LAYOUT,
    )


def _scans(folder: Path) -> dict[str, Path]:
    """Files of the scans by name; what is labels by its ending is none."""
    found: dict[str, Path] = {}
    for path in visible_entries(folder, folder).files:
        lower = path.name.casefold()
        suffix = next((suffix for suffix in SCAN_SUFFIXES if lower.endswith(suffix)), None)
        if suffix is None or lower.endswith(LABEL_SUFFIXES):
            continue
        name = path.name[: -len(suffix)]
        if name in found:
            both = f"{found[name].name} and {path.name}"
            raise invalid(f"scans in {folder}", "of different names", both, f"or rename one; {_LAYOUT}")
        found[name] = path
    if not found:
        raise invalid("scan folder", "one with scans in it", str(folder), _LAYOUT)
    return found


def _labels_beside(folder: Path, name: str) -> Path | None:
    found = [path for suffix in LABEL_SUFFIXES if (path := folder / f"{name}{suffix}").is_file()]
    if len(found) > 1:
        raise invalid(f"labels of scan {name!r}", "one file", [path.name for path in found], "remove one")
    return found[0] if found else None


def _load(scans: dict[str, Path], labels: dict[str, Path | None], how: _How, name: str) -> Scan:
    label_N, path = None, labels[name]
    if path is not None:
        number_N = read_labels(path)
        if how.ignored_label is not None:
            number_N[number_N == how.ignored_label] = IGNORED
        label_N = number_N
    return read_points(
        scans[name],
        label_N=label_N,
        # a folder may hold files of several kinds, of which only .bin has to be told
        num_columns=how.num_columns if scans[name].suffix.casefold() == ".bin" else None,
        drop_bad=how.drop_bad,
        shift=how.shift,
        name=name,
    )
