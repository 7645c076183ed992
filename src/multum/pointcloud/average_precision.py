"""How good a detector is: KITTI's average precision over 40 points of recall, in space and seen from above.

Going down the scores of all scans, each box found is right (it overlaps an object that nobody found before), forgiven
(it overlaps one that does not count), or wrong. What comes out is the mean of the best precision that is left at a
recall of 1/40, 2/40, ... 1, so that a detector which never finds the last objects loses what they are worth.

An object counts or is forgiven by its difficulty; and a Van is no Car, but no mistake either (`kitti_truth`).

Source: Geiger et al. (CVPR 2012), the benchmark; 40 points of recall: Simonelli et al. (ICCV 2019).
Differs from the paper: precision is taken at every score instead of at 41 chosen ones, and each box found takes the
object that it overlaps most, the surest box first; boxes that would be low in the picture are not forgiven.

Shape legend: K boxes found in a scan, L objects of it, D boxes found in all scans.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from multum.core import invalid
from multum.pointcloud.box_overlap import bev_iou, space_iou
from multum.pointcloud.detections import Detections
from multum.pointcloud.lidar import IGNORED, KITTI_CLASSES, KITTI_DIFFICULTIES, Boxes, KittiObjects, boxes_at

View = Literal["space", "above"]
"""3D, or the bird's-eye view."""
NUM_RECALLS = 40
ALIKE = {"Car": "Van", "Pedestrian": "Person_sitting"}
"""What KITTI forgives to take for one of its classes."""


@dataclass(frozen=True, eq=False)
class Truth:
    """Objects of one class in a scan, and those that it is no mistake to take for it."""

    boxes: Boxes
    """All of them; their labels are not looked at."""
    is_counted_L: Bool[Tensor, " L"]
    """Whether each is to be found; else it is forgiven."""

    def __post_init__(self) -> None:
        if len(self.is_counted_L) != len(self.boxes):
            raise invalid("is_counted", f"of {len(self.boxes)} boxes", len(self.is_counted_L))


def kitti_truth(objects: KittiObjects, label: int, level: int) -> Truth:
    """What KITTI counts of the objects of a frame.

    Args:
        objects: All that were labelled.
        label: The class, a place in KITTI_CLASSES.
        level: The difficulty, a place in KITTI_DIFFICULTIES; easier objects count too, harder ones are forgiven.

    Raises:
        UserError: There is no such class or difficulty.
    """
    for name, value, known in (("label", label, KITTI_CLASSES), ("level", level, KITTI_DIFFICULTIES)):
        if not 0 <= value < len(known):
            raise invalid(name, f"in [0, {len(known)}): {', '.join(known)}", value)
    alike_K = torch.tensor([it == ALIKE.get(KITTI_CLASSES[label]) for it in objects.kinds], dtype=torch.bool)
    is_class_K = objects.boxes.label_K == label
    is_counted_K = is_class_K & (objects.difficulty_K != IGNORED) & (objects.difficulty_K <= level)
    belongs_K = is_class_K | alike_K
    return Truth(boxes_at(objects.boxes, belongs_K), is_counted_K[belongs_K])


def average_precision(
    found: Sequence[Detections], truths: Sequence[Truth], *, min_iou: float, view: View = "space"
) -> float:
    """The average precision of a class.

    Args:
        found: What was found in each scan, of this class only (`Detections.of_class`).
        truths: What is there, scan by scan.
        min_iou: From this overlap on a box is right, in (0, 1]; KITTI takes 0.7 for cars and 0.5 for others.
        view: In space, or seen from above.

    Returns:
        From 0 to 1.

    Raises:
        UserError: Other numbers of scans, an overlap out of range, or nothing that counts.
    """
    if len(found) != len(truths):
        raise invalid("found and truths", "of as many scans", (len(found), len(truths)))
    if not 0 < min_iou <= 1:
        raise invalid("min_iou", "in (0, 1]", min_iou)
    num_counted = sum(int(it.is_counted_L.sum()) for it in truths)
    if num_counted == 0:
        raise invalid("objects that count", "at least one", 0, "take more scans, or another difficulty")
    judged = [_judged(one, truth, min_iou, view) for one, truth in zip(found, truths, strict=True)]
    score_D = torch.cat([score_K for score_K, _ in judged])
    is_right_D = torch.cat([is_right_K for _, is_right_K in judged])
    return _area(score_D, is_right_D, num_counted)


def _judged(
    found: Detections, truth: Truth, min_iou: float, view: View
) -> tuple[Float[Tensor, " D"], Bool[Tensor, " D"]]:
    """Scores of the boxes that are not forgiven, and whether each is right."""
    order_K = found.score_K.sort(descending=True, stable=True).indices
    overlap = space_iou if view == "space" else bev_iou
    enough_KL = (iou_KL := overlap(found.boxes, truth.boxes).cpu()) >= min_iou
    free_L, forgiven_L = truth.is_counted_L.cpu().clone(), ~truth.is_counted_L.cpu()
    kept, is_right = [], []
    for row in order_K.tolist():
        open_L = enough_KL[row] & free_L
        right = bool(open_L.any())
        if right:
            free_L[torch.where(open_L, iou_KL[row], -1.0).argmax()] = False
        elif bool((enough_KL[row] & forgiven_L).any()):
            continue
        kept.append(row)
        is_right.append(right)
    row_D = torch.tensor(kept, dtype=torch.int64)
    return found.score_K.cpu().double()[row_D], torch.tensor(is_right, dtype=torch.bool)


def _area(score_D: Tensor, is_right_D: Tensor, num_counted: int) -> float:
    """The mean, over the points of recall, of the best precision at as much recall or more."""
    score_D, order_D = score_D.sort(descending=True)
    num_right_D = is_right_D[order_D].cumsum(dim=0)
    precision_D = num_right_D.double() / torch.arange(1, len(score_D) + 1)
    is_last_D = torch.ones_like(is_right_D)
    is_last_D[:-1] = score_D[:-1] != score_D[1:]  # boxes of one score come all or none
    total = 0.0
    for point in range(1, NUM_RECALLS + 1):
        enough_D = is_last_D & (NUM_RECALLS * num_right_D >= point * num_counted)
        total += float(precision_D[enough_D].max()) if bool(enough_D.any()) else 0.0
    return total / NUM_RECALLS
