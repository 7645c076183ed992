"""SemanticKITTI: 43,552 scans of 22 drives, a class for every point of the first eleven.

"SemanticKITTI: A Dataset for Semantic Scene Understanding of LiDAR Sequences" by Behley et al., ICCV 2019. Its raw
numbers tell moving things from standing ones; the benchmark of single scans does not, and counts 19 classes. What is
none of them (outliers, other structures, other objects) is ignored. The test drives have no public labels:
predictions for them are written here, back in raw numbers, as the benchmark's server takes them.

Shape legend: N points.
"""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from jaxtyping import Int
from torch import Tensor

from multum.core import invalid, write_bytes_atomic
from multum.pointcloud.lidar.label_files import read_labels
from multum.pointcloud.lidar.scan import Scan
from multum.pointcloud.lidar.scan_files import read_points
from multum.pointcloud.lidar.scan_set import ScanSet
from multum.pointcloud.lidar.semantic_kitti_classes import (
    SEMANTIC_KITTI_CLASSES,
    check_learning_map,
    semantic_kitti_classes,
    semantic_kitti_raw,
)

SEMANTIC_KITTI_SPLIT: dict[str, tuple[str, ...]] = {
    "train": ("00", "01", "02", "03", "04", "05", "06", "07", "09", "10"),
    "validation": ("08",),
    "test": ("11", "12", "13", "14", "15", "16", "17", "18", "19", "20", "21"),
}
"""Drives of each part, as published."""

SEMANTIC_KITTI_SOURCE = (
    "get the Velodyne scans (80 GB) from https://www.cvlibs.net/datasets/kitti/eval_odometry.php and the labels from "
    "https://semantic-kitti.org/dataset.html, unpack both into one place, and give the folder that holds sequences/"
)
"""Where a stranger gets the data, as the errors say it."""


def read_semantic_kitti(folder: Path, *, sequences: Sequence[str] | None = None) -> ScanSet:
    """List the scans; they are called after drive and file: "08/000123".

    Where `semantic-kitti.yaml` lies beside the data and PyYAML is installed, its classes are compared with ours.

    Args:
        folder: The folder with `sequences/NN/velodyne/*.bin` and `sequences/NN/labels/*.label`.
        sequences: Which drives; None takes all of the split that are there.

    Returns:
        The scans, each in its published part ("" for a drive that is in none). Scans of the test part have no labels.

    Raises:
        UserError: A folder is missing or empty, a scan has no label file, or the map of classes is another one.
    """
    known = {drive: part for part, drives in SEMANTIC_KITTI_SPLIT.items() for drive in drives}
    root = folder / "sequences"
    if not root.is_dir():
        raise invalid("SemanticKITTI folder", "one with sequences/ in it", str(folder), SEMANTIC_KITTI_SOURCE)
    if (folder / "semantic-kitti.yaml").is_file():
        check_learning_map(folder / "semantic-kitti.yaml")
    wanted = [drive for drive in sorted(known) if (root / drive).is_dir()] if sequences is None else sequences
    names = [name for drive in wanted for name in _names(root / drive, known.get(drive) == "test")]
    return ScanSet(
        names=tuple(names),
        load=partial(_load, root),
        classes=SEMANTIC_KITTI_CLASSES,
        parts=tuple(known.get(name.partition("/")[0], "") for name in names),
        source=SEMANTIC_KITTI_SOURCE,
    )


def write_semantic_kitti_prediction(
    folder: Path, sequence: str, name: str, label_N: Int[Tensor, " N"]
) -> Path:
    """Write predicted classes of a scan in the form in which the benchmark's server takes them.

    Args:
        folder: The folder of predictions; pack `sequences/` in it for the server.
        sequence: The drive, two digits.
        name: The scan within the drive, "000123".
        label_N: Index into `SEMANTIC_KITTI_CLASSES` for each point of the scan's file, in its order; or IGNORED.

    Returns:
        The file, `sequences/NN/predictions/NAME.label`: uint32 raw numbers. It is there whole, or not at all.

    Raises:
        UserError: A name cannot be one, a class does not exist, or the file cannot be written.
    """
    if not re.fullmatch(r"[0-9]{2}", sequence):
        raise invalid("sequence", "two digits", sequence)
    if not re.fullmatch(r"[0-9]+", name):
        raise invalid("name", "the digits of a scan's file, without its ending", name)
    path = folder / "sequences" / sequence / "predictions" / f"{name}.label"
    write_bytes_atomic(path, semantic_kitti_raw(label_N.cpu()).numpy().astype("<u4").tobytes())
    return path


def _names(drive: Path, is_test: bool) -> list[str]:
    """Names of a drive's scans; whoever learns or judges must have a label file for each."""
    scans = {path.stem for path in (drive / "velodyne").glob("[!.]*.bin")}
    if not scans:
        raise invalid(f"drive {drive}", "one with velodyne/*.bin in it", "none there", SEMANTIC_KITTI_SOURCE)
    labels = {path.stem for path in (drive / "labels").glob("[!.]*.label")}
    missing = sorted(scans - labels)
    if missing and (labels or not is_test):
        found = f"{len(missing)} of {len(scans)} without, {missing[0]} the first"
        raise invalid(f"scans of drive {drive}", "labelled, every one", found, SEMANTIC_KITTI_SOURCE)
    return [f"{drive.name}/{name}" for name in sorted(scans)]


def _load(root: Path, name: str) -> Scan:
    drive, _, stem = name.partition("/")
    path = root / drive / "labels" / f"{stem}.label"
    label_N = semantic_kitti_classes(read_labels(path)) if path.exists() else None
    return read_points(root / drive / "velodyne" / f"{stem}.bin", label_N=label_N, name=name)
