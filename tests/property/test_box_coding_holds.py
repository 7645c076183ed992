"""What holds for any boxes and anchors: coding is undone by decoding, and a heading comes back from both its parts."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from multum.pointcloud.box_coding import decode_boxes, encode_boxes, heads_back, with_direction
from multum.pointcloud.detection_loss import box_loss
from multum.pointcloud.lidar import Boxes
from small_boxes import some_boxes


@given(boxes=some_boxes(3, 3), anchors=some_boxes(3, 3))
def test_decoding_undoes_coding(boxes: Boxes, anchors: Boxes) -> None:
    back = decode_boxes(encode_boxes(boxes, anchors), anchors)
    for name in ("centre_K3", "size_K3", "yaw_K"):
        torch.testing.assert_close(getattr(back, name), getattr(boxes, name), rtol=1e-9, atol=1e-9)
    assert torch.equal(back.label_K, anchors.label_K)


@given(boxes=some_boxes())
def test_a_box_differs_from_itself_in_nothing(boxes: Boxes) -> None:
    assert not encode_boxes(boxes, boxes).any()


@given(yaw=st.floats(-20, 20), half_turns=st.integers(-3, 3))
def test_a_heading_comes_back_from_half_a_turn_and_a_direction(yaw: float, half_turns: int) -> None:
    yaw_K = torch.tensor([yaw], dtype=torch.float64)
    back = with_direction(yaw_K + half_turns * math.pi, heads_back(yaw_K))
    assert -math.pi <= back.item() <= math.pi + 1e-12
    edge = math.remainder(yaw + math.pi / 4, math.pi)
    if abs(edge) > 1e-9:  # on the edge of both halves either is right
        assert abs(math.remainder(back.item() - yaw, 2 * math.pi)) < 1e-9


@given(boxes=some_boxes(1, 1), half_turns=st.integers(-3, 3), off=st.floats(-3, 3))
def test_the_loss_does_not_see_half_turns(boxes: Boxes, half_turns: int, off: float) -> None:
    code_P7 = encode_boxes(boxes, boxes)
    turned_P7 = code_P7.clone()
    turned_P7[:, 6] += half_turns * math.pi
    assert box_loss(turned_P7, code_P7).item() < 1e-9
    turned_P7[:, 6] += off
    moved_P7 = code_P7.clone()
    moved_P7[:, 6] += off
    torch.testing.assert_close(box_loss(turned_P7, code_P7), box_loss(moved_P7, code_P7))
