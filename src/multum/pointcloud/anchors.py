"""Anchors: boxes on a grid, in the usual size of each class, that a network only has to correct.

Every cell of the bird's-eye view holds one anchor of each class for each of two headings. An anchor that overlaps an
object of its class enough learns to say so and to name the difference; one that overlaps none learns to be silent; what
lies between learns neither.

Source: SECOND (Yan et al., Sensors 2018), anchors and their targets.
Differs from the paper: anchors within an object of no class (IGNORED) learn nothing.

Shape legend: A anchors, K boxes, X x Y cells, R anchors of a cell; the 4 of a rectangle are its lowest and highest x
and y, the 6 of a row length, width, height, z, yaw and label.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from multum.core import check_fields, invalid
from multum.pointcloud.lidar import IGNORED, Boxes

HEADINGS = (0.0, math.pi / 2)
"""Of the anchors of a class, in radians."""
BACKGROUND, OBJECT = 0, 1
"""States of an anchor, beside IGNORED."""
IGNORED_SHARE = 0.5
"""An anchor learns nothing when so much of it lies in an object of no class."""


@dataclass(frozen=True, kw_only=True)
class AnchorKind:
    """The anchors of a class.

    Raises:
        UserError: A size that is not positive, or overlaps that are not ascending in (0, 1].
    """

    name: str
    """What the class is called."""
    size: tuple[float, float, float]
    """Length, width and height, in metres."""
    middle_z: float
    """Height of the middle above the sensor, in metres."""
    matched_iou: float
    """From this overlap on an anchor belongs to an object."""
    unmatched_iou: float
    """Below this overlap it belongs to none."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not min(self.size) > 0:
            raise invalid("size", "positive, in metres", self.size)
        if not 0 < self.unmatched_iou <= self.matched_iou <= 1:
            overlaps = (self.unmatched_iou, self.matched_iou)
            raise invalid("unmatched_iou and matched_iou", "ascending, in (0, 1]", overlaps)


KITTI_ANCHORS = (
    AnchorKind(name="Car", size=(3.9, 1.6, 1.56), middle_z=-1.0, matched_iou=0.6, unmatched_iou=0.45),
    AnchorKind(name="Pedestrian", size=(0.8, 0.6, 1.73), middle_z=-0.6, matched_iou=0.5, unmatched_iou=0.35),
    AnchorKind(name="Cyclist", size=(1.76, 0.6, 1.73), middle_z=-0.6, matched_iou=0.5, unmatched_iou=0.35),
)
"""In the order of KITTI_CLASSES."""


def anchor_grid(
    kinds: Sequence[AnchorKind],
    lowest: tuple[float, float],
    cell: tuple[float, float],
    num_cells: tuple[int, int],
) -> Boxes:
    """Anchors in the middle of each cell: by x, then y, then class, then heading.

    Args:
        kinds: The classes; the label of an anchor is its place among them.
        lowest: Corner of the grid, x and y in metres.
        cell: Edges of a cell, in metres.
        num_cells: Cells along x and y.

    >>> len(anchor_grid(KITTI_ANCHORS, (0.0, -40.0), (0.4, 0.4), (10, 20)))
    1200
    """
    x_X, y_Y = (
        start + edge * (torch.arange(count) + 0.5)
        for start, edge, count in zip(lowest, cell, num_cells, strict=True)
    )
    rows = [(*it.size, it.middle_z, yaw, label) for label, it in enumerate(kinds) for yaw in HEADINGS]
    row_R6 = torch.tensor(rows, dtype=torch.float32)
    x_A, y_A, row_A = (
        it.flatten() for it in torch.meshgrid(x_X, y_Y, torch.arange(float(len(rows))), indexing="ij")
    )
    size_A3, z_A, yaw_A, label_A = row_R6[row_A.long()].split([3, 1, 1, 1], dim=1)
    return Boxes(
        centre_K3=torch.cat([x_A[:, None], y_A[:, None], z_A], dim=1),
        size_K3=size_A3,
        yaw_K=yaw_A[:, 0],
        label_K=label_A[:, 0].long(),
    )


