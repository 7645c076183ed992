"""Boxes as numbers that a network can learn: differences from an anchor, in parts of the anchor.

    x = (x' - xa) / d    y = (y' - ya) / d    z = (z' - za) / ha    d = root of (la^2 + wa^2)
    l = log(l' / la)     w = log(w' / wa)     h = log(h' / ha)      yaw = yaw' - yawa

A box that is turned by half a turn covers the same place, and only its points at the front and the back tell. So its
yaw is learned up to half a turn, through the sine of what is missing, and which half it is apart.

Source: SECOND (Yan et al., Sensors 2018), the sine loss and the direction classifier; the coding: VoxelNet (Zhou and
Tuzel, CVPR 2018).
Differs from the paper: the two halves meet at -45 and 135 degrees instead of 0 and 180, where most cars head.

Shape legend: K boxes; the 7 of a code are x, y, z, l, w, h, yaw.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from multum.pointcloud.lidar import Boxes

HALF_TURN_START = -math.pi / 4
"""Headings from here to half a turn further go ahead, the others back."""
LARGEST_LOG = 8.0
"""Of a size in parts of the anchor; a network cannot say more, so that nothing becomes infinite."""


def encode_boxes(boxes: Boxes, anchors: Boxes) -> Float[Tensor, "K 7"]:
    """How boxes differ from their anchors, one for each."""
    away_K3 = (boxes.centre_K3 - anchors.centre_K3) / _units(anchors)
    larger_K3 = (boxes.size_K3 / anchors.size_K3).log()
    return torch.cat([away_K3, larger_K3, (boxes.yaw_K - anchors.yaw_K)[:, None]], dim=1)


def decode_boxes(code_K7: Float[Tensor, "K 7"], anchors: Boxes) -> Boxes:
    """The boxes that differ so from their anchors; their classes are those of the anchors."""
    return Boxes(
        centre_K3=anchors.centre_K3 + code_K7[:, :3] * _units(anchors),
        size_K3=anchors.size_K3 * code_K7[:, 3:6].clamp(-LARGEST_LOG, LARGEST_LOG).exp(),
        yaw_K=anchors.yaw_K + code_K7[:, 6],
        label_K=anchors.label_K,
    )


def heads_back(yaw_K: Float[Tensor, " K"]) -> Bool[Tensor, " K"]:
    """Whether headings are in the second half of the turn."""
    return torch.remainder(yaw_K - HALF_TURN_START, 2 * math.pi) >= math.pi


def with_direction(yaw_K: Float[Tensor, " K"], back_K: Bool[Tensor, " K"]) -> Float[Tensor, " K"]:
    """Headings that are known up to half a turn, brought into the half that they are said to be in; in [-pi, pi].

    >>> with_direction(torch.tensor([0.1, 0.1]), torch.tensor([False, True]))
    tensor([ 0.1000, -3.0416])
    """
    ahead_K = torch.remainder(yaw_K - HALF_TURN_START, math.pi) + HALF_TURN_START
    yaw_K = torch.where(back_K, ahead_K + math.pi, ahead_K)
    return torch.where(yaw_K > math.pi, yaw_K - 2 * math.pi, yaw_K)


def _units(anchors: Boxes) -> Tensor:
    diagonal_K1 = anchors.size_K3[:, :2].norm(dim=1, keepdim=True)
    return torch.cat([diagonal_K1, diagonal_K1, anchors.size_K3[:, 2:]], dim=1)
