"""What holds for the overlap of any boxes, and that it is what cutting corner by corner gives."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from multum.pointcloud.box_overlap import bev_iou, shared_area, space_iou, suppress
from multum.pointcloud.lidar import Boxes, Scan, rotate, translate
from small_boxes import boxes_of, naive_shared_area, some_boxes


def rectangles(boxes: Boxes) -> Tensor:
    return torch.cat([boxes.centre_K3[:, :2], boxes.size_K3[:, :2], boxes.yaw_K[:, None]], dim=1)


@given(first=some_boxes(), second=some_boxes())
def test_the_shared_area_is_the_one_that_is_cut_corner_by_corner(first: Boxes, second: Boxes) -> None:
    one_K5, other_L5 = rectangles(first), rectangles(second)
    pair_P5 = one_K5.repeat_interleave(len(other_L5), dim=0)
    found_P = shared_area(pair_P5, other_L5.repeat(len(one_K5), 1))
    wanted = [naive_shared_area(one, other) for one in one_K5.tolist() for other in other_L5.tolist()]
    torch.testing.assert_close(found_P, torch.tensor(wanted, dtype=torch.float64), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("overlap", [bev_iou, space_iou])
@given(first=some_boxes(), second=some_boxes())
def test_overlap_is_symmetric_and_a_share(overlap: object, first: Boxes, second: Boxes) -> None:
    assert callable(overlap)
    iou_KL, iou_LK = overlap(first, second), overlap(second, first)
    torch.testing.assert_close(iou_KL, iou_LK.T, rtol=1e-9, atol=1e-9)
    assert iou_KL.min() >= 0
    assert iou_KL.max() <= 1 + 1e-12
    assert bool((overlap(first, first).diagonal() > 1 - 1e-9).all()), "a box covers itself"


@given(
    boxes=some_boxes(2),
    turn=st.floats(-10, 10),
    x=st.floats(-100, 100),
    y=st.floats(-100, 100),
    z=st.floats(-9, 9),
)
def test_overlap_moves_with_both(boxes: Boxes, turn: float, x: float, y: float, z: float) -> None:
    nothing = Scan(xyz_N3=torch.zeros(0, 3, dtype=torch.float64), intensity_N=torch.zeros(0), boxes=boxes)
    moved = translate(rotate(nothing, turn), (x, y, z)).boxes
    assert moved is not None
    for overlap in (bev_iou, space_iou):
        torch.testing.assert_close(overlap(boxes, boxes), overlap(moved, moved), rtol=1e-8, atol=1e-8)


@given(
    boxes=some_boxes(0, 6), scores=st.lists(st.floats(0, 1), min_size=6, max_size=6), share=st.floats(0, 1)
)
def test_what_stays_is_apart_and_what_goes_had_a_better_one(
    boxes: Boxes, scores: list[float], share: float
) -> None:
    score_K = torch.tensor(scores[: len(boxes)], dtype=torch.float64)
    kept = suppress(boxes, score_K, max_iou=share)
    iou_KK = bev_iou(boxes, boxes)
    if len(boxes):
        assert score_K[kept[0]] == score_K.max()
    assert torch.equal(score_K[kept], score_K[kept].sort(descending=True).values)
    for place, row in enumerate(kept.tolist()):
        assert bool((iou_KK[kept[:place], row] <= share).all())
    for row in set(range(len(boxes))) - set(kept.tolist()):
        over = kept[iou_KK[kept, row] > share]
        assert bool((score_K[over] >= score_K[row]).any())


@given(turn=st.floats(-7, 7), length=st.floats(0.5, 5), width=st.floats(0.5, 5), along=st.floats(0, 6))
def test_a_box_pushed_along_itself_has_the_overlap_of_the_formula(
    turn: float, length: float, width: float, along: float
) -> None:
    boxes = boxes_of(
        [
            [0, 0, 0, length, width, 1, turn],
            [along * math.cos(turn), along * math.sin(turn), 0.25, length, width, 1, turn + math.pi],
        ]
    )
    left = max(0.0, length - along)
    assert bev_iou(boxes, boxes)[0, 1].item() == pytest.approx(left / (2 * length - left), abs=1e-9)
    volume = 0.75 * left
    assert space_iou(boxes, boxes)[0, 1].item() == pytest.approx(volume / (2 * length - volume), abs=1e-9)
