"""Scans taken apart and put together: which points a box holds, some of the boxes, two scans as one.

Shape legend: N points, K boxes.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from multum.core import invalid
from multum.pointcloud.lidar.scan import Boxes, Scan


def points_in_boxes(
    xyz_N3: Float[Tensor, "N 3"], boxes: Boxes, *, margin_metres: float = 0.0
) -> Bool[Tensor, "K N"]:
    """Tell which points lie in which box; on its surface counts.

    Args:
        xyz_N3: Points, in metres.
        boxes: Boxes.
        margin_metres: Each box is taken as larger by this on every side.

    Example:
        >>> box = Boxes(centre_K3=torch.tensor([[5.0, 0, 0]]), size_K3=torch.tensor([[4.0, 2, 2]]),
        ...             yaw_K=torch.tensor([1.5707964]), label_K=torch.tensor([0]))
        >>> points_in_boxes(torch.tensor([[5.0, 1.9, 0], [6.9, 0, 0]]), box).tolist()
        [[True, False]]
    """
    held_KN = torch.zeros(len(boxes), len(xyz_N3), dtype=torch.bool, device=xyz_N3.device)
    for k in range(len(boxes)):  # one by one: all at once would take K times the memory of the scan
        x_N, y_N, z_N = (xyz_N3 - boxes.centre_K3[k]).unbind(dim=1)
        cos, sin = torch.cos(boxes.yaw_K[k]), torch.sin(boxes.yaw_K[k])
        length, width, height = boxes.size_K3[k] / 2 + margin_metres
        along_N, across_N = cos * x_N + sin * y_N, cos * y_N - sin * x_N
        held_KN[k] = (along_N.abs() <= length) & (across_N.abs() <= width) & (z_N.abs() <= height)
    return held_KN


def boxes_at(boxes: Boxes, index: Tensor) -> Boxes:
    """Some of the boxes, by their numbers or by a mask.

    >>> boxes = Boxes(centre_K3=torch.zeros(2, 3), size_K3=torch.ones(2, 3), yaw_K=torch.zeros(2),
    ...               label_K=torch.tensor([0, 1]))
    >>> boxes_at(boxes, boxes.label_K == 1).label_K.tolist()
    [1]
    """
    return Boxes(
        centre_K3=boxes.centre_K3[index],
        size_K3=boxes.size_K3[index],
        yaw_K=boxes.yaw_K[index],
        label_K=boxes.label_K[index],
    )


def part_of_scan(scan: Scan, point_N: Bool[Tensor, " N"], box_K: Bool[Tensor, " K"] | None) -> Scan:
    """Some of the points and some of the boxes; None where the scan has no boxes."""
    boxes = None if scan.boxes is None or box_K is None else boxes_at(scan.boxes, box_K)
    return replace(scan.at(point_N), boxes=boxes)


def join_scans(scans: Sequence[Scan]) -> Scan:
    """Put scans of one frame together, one after the other.

    The whole has labels where all parts have them, and boxes where all have them: boxes of some of the objects would
    call the others background.

    Args:
        scans: The parts, at least one.

    Raises:
        UserError: Nothing to join, or some parts have labels and some have not.

    Example:
        >>> one = Scan(xyz_N3=torch.zeros(2, 3), intensity_N=torch.ones(2), name="a")
        >>> join_scans([one, one])
        Scan(a+a, 4 points)
    """
    if not scans:
        raise invalid("scans", "at least one", [])
    labels = [scan.label_N for scan in scans if scan.label_N is not None]
    if 0 < len(labels) < len(scans):
        remedy = "label them all, or drop the labels of all"
        raise invalid("labelled scans of those to join", f"none or all {len(scans)}", len(labels), remedy)
    boxes = [scan.boxes for scan in scans if scan.boxes is not None]
    return Scan(
        xyz_N3=torch.cat([scan.xyz_N3 for scan in scans]),
        intensity_N=torch.cat([scan.intensity_N for scan in scans]),
        label_N=torch.cat(labels) if labels else None,
        boxes=_join_boxes(boxes) if len(boxes) == len(scans) else None,
        name="+".join(scan.name for scan in scans if scan.name),
    )


def _join_boxes(boxes: Sequence[Boxes]) -> Boxes:
    return Boxes(
        centre_K3=torch.cat([some.centre_K3 for some in boxes]),
        size_K3=torch.cat([some.size_K3 for some in boxes]),
        yaw_K=torch.cat([some.yaw_K for some in boxes]),
        label_K=torch.cat([some.label_K for some in boxes]),
    )
