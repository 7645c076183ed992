"""Boxes that were found in a scan, and how sure each is.

Shape legend: K boxes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from multum.core import invalid
from multum.pointcloud.lidar import Boxes, boxes_at


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found in a scan.

    Raises:
        UserError: Another number of scores than boxes.
    """

    boxes: Boxes
    """In the frame of the scan."""
    score_K: Float[Tensor, " K"]
    """From 0 to 1."""

    def __post_init__(self) -> None:
        if len(self.score_K) != len(self.boxes):
            raise invalid("scores", f"of {len(self.boxes)} boxes", len(self.score_K))

    def __len__(self) -> int:
        return len(self.boxes)

    def at(self, index: Tensor) -> "Detections":
        """Some of them, by their numbers or by a mask."""
        return Detections(boxes_at(self.boxes, index), self.score_K[index])

    def of_class(self, label: int) -> "Detections":
        """Those of a class."""
        return self.at(self.boxes.label_K == label)

    @staticmethod
    def joined(parts: Sequence["Detections"]) -> "Detections":
        """All of them, the best one first.

        Raises:
            UserError: There are no parts.
        """
        if not parts:
            raise invalid("parts", "at least one", 0)
        whole = Detections(
            Boxes(
                centre_K3=torch.cat([it.boxes.centre_K3 for it in parts]),
                size_K3=torch.cat([it.boxes.size_K3 for it in parts]),
                yaw_K=torch.cat([it.boxes.yaw_K for it in parts]),
                label_K=torch.cat([it.boxes.label_K for it in parts]),
            ),
            torch.cat([it.score_K for it in parts]),
        )
        return whole.at(whole.score_K.sort(descending=True, stable=True).indices)
