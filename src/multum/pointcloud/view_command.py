"""`multum pointcloud view`: find a scan, its labels and predictions of them, whoever wrote the files.

A scan is a file of points, a folder of them, a frame or a drive of PandaSet, the folder of SemanticKITTI, or a
synthetic street. What a number in a label file means depends on who wrote it: where the user names no classes, `.label`
files hold SemanticKITTI's raw numbers; otherwise numbers count from 0 in the order of the classes.

Shape legend: N points.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from multum.core import check_fields, invalid
from multum.pointcloud.lidar import (
    IGNORED,
    SEMANTIC_KITTI_CLASSES,
    Scan,
    ScanSet,
    SyntheticStreets,
    read_labels,
    read_pandaset,
    read_points,
    read_scan_folder,
    read_semantic_kitti,
    semantic_kitti_classes,
)
from multum.pointcloud.lidar.scan_set import check_labels

ScanWish = Literal["synthetic"] | Path
"""Where a scan comes from."""


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """Look at a scan, what is known of it, and what a network made of it.

    Raises:
        UserError: A value outside its range.
    """

    scan: ScanWish
    """A file (.bin, .npy, .ply, .las, .laz; .npz of PandaSet), a folder of them, the folder of SemanticKITTI, or the
    word synthetic. A folder of that name is given by its whole path."""

    index: int = 0
    """Which scan of the folder, or which synthetic street, counted from 0."""

    labels: Path | None = None
    """Labels of this scan, in place of those beside it: .label of SemanticKITTI, or .npy."""

    predictions: tuple[Path, ...] = ()
    """Predicted labels of this scan, in the order in which they are shown: .label of SemanticKITTI, or .npy."""

    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of their numbers in the label files; known for synthetic streets, PandaSet
    and SemanticKITTI."""

    ignored_label: int | None = None
    """Number in the label files that stands for no class, beside -1; not for SemanticKITTI's raw numbers."""

    coarse: bool = False
    """Whether frames of PandaSet get 15 classes instead of 42."""

    num_columns: int | None = None
    """Numbers for each point of a .bin file; 4, or 5 for .pcd.bin, when left alone."""

    seed: int = 0
    """Of the synthetic world."""

    rerun: bool = False
    """Whether to write a recording for the viewer of Rerun, too."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.index < 0:
            raise invalid("index", "0 or more", self.index)
        if len(set(self.classes)) < len(self.classes):
            raise invalid("classes", "different from one another", self.classes)
        if self.seed and self.scan != "synthetic":
            raise invalid("seed", "left out where the scan is not synthetic", self.seed)
        if self.scan == "synthetic" and (self.num_columns is not None or self.coarse):
            raise invalid("num_columns and coarse", "left out where the scan is synthetic", self.scan)


@dataclass(frozen=True, kw_only=True)
class LabelledScan:
    """A scan and what is told of its points."""

    scan: Scan
    """Points; labels and boxes where there are any."""
    classes: tuple[str, ...]
    """Names of the classes; empty where nothing is told."""
    box_classes: tuple[str, ...]
    """Names of the classes of boxes; empty where there are none."""
    predictions: Mapping[str, Tensor]
    """Predicted labels by what they are called."""


def find_scan(config: ViewConfig) -> LabelledScan:
    """Read what the configuration asks for.

    Args:
        config: The wish.

    Returns:
        The scan with all labellings, each in the order of the classes.

    Raises:
        UserError: A file is missing or broken, there is no such scan, labels are not one for each point or no classes.
    """
    scans = _scans(config)
    if config.index >= len(scans):
        raise invalid("index", f"below {len(scans)}, the number of scans in {config.scan}", config.index)
    scan = scans.read(config.index)
    is_own = bool(config.classes) or bool(scans.classes)
    files = [*([config.labels] if config.labels is not None else []), *config.predictions]
    if files and not is_own and any(path.suffix.casefold() != ".label" for path in files):
        remedy = "only .label files have known ones, SemanticKITTI's"
        raise invalid("classes", "the names of the labels' classes", config.classes, remedy)
    # SemanticKITTI's own scans have classes, and yet its label files hold raw numbers
    is_raw = not is_own or (scans.classes == SEMANTIC_KITTI_CLASSES and not config.classes)
    if is_raw and config.ignored_label is not None:
        raise invalid("ignored_label", "left out with SemanticKITTI's raw numbers", config.ignored_label)
    classes = config.classes or scans.classes or (SEMANTIC_KITTI_CLASSES if files else ())
    if config.labels is not None:
        scan = replace(scan, label_N=_labels(config.labels, len(scan), classes, is_raw, config.ignored_label))
    names = prediction_names(config.predictions)
    told = {
        name: _labels(path, len(scan), classes, is_raw, config.ignored_label)
        for name, path in zip(names, config.predictions, strict=True)
    }
    return LabelledScan(
        scan=scan,
        classes=classes if told or scan.label_N is not None else (),
        box_classes=tuple(scans.object_classes) if isinstance(scans, SyntheticStreets) else scans.box_classes,
        predictions=told,
    )


def prediction_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """Call predictions after their files; where two are called alike, after the folders in which those lie.

    Args:
        paths: The files.

    Returns:
        A name for each, no two alike.

    Raises:
        UserError: Neither tells them apart.

    >>> prediction_names([Path("before/000123.label"), Path("after/000123.label")])
    ('before', 'after')
    """
    stems = tuple(path.name.removesuffix(path.suffix) for path in paths)
    folders = tuple(path.absolute().parent.name for path in paths)
    for names in (stems, folders, tuple(f"{one}/{two}" for one, two in zip(folders, stems, strict=True))):
        if len(set(names)) == len(names) and "truth" not in names:
            return names
    raise invalid("predictions", "files of different names", [str(path) for path in paths], "rename one")


def _scans(config: ViewConfig) -> ScanSet | SyntheticStreets:
    if not isinstance(config.scan, Path):
        _refuse_classes(config, "of synthetic streets")
        return SyntheticStreets(num_scans=config.index + 1, seed=config.seed)
    path = config.scan
    frames = path.suffix.casefold() == ".npz" or (path.is_dir() and any(path.glob("[!.]*.npz")))
    if config.coarse and not frames:
        raise invalid("coarse", "left out where the scan is not of PandaSet", config.coarse)
    if frames:
        _refuse_classes(config, "of PandaSet")
        drive = read_pandaset(path if path.is_dir() else path.parent, coarse=config.coarse)
        return drive if path.is_dir() else drive.select([path.stem])
    if (path / "sequences").is_dir():
        _refuse_classes(config, "of SemanticKITTI")
        return read_semantic_kitti(path)
    if path.is_dir():
        columns, ignored = config.num_columns, config.ignored_label
        return read_scan_folder(path, classes=config.classes, ignored_label=ignored, num_columns=columns)
    return ScanSet(names=(path.name,), load=lambda _: read_points(path, num_columns=config.num_columns))


def _refuse_classes(config: ViewConfig, whose: str) -> None:
    if config.classes:
        raise invalid("classes", f"left out, for those {whose} are known", config.classes)


def _labels(
    path: Path, num_points: int, classes: Sequence[str], is_raw: bool, ignored_label: int | None
) -> Int[Tensor, " N"]:
    number_N = read_labels(path)
    if len(number_N) != num_points:
        raise invalid(f"labels in {path}", f"{num_points}, one for each point", len(number_N))
    if is_raw and path.suffix.casefold() == ".label":
        return semantic_kitti_classes(number_N)
    if ignored_label is not None:
        number_N = torch.where(number_N == ignored_label, IGNORED, number_N)
    check_labels(f"labels in {path}", number_N, len(classes))
    return number_N
