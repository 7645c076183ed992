"""What a detector is taught by: scores of all anchors, and boxes and directions of those that are an object.

    scores      focal:  -alpha (1 - p)^gamma log p for objects, -(1 - alpha) p^gamma log(1 - p) for background
    boxes       smooth L1 of the seven differences, of the yaw that of its sine
    directions  cross-entropy of heading ahead or back

A hundred thousand anchors see nothing and a dozen see an object. The focal loss makes what is already known weigh
nothing, so that the many easy ones do not drown the few.

Source: SECOND (Yan et al., Sensors 2018), the loss and its weights; the focal loss: Lin et al. (ICCV 2017).
Differs from the paper: all sums are over the objects of a batch instead of a scan, so that a scan without any counts.

Shape legend: B scans, A anchors, P anchors that are an object, K boxes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from multum.pointcloud.anchors import OBJECT, Assignment
from multum.pointcloud.box_coding import encode_boxes, heads_back
from multum.pointcloud.detector_network import HeadOutputs
from multum.pointcloud.lidar import IGNORED, Boxes, boxes_at

ALPHA, GAMMA = 0.25, 2.0
BETA = 1 / 9
"""Differences below this count squared."""
BOX_WEIGHT, DIRECTION_WEIGHT = 2.0, 0.2


@dataclass(frozen=True, eq=False)
class DetectionLoss:
    """The parts of a loss, weighted."""

    scores: Tensor
    """Of all anchors that are an object or background."""
    boxes: Tensor
    """Of those that are an object."""
    directions: Tensor
    """Likewise."""

    @property
    def total(self) -> Tensor:
        """What is made small."""
        return self.scores + self.boxes + self.directions


def focal_loss(score: Float[Tensor, "*any"], is_object: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """The focal loss of logits, each for itself.

    >>> easy, hard = focal_loss(torch.tensor([4.0, -4.0]), torch.ones(2))
    >>> bool(hard > 10_000 * easy)
    True
    """
    plain = functional.binary_cross_entropy_with_logits(score, is_object, reduction="none")
    missed = (is_object - score.sigmoid()).abs()
    return (ALPHA * is_object + (1 - ALPHA) * (1 - is_object)) * missed**GAMMA * plain


def box_loss(code_P7: Float[Tensor, "P 7"], wanted_P7: Float[Tensor, "P 7"]) -> Float[Tensor, " P"]:
    """Smooth L1 of what a box is off by; a yaw that is off by half a turn is right."""
    off_P7 = code_P7 - wanted_P7
    off_P7 = torch.cat([off_P7[:, :6], off_P7[:, 6:].sin()], dim=1)
    return functional.smooth_l1_loss(off_P7, torch.zeros_like(off_P7), beta=BETA, reduction="none").sum(dim=1)


def detection_loss(
    said: HeadOutputs, anchors: Boxes, frames: Sequence[Boxes], assignments: Sequence[Assignment]
) -> DetectionLoss:
    """The loss of some scans, over their number of anchors that are an object.

    Args:
        said: By the network.
        anchors: The grid.
        frames: Objects of each scan.
        assignments: What each anchor is, scan by scan.
    """
    state_BA = torch.stack([it.state_A for it in assignments])
    is_object_BA = state_BA == OBJECT
    count = is_object_BA.sum().clamp(min=1)
    score_BA = focal_loss(said.score_BA, is_object_BA.to(said.score_BA.dtype))
    scores = (score_BA * (state_BA != IGNORED)).sum() / count
    boxes, directions = scores.new_zeros(()), scores.new_zeros(())
    for index, (truth, assignment) in enumerate(zip(frames, assignments, strict=True)):
        row_P = is_object_BA[index].nonzero()[:, 0]
        if len(row_P) == 0:
            continue
        wanted = boxes_at(truth, assignment.box_A[row_P])
        code_P7 = encode_boxes(wanted, boxes_at(anchors, row_P)).to(said.code_BA7.dtype)
        boxes = boxes + box_loss(said.code_BA7[index, row_P], code_P7).sum()
        back_P = heads_back(wanted.yaw_K).to(said.back_BA.dtype)
        directions = directions + functional.binary_cross_entropy_with_logits(
            said.back_BA[index, row_P], back_P, reduction="sum"
        )
    return DetectionLoss(scores, BOX_WEIGHT * boxes / count, DIRECTION_WEIGHT * directions / count)
