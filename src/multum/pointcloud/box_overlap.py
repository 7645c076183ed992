"""How much boxes overlap, seen from above and in space, and which of many found boxes stay.

The area that two turned rectangles share is a sum over the four edges of one of them. In the frame of the other it is
the integral of x dy along its border, both clamped to the other's half length and half width: what lies outside is
pressed onto a side of the other, and runs there to and fro without holding an area. So no corners are collected, none
are sorted, and rectangles that are equal or share a side need no case of their own.

    area = sum over the edges of   (change of the clamped y) x (mean of the clamped x where y changes)

Shape legend: K, L boxes, P pairs of them; the 5 of a rectangle are x, y, length, width, yaw.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from multum.core import invalid
from multum.pointcloud.lidar import Boxes

CORNERS = ((0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5))
"""Anticlockwise, in parts of length and width."""


def shared_area(first_P5: Float[Tensor, "P 5"], second_P5: Float[Tensor, "P 5"]) -> Float[Tensor, " P"]:
    """The area that both rectangles of a pair cover, in float64.

    >>> import math
    >>> square, turned = torch.tensor([[0.0, 0, 2, 2, 0]]), torch.tensor([[0.0, 0, 2, 2, math.pi / 4]])
    >>> round(shared_area(square, turned).item(), 5)  # a regular octagon: 8 (root of 2, less 1)
    3.31371
    """
    first_P5, second_P5 = first_P5.double(), second_P5.double()
    half_P12 = second_P5[:, None, 2:4] / 2
    start_P42 = _corners_seen_from(first_P5, second_P5)
    end_P42 = start_P42.roll(-1, dims=1)
    start_P4, end_P4 = start_P42[..., 1], end_P42[..., 1]
    low_P4 = start_P4.clamp(-half_P12[..., 1], half_P12[..., 1])
    high_P4 = end_P4.clamp(-half_P12[..., 1], half_P12[..., 1])
    rise_P4 = end_P4 - start_P4
    rise_P4 = torch.where(rise_P4 == 0, 1.0, rise_P4)  # such an edge adds nothing
    run_P4 = end_P42[..., 0] - start_P42[..., 0]
    from_P4 = start_P42[..., 0] + run_P4 * ((low_P4 - start_P4) / rise_P4).clamp(0, 1)
    to_P4 = start_P42[..., 0] + run_P4 * ((high_P4 - start_P4) / rise_P4).clamp(0, 1)
    area_P = ((high_P4 - low_P4) * _clamped_mean(from_P4, to_P4, half_P12[..., 0])).sum(dim=1)
    least_P = torch.minimum(first_P5[:, 2] * first_P5[:, 3], second_P5[:, 2] * second_P5[:, 3])
    return area_P.clamp(min=0).minimum(least_P)


def bev_iou(first: Boxes, second: Boxes) -> Float[Tensor, "K L"]:
    """Shared area over the area of both together, seen from above (bird's-eye view); in float64, in [0, 1]."""
    shared_KL = _shared_areas(first, second)
    area_K, area_L = _areas(first), _areas(second)
    return shared_KL / (area_K[:, None] + area_L - shared_KL)


def space_iou(first: Boxes, second: Boxes) -> Float[Tensor, "K L"]:
    """Shared volume over the volume of both together (3D overlap); in float64, in [0, 1].

    >>> box = Boxes(centre_K3=torch.zeros(1, 3), size_K3=torch.ones(1, 3), yaw_K=torch.zeros(1),
    ...             label_K=torch.zeros(1, dtype=torch.int64))
    >>> raised = Boxes(centre_K3=torch.tensor([[0.0, 0, 0.5]]), size_K3=box.size_K3, yaw_K=box.yaw_K,
    ...                label_K=box.label_K)
    >>> round(space_iou(box, raised).item(), 6)
    0.333333
    """
    high_K, low_K = _ends(first)
    high_L, low_L = _ends(second)
    height_KL = torch.minimum(high_K[:, None], high_L) - torch.maximum(low_K[:, None], low_L)
    least_KL = torch.minimum(first.size_K3.double()[:, None, 2], second.size_K3.double()[:, 2])
    shared_KL = _shared_areas(first, second) * height_KL.clamp(min=0).minimum(least_KL)
    volume_K, volume_L = first.size_K3.double().prod(dim=1), second.size_K3.double().prod(dim=1)
    return shared_KL / (volume_K[:, None] + volume_L - shared_KL)


def suppress(boxes: Boxes, score_K: Float[Tensor, " K"], *, max_iou: float) -> Int[Tensor, " L"]:
    """Non-maximum suppression: which boxes stay when each removes those that overlap it and score less.

    Args:
        boxes: All that were found, of one class.
        score_K: How sure each is; of two equal ones the first comes first.
        max_iou: What two boxes that stay may overlap seen from above, in [0, 1].

    Returns:
        Numbers of the boxes that stay, the best one first.

    Raises:
        UserError: Another number of scores than boxes, or an overlap outside [0, 1].
    """
    if len(score_K) != len(boxes):
        raise invalid("scores", f"of {len(boxes)} boxes", len(score_K))
    if not 0 <= max_iou <= 1:
        raise invalid("max_iou", "in [0, 1]", max_iou)
    too_near = (bev_iou(boxes, boxes) > max_iou).cpu()
    gone_K = torch.zeros(len(boxes), dtype=torch.bool)
    kept: list[int] = []
    for index in score_K.sort(descending=True, stable=True).indices.tolist():
        if not gone_K[index]:
            kept.append(index)
            gone_K |= too_near[index]
    return torch.tensor(kept, dtype=torch.int64, device=score_K.device)


def _corners_seen_from(first_P5: Tensor, second_P5: Tensor) -> Tensor:
    """Corners of the first rectangles in the frames of the second ones."""
    part_42 = first_P5.new_tensor(CORNERS)
    corner_P42 = part_42 * first_P5[:, None, 2:4]
    corner_P42 = _turned(corner_P42, first_P5[:, 4] - second_P5[:, 4])
    away_P12 = (first_P5[:, :2] - second_P5[:, :2])[:, None]
    return corner_P42 + _turned(away_P12, -second_P5[:, 4])


def _turned(at_PV2: Tensor, angle_P: Tensor) -> Tensor:
    cos_P1, sin_P1 = angle_P.cos()[:, None], angle_P.sin()[:, None]
    x_PV, y_PV = at_PV2.unbind(dim=2)
    return torch.stack([cos_P1 * x_PV - sin_P1 * y_PV, sin_P1 * x_PV + cos_P1 * y_PV], dim=2)


def _clamped_mean(from_P4: Tensor, to_P4: Tensor, half_P1: Tensor) -> Tensor:
    """The mean, between two numbers, of what is clamped to [-half, half]."""
    low_P4, high_P4 = torch.minimum(from_P4, to_P4), torch.maximum(from_P4, to_P4)
    length_P4 = high_P4 - low_P4
    inner_low_P4, inner_high_P4 = low_P4.clamp(-half_P1, half_P1), high_P4.clamp(-half_P1, half_P1)
    above_P4 = (high_P4 - half_P1).clamp(min=0) - (low_P4 - half_P1).clamp(min=0)
    below_P4 = (-half_P1 - low_P4).clamp(min=0) - (-half_P1 - high_P4).clamp(min=0)
    inner_P4 = (inner_high_P4 - inner_low_P4) * (inner_high_P4 + inner_low_P4) / 2
    total_P4 = inner_P4 + half_P1 * (above_P4 - below_P4)
    is_point = length_P4 <= 1e-12 * half_P1
    return torch.where(is_point, inner_low_P4, total_P4 / torch.where(is_point, 1.0, length_P4))


def _shared_areas(first: Boxes, second: Boxes) -> Tensor:
    """Of all pairs; only those whose circles touch are computed."""
    rectangle_K5, rectangle_L5 = _rectangles(first), _rectangles(second)
    reach_K, reach_L = (it[:, 2:4].norm(dim=1) / 2 for it in (rectangle_K5, rectangle_L5))
    away_KL = (rectangle_K5[:, None, :2] - rectangle_L5[:, :2]).norm(dim=2)
    shared_KL = torch.zeros_like(away_KL)
    row_P, column_P = (away_KL < reach_K[:, None] + reach_L).nonzero(as_tuple=True)
    shared_KL[row_P, column_P] = shared_area(rectangle_K5[row_P], rectangle_L5[column_P])
    return shared_KL


def _rectangles(boxes: Boxes) -> Tensor:
    return torch.cat([boxes.centre_K3[:, :2], boxes.size_K3[:, :2], boxes.yaw_K[:, None]], dim=1).double()


def _areas(boxes: Boxes) -> Tensor:
    return boxes.size_K3.double()[:, :2].prod(dim=1)


def _ends(boxes: Boxes) -> tuple[Tensor, Tensor]:
    """Top and bottom."""
    middle_K, half_K = boxes.centre_K3.double()[:, 2], boxes.size_K3.double()[:, 2] / 2
    return middle_K + half_K, middle_K - half_K
