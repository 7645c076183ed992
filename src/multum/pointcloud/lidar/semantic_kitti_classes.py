"""SemanticKITTI's raw numbers and the 19 classes that its benchmark of single scans counts.

Raw numbers tell moving things from standing ones, and a lane marking from the road; the benchmark does not. What is in
none of the classes (outliers, other structures, other objects) is ignored.

Shape legend: N points.
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from multum.core import MissingExtraError, invalid, read_text, require_module, warn_once
from multum.pointcloud.lidar.scan import IGNORED
from multum.pointcloud.lidar.scan_set import check_labels

SEMANTIC_KITTI_RAW: dict[str, tuple[int, ...]] = {
    "car": (10, 252),
    "bicycle": (11,),
    "motorcycle": (15,),
    "truck": (18, 258),
    "other-vehicle": (20, 13, 16, 256, 257, 259),
    "person": (30, 254),
    "bicyclist": (31, 253),
    "motorcyclist": (32, 255),
    "road": (40, 60),
    "parking": (44,),
    "sidewalk": (48,),
    "other-ground": (49,),
    "building": (50,),
    "fence": (51,),
    "vegetation": (70,),
    "trunk": (71,),
    "terrain": (72,),
    "pole": (80,),
    "traffic-sign": (81,),
}
"""Raw numbers of each class; the first one stands for it in predictions."""

SEMANTIC_KITTI_CLASSES = tuple(SEMANTIC_KITTI_RAW)
"""The 19 classes, in the benchmark's order."""

LARGEST_RAW = 259
"""The largest raw number that the data set uses."""


def semantic_kitti_classes(raw_N: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
    """Classes of raw numbers.

    Args:
        raw_N: Lower 16 bits of what a label file holds.

    Returns:
        Index into `SEMANTIC_KITTI_CLASSES`, or IGNORED.

    Raises:
        UserError: A number is above `LARGEST_RAW`, or negative.

    Example:
        >>> semantic_kitti_classes(torch.tensor([0, 10, 252, 81]))
        tensor([-1,  0,  0, 18])
    """
    bad = raw_N[(raw_N < 0) | (raw_N > LARGEST_RAW)]
    if len(bad):
        remedy = "is this a label file of SemanticKITTI?"
        raise invalid("raw labels", f"in [0, {LARGEST_RAW}]", sorted(set(bad.tolist()))[:5], remedy)
    table = torch.full((LARGEST_RAW + 1,), IGNORED)
    for label, raw in enumerate(SEMANTIC_KITTI_RAW.values()):
        table[list(raw)] = label
    return table[raw_N]


def semantic_kitti_raw(label_N: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
    """Raw numbers of classes, as the benchmark's server wants them.

    Args:
        label_N: Index into `SEMANTIC_KITTI_CLASSES`, or IGNORED.

    Returns:
        The number of the standing kind, or 0 for IGNORED.

    Raises:
        UserError: There is no such class.

    Example:
        >>> semantic_kitti_raw(torch.tensor([-1, 0, 4, 18]))
        tensor([ 0, 10, 20, 81])
    """
    check_labels("predicted labels", label_N, len(SEMANTIC_KITTI_CLASSES))
    # the last entry is that of IGNORED, which is -1
    table = torch.tensor([*(raw[0] for raw in SEMANTIC_KITTI_RAW.values()), 0])
    return table[label_N]


def check_learning_map(path: Path) -> None:
    """Refuse a data set whose own description maps raw numbers otherwise: its results would not compare.

    Args:
        path: Its `semantic-kitti.yaml`; without PyYAML it is not looked at, and a warning says so.

    Raises:
        UserError: Not readable, no such file, or another map.
    """
    try:
        yaml: Any = require_module("yaml", "pointcloud")
    except MissingExtraError as missing:
        warn_once(f"{path} was not compared with our map of classes: {missing}", stacklevel=4)
        return
    try:
        told = yaml.safe_load(read_text(path))["learning_map"]
        theirs = {int(raw): int(label) - 1 for raw, label in told.items()}  # 0 is "unlabeled" there
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as problem:
        raise invalid(f"file {path}", "YAML with a learning_map of numbers", str(problem)) from problem
    of_raw = {raw: label for label, numbers in enumerate(SEMANTIC_KITTI_RAW.values()) for raw in numbers}
    both = sorted({*theirs, *of_raw})
    other = [raw for raw in both if theirs.get(raw, IGNORED) != of_raw.get(raw, IGNORED)]
    if other:
        remedy = "results would not compare; take the file of the data set's own release"
        raise invalid(
            f"learning_map of {path}", "the published one of 19 classes", f"others for {other}", remedy
        )
