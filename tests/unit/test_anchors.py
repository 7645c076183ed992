"""Anchors: where they are, what they are told, and what is refused."""

import math

import pytest
import torch

from multum.core import UserError
from multum.pointcloud.anchors import (
    BACKGROUND,
    HEADINGS,
    KITTI_ANCHORS,
    OBJECT,
    AnchorKind,
    Assignment,
    anchor_grid,
    assign_anchors,
)
from multum.pointcloud.lidar import IGNORED, KITTI_CLASSES, Boxes, boxes_at
from small_boxes import boxes_of

CELLS = (20, 15)
CAR = [3.9, 1.6, 1.56]
"""Length, width and height of the anchors."""


def grid() -> Boxes:
    return anchor_grid(KITTI_ANCHORS, (0.0, -3.0), (0.4, 0.4), CELLS)


def told(boxes: Boxes) -> tuple[Boxes, Assignment]:
    return grid(), assign_anchors(grid(), boxes, KITTI_ANCHORS)


def test_each_cell_has_every_class_and_heading() -> None:
    anchors = grid()
    assert [it.name for it in KITTI_ANCHORS] == list(KITTI_CLASSES)
    assert len(anchors) == CELLS[0] * CELLS[1] * len(KITTI_ANCHORS) * len(HEADINGS)
    row = 6 * (7 * CELLS[1] + 4) + 2 * 2 + 1  # cell (7, 4), cyclist, across
    torch.testing.assert_close(anchors.centre_K3[row], torch.tensor([3.0, -1.2, -0.6]))
    torch.testing.assert_close(anchors.size_K3[row], torch.tensor([1.76, 0.6, 1.73]))
    assert anchors.yaw_K[row].item() == pytest.approx(math.pi / 2)
    assert anchors.label_K[row] == 2


def test_an_anchor_is_the_object_that_lies_on_it() -> None:
    boxes = boxes_of([[3.0, -1.0, -1, *CAR, math.pi + 0.1], [5.0, 1.0, -0.6, 0.8, 0.6, 1.73, 0.0]], [0, 1])
    anchors, found = told(boxes)
    mine = boxes_at(anchors, found.state_A == OBJECT)
    car = mine.label_K == 0
    assert car.any()
    assert not mine.yaw_K[car].any(), "headings of the anchors are along x, like the car's"
    assert bool(((mine.centre_K3[car] - torch.tensor([3.0, -1.0, -1.0])).norm(dim=1) < 1).all())
    assert torch.equal(found.box_A[found.state_A == OBJECT] == 0, car)
    assert set(mine.label_K.tolist()) == {0, 1}


def test_between_both_thresholds_nothing_is_asked() -> None:
    anchors, found = told(boxes_of([[3.0, -1.2, -1, *CAR, 0.0]]))
    car = (anchors.label_K == 0) & (anchors.yaw_K == 0)
    away_A2 = (anchors.centre_K3[:, :2] - torch.tensor([3.0, -1.2])).abs()
    # moved along itself by m, a box of length 3.9 overlaps by (3.9 - m) / (3.9 + m)
    straight = car & (away_A2[:, 1] < 0.01)
    for state, away in zip(found.state_A[straight].tolist(), away_A2[straight, 0].tolist(), strict=True):
        iou = max(0.0, 3.9 - away) / (3.9 + away)
        assert state == (OBJECT if iou >= 0.6 else IGNORED if iou >= 0.45 else BACKGROUND), away


def test_an_object_of_odd_size_still_gets_its_best_anchor() -> None:
    boxes = boxes_of([[3.0, -1.0, -1, 1.0, 0.9, 1, 0.0], [5.0, 1.0, -1, 9.0, 2.5, 3, 0.0]], [0, 0])
    _, found = told(boxes)
    assert set(found.box_A[found.state_A == OBJECT].tolist()) == {0, 1}


def test_within_an_object_of_no_class_nothing_is_asked() -> None:
    anchors, found = told(boxes_of([[4.0, 0.0, -1, 4.0, 3.0, 2, 0.0]], [IGNORED]))
    assert not (found.state_A == OBJECT).any()
    inside = (anchors.centre_K3[:, :2] - torch.tensor([4.0, 0.0])).norm(dim=1) < 0.5
    assert bool((found.state_A[inside] == IGNORED).all())
    assert bool((found.state_A[anchors.centre_K3[:, 0] > 7.5] == BACKGROUND).all())


def test_without_objects_all_is_background() -> None:
    _, found = told(boxes_of([]))
    assert not found.state_A.any()


def test_kinds_that_cannot_be_are_named() -> None:
    with pytest.raises(UserError, match="size must be positive"):
        AnchorKind(name="Car", size=(3.9, 0.0, 1.56), middle_z=-1.0, matched_iou=0.6, unmatched_iou=0.45)
    with pytest.raises(UserError, match="unmatched_iou and matched_iou must be ascending"):
        AnchorKind(name="Car", size=(3.9, 1.6, 1.56), middle_z=-1.0, matched_iou=0.4, unmatched_iou=0.45)
