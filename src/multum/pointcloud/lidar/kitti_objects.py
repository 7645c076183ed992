"""Objects of KITTI's detection data, brought from the camera's frame to the scanner's, and how hard each is to find.

Shape legend: K objects; the 4 of a picture's box are left, top, right, bottom.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from multum.core import invalid, read_text
from multum.pointcloud.lidar.kitti_calibration import KittiCalibration
from multum.pointcloud.lidar.scan import IGNORED, Boxes

KITTI_CLASSES = ("Car", "Pedestrian", "Cyclist")
"""The classes that the benchmark counts, in the order of labels here."""

KITTI_DIFFICULTIES = ("easy", "moderate", "hard")
"""The benchmark's levels; each holds those before it."""

MIN_HEIGHT_PIXELS = (40.0, 25.0, 25.0)
"""Least height in the picture, for each level."""

MAX_OCCLUSION = (0, 1, 2)
"""Most that may be hidden, for each level: 0 nothing, 1 a part, 2 much; 3, unknown, is in none."""

MAX_TRUNCATION = (0.15, 0.3, 0.5)
"""Largest share outside the picture, for each level."""

_NUM_FIELDS = 15


@dataclass(frozen=True, kw_only=True)
class KittiObjects:
    """What was labelled in a frame; K counts the same objects in every field."""

    boxes: Boxes
    """Boxes in the scanner's frame; label IGNORED for what is none of `KITTI_CLASSES`."""

    kinds: tuple[str, ...]
    """What KITTI calls each object: the judgement forgives a Van that was taken for a Car."""

    difficulty_K: Int[Tensor, " K"]
    """Index of the first of `KITTI_DIFFICULTIES` that it belongs to; IGNORED where it is too small, hidden or cut."""

    image_box_K4: Float[Tensor, "K 4"]
    """Where it is in the picture, in pixels."""


def read_kitti_objects(path: Path, calibration: KittiCalibration) -> KittiObjects:
    """Read the label file of a frame.

    Regions that nobody labelled (DontCare) have no box in space and are left out. Vans, trucks, trams, people who sit
    and other things stay, with the label IGNORED: they are no mistake to find, and no example of what is missing.

    Args:
        path: Text with a line of 15 words for each object; without lines, nothing was there.
        calibration: That of the same frame.

    Returns:
        The objects.

    Raises:
        UserError: Not readable, or a line is no object.
    """
    rows = [
        _parsed(path, number, line)
        for number, line in enumerate(read_text(path).splitlines(), start=1)
        if line.strip()
    ]
    rows = [(kind, numbers) for kind, numbers in rows if kind != "DontCare"]
    kinds = tuple(kind for kind, _ in rows)
    number_KF = torch.tensor([numbers for _, numbers in rows], dtype=torch.float64).reshape(
        -1, _NUM_FIELDS - 1
    )
    truncation_K, occlusion_K, _ = number_KF[:, :3].unbind(dim=1)
    image_box_K4 = number_KF[:, 3:7]
    return KittiObjects(
        boxes=_boxes(kinds, number_KF, calibration),
        kinds=kinds,
        difficulty_K=kitti_difficulty(image_box_K4[:, 3] - image_box_K4[:, 1], occlusion_K, truncation_K),
        image_box_K4=image_box_K4.float(),
    )


def kitti_difficulty(
    height_K: Float[Tensor, " K"], occlusion_K: Float[Tensor, " K"], truncation_K: Float[Tensor, " K"]
) -> Int[Tensor, " K"]:
    """Level of each object, as the benchmark defines them.

    Args:
        height_K: Height of the box in the picture, in pixels.
        occlusion_K: How much is hidden: 0, 1, 2, or 3 for unknown.
        truncation_K: Share outside the picture.

    Returns:
        Index of the first level that it belongs to, or IGNORED.

    Example:
        >>> kitti_difficulty(torch.tensor([60.0, 30, 20]), torch.tensor([0.0, 0, 0]), torch.zeros(3))
        tensor([ 0,  1, -1])
    """
    level_K = torch.full((len(height_K),), IGNORED)
    for level in reversed(range(len(KITTI_DIFFICULTIES))):
        belongs_K = height_K >= MIN_HEIGHT_PIXELS[level]
        belongs_K &= occlusion_K <= MAX_OCCLUSION[level]
        belongs_K &= truncation_K <= MAX_TRUNCATION[level]
        level_K[belongs_K] = level
    return level_K


def _parsed(path: Path, number: int, line: str) -> tuple[str, list[float]]:
    """Kind and numbers of a line, in the order of the file."""
    kind, *words = line.split()
    where = f"line {number} of {path}"
    try:
        numbers = [float(word) for word in words]
    except ValueError as problem:
        raise invalid(where, "a name and 14 numbers", line) from problem
    if len(numbers) != _NUM_FIELDS - 1 or not all(map(math.isfinite, numbers)):
        remedy = "16 words are a file of results, not of labels" if len(words) == _NUM_FIELDS else ""
        raise invalid(where, "a name and 14 numbers", line, remedy)
    if kind != "DontCare" and min(numbers[7:10]) <= 0:
        raise invalid(f"sizes in {where}", "positive", numbers[7:10])
    return kind, numbers


def _boxes(kinds: tuple[str, ...], number_KF: Tensor, calibration: KittiCalibration) -> Boxes:
    """Lift the middle from the ground to half the height (y is down), and turn it all into the scanner's frame."""
    height_K, width_K, length_K = number_KF[:, 7:10].unbind(dim=1)
    centre_K3 = number_KF[:, 10:13].clone()
    centre_K3[:, 1] -= height_K / 2
    turn_K = number_KF[:, 13]  # about y, from x to the right; a turn towards z, ahead, is negative
    ahead_K3 = torch.stack([turn_K.cos(), torch.zeros_like(turn_K), -turn_K.sin()], dim=1)
    heading_K3 = (
        ahead_K3 @ calibration.camera_from_lidar_44[:3, :3]
    )  # the inverse of a rotation, applied to rows
    label = [KITTI_CLASSES.index(kind) if kind in KITTI_CLASSES else IGNORED for kind in kinds]
    return Boxes(
        centre_K3=calibration.to_lidar(centre_K3).float(),
        size_K3=torch.stack([length_K, width_K, height_K], dim=1).float(),
        yaw_K=torch.atan2(heading_K3[:, 1], heading_K3[:, 0]).float(),
        label_K=torch.tensor(label, dtype=torch.int64),
    )