@dataclass(frozen=True, eq=False)
class Assignment:
    """What the anchors of a frame learn."""

    state_A: Int[Tensor, " A"]
    """OBJECT, BACKGROUND or IGNORED."""
    box_A: Int[Tensor, " A"]
    """Number of the box that an OBJECT is; 0 elsewhere."""


def assign_anchors(anchors: Boxes, boxes: Boxes, kinds: Sequence[AnchorKind]) -> Assignment:
    """Find what each anchor is, by how it overlaps the objects of its class seen from above.

    Headings are rounded to the nearest axis for it. The anchors that overlap an object most belong to it however little
    that is, so that no object goes without.

    Args:
        anchors: From `anchor_grid`.
        boxes: The objects of a frame; those that are IGNORED leave the anchors within them without a wish.
        kinds: What the anchors were made of.
    """
    if len(boxes) == 0:
        nothing_A = torch.full_like(anchors.label_K, BACKGROUND)
        return Assignment(nothing_A, nothing_A)
    shared_AK, iou_AK = _axis_overlap(_nearest_rectangles(anchors), _nearest_rectangles(boxes))
    iou_AK = torch.where(anchors.label_K[:, None] == boxes.label_K, iou_AK, 0.0)
    matched_A, unmatched_A = _thresholds(kinds, anchors.label_K)
    best_A, box_A = iou_AK.max(dim=1)
    state_A = torch.where(best_A >= matched_A, OBJECT, torch.where(best_A < unmatched_A, BACKGROUND, IGNORED))
    within_AK = shared_AK >= IGNORED_SHARE * anchors.size_K3[:, :2].prod(dim=1)[:, None]
    within_A = (within_AK & (boxes.label_K == IGNORED)).any(dim=1)
    state_A = torch.where((state_A == BACKGROUND) & within_A, IGNORED, state_A)
    most_K = iou_AK.amax(dim=0)
    most_AK = (iou_AK == most_K) & (most_K > 0)
    chosen_A = most_AK.any(dim=1)
    box_A = torch.where(chosen_A, torch.where(most_AK, iou_AK, -1.0).argmax(dim=1), box_A)
    state_A = torch.where(chosen_A, OBJECT, state_A)
    return Assignment(state_A, torch.where(state_A == OBJECT, box_A, 0))


def _thresholds(kinds: Sequence[AnchorKind], label_A: Tensor) -> tuple[Tensor, Tensor]:
    pairs = [(it.matched_iou, it.unmatched_iou) for it in kinds]
    matched_A, unmatched_A = torch.tensor(pairs, device=label_A.device)[label_A].unbind(dim=1)
    return matched_A, unmatched_A


def _nearest_rectangles(boxes: Boxes) -> Tensor:
    """Lowest and highest x and y of the boxes, headings rounded to the nearest axis."""
    is_across_K1 = (boxes.yaw_K.sin().abs() > math.sqrt(0.5))[:, None]
    size_K2 = boxes.size_K3[:, :2]
    half_K2 = torch.where(is_across_K1, size_K2.flip(1), size_K2).float() / 2
    middle_K2 = boxes.centre_K3[:, :2].float()
    return torch.cat([middle_K2 - half_K2, middle_K2 + half_K2], dim=1)


def _axis_overlap(one_A4: Tensor, other_K4: Tensor) -> tuple[Tensor, Tensor]:
    """Shared area of rectangles along the axes, and that over the area of both."""
    low_AK2 = torch.maximum(one_A4[:, None, :2], other_K4[:, :2])
    high_AK2 = torch.minimum(one_A4[:, None, 2:], other_K4[:, 2:])
    shared_AK = (high_AK2 - low_AK2).clamp(min=0).prod(dim=2)
    area_A, area_K = ((it[:, 2:] - it[:, :2]).prod(dim=1) for it in (one_A4, other_K4))
    return shared_AK, shared_AK / (area_A[:, None] + area_K - shared_AK)
