"""Overlap of boxes by hand, and what is refused."""

import math

import pytest
import torch

from multum.core import UserError
from multum.pointcloud.box_overlap import bev_iou, shared_area, space_iou, suppress
from small_boxes import boxes_of


def test_areas_by_hand() -> None:
    square = [0.0, 0.0, 2.0, 2.0, 0.0]
    others = {
        (0.0, 0.0, 2.0, 2.0, math.pi / 4): 8 * (math.sqrt(2) - 1),  # a regular octagon
        (0.0, 0.0, 9.0, 9.0, 1.0): 4.0,  # around it
        (0.0, 0.0, 0.5, 0.5, 1.0): 0.25,  # inside it
        (1.0, 1.0, 2.0, 2.0, math.pi / 2): 1.0,  # a quarter
        (2.0, 0.0, 2.0, 2.0, 0.0): 0.0,  # side by side
        (1.0, 0.0, math.sqrt(2), math.sqrt(2), math.pi / 4): 1.0,  # half of one that stands on a corner
        (0.0, 0.0, 10.0, 0.5, math.pi / 2): 1.0,  # a strip across
    }
    found_P = shared_area(torch.tensor([square] * len(others)).double(), torch.tensor(list(others)).double())
    torch.testing.assert_close(found_P, torch.tensor(list(others.values())).double(), rtol=1e-6, atol=1e-6)


def test_boxes_above_one_another_overlap_from_above_only() -> None:
    boxes = boxes_of([[0, 0, 0, 2, 2, 2, 0], [0, 0, 2, 2, 2, 2, 0]])
    assert bev_iou(boxes, boxes)[0, 1] == 1
    assert space_iou(boxes, boxes)[0, 1] == 0


def test_the_best_of_a_heap_stays() -> None:
    boxes = boxes_of(
        [[0, 0, 0, 4, 2, 1, 0], [0.1, 0, 0, 4, 2, 1, 3.1], [9, 0, 0, 4, 2, 1, 0], [0, 0, 0, 4, 2, 1, 0]]
    )
    score_K = torch.tensor([0.5, 0.9, 0.1, 0.5])
    assert suppress(boxes, score_K, max_iou=0.5).tolist() == [1, 2]
    assert suppress(boxes, score_K, max_iou=1.0).tolist() == [1, 0, 3, 2], (
        "of two equal ones the first comes first"
    )
    assert suppress(boxes_of([]), torch.zeros(0), max_iou=0.5).tolist() == []


def test_wrong_wishes_are_named() -> None:
    boxes = boxes_of([[0, 0, 0, 4, 2, 1, 0]])
    with pytest.raises(UserError, match="scores must be of 1 boxes; got 2"):
        suppress(boxes, torch.zeros(2), max_iou=0.5)
    with pytest.raises(UserError, match=r"max_iou must be in \[0, 1\]"):
        suppress(boxes, torch.zeros(1), max_iou=1.5)
