"""A detector of objects in LiDAR scans: one look, one stage, turned boxes with classes and scores.

Voxels of a scan go through sparse convolutions down to stride 8 and are seen from above there; a 2D network says of
each anchor (`anchors`) whether it is an object, how the object's box differs, and which way it heads. Of boxes that
overlap, the best one is told.

Source: SECOND (Yan et al., Sensors 2018), with the encoder of SPVNAS (ECCV 2020).
Differs from the paper: see `detector_network`, `anchors`, `box_coding` and `detection_loss`.

Shape legend: N points of a scan, A anchors, K boxes.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from multum.core import invalid
from multum.pointcloud.anchors import anchor_grid, assign_anchors
from multum.pointcloud.box_coding import decode_boxes, with_direction
from multum.pointcloud.box_overlap import suppress
from multum.pointcloud.detection_loss import DetectionLoss, detection_loss
from multum.pointcloud.detections import Detections
from multum.pointcloud.detector_config import DetectorConfig
from multum.pointcloud.detector_network import DetectorNetwork, HeadOutputs
from multum.pointcloud.lidar import Boxes, Scan, boxes_at
from multum.pointcloud.lidar.scan_set import check_labels
from multum.pointcloud.quantize import PointBatch, quantize


class Detector(nn.Module):
    """Finds objects in scans; it brings them to its own device, and what it finds back to theirs.

    >>> from multum.pointcloud.detector_config import scaled_detector
    >>> small = replace(scaled_detector(0.125), lowest=(0.0, -3.2, -3.0), highest=(6.4, 3.2, 1.0))
    >>> detector = Detector(small).eval()
    >>> detector.detect([Scan(xyz_N3=torch.rand(50, 3), intensity_N=torch.rand(50))])[0].score_K.tolist()
    []
    """

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.network = DetectorNetwork(config)
        x, y, _ = config.num_cells
        self.anchors = anchor_grid(config.anchors, config.lowest[:2], config.cell, (x, y))

    def forward(self, scans: Sequence[Scan]) -> HeadOutputs:
        """What the network says of all anchors of some scans.

        Raises:
            UserError: There is no scan.
        """
        found: HeadOutputs = self.network(self.batch(scans), len(scans))
        return found

    def loss(self, scans: Sequence[Scan]) -> DetectionLoss:
        """What is to be made small on scans with boxes.

        Boxes whose middles are out of range do not count; those that are IGNORED are neither to be found nor a mistake.

        Raises:
            UserError: A scan without boxes (`boxes` is None; none of them is fine), or a label that is no class.
        """
        frames = [_on(self.objects(it), self.device) for it in scans]
        said = self(scans)
        anchors = _on(self.anchors, self.device)
        assignments = [assign_anchors(anchors, it, self.config.anchors) for it in frames]
        return detection_loss(said, anchors, frames, assignments)

    @torch.no_grad()
    def detect(self, scans: Sequence[Scan]) -> list[Detections]:
        """Find the objects of scans, the surest first.

        Raises:
            UserError: There is no scan, or the detector is in training mode: it would find what the batch makes it.
        """
        if self.training:
            raise invalid("detector", "in evaluation mode", "one in training mode", "call eval() first")
        said = self(scans)
        anchors = _on(self.anchors, self.device)
        frames = zip(said.score_BA.sigmoid(), said.code_BA7, said.back_BA > 0, strict=True)
        found = [self._detections(anchors, *it) for it in frames]
        return [_as_of(scan, it) for scan, it in zip(scans, found, strict=True)]

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.network.heads.weight.device

    def batch(self, scans: Sequence[Scan]) -> PointBatch:
        """Points in range, in voxels that are counted from the range's lowest corner."""
        parts = [self._seen(it) for it in scans]
        return quantize([it for it, _ in parts], [it for _, it in parts], self.config.voxel_size)

    def objects(self, scan: Scan) -> Boxes:
        """The boxes of a scan whose middles are in range.

        Raises:
            UserError: It has none, not even an empty list, or one of a class that is not looked for.
        """
        if scan.boxes is None:
            raise invalid(f"boxes of scan {scan.name!r}", "there", None, "nothing can be learned without")
        classes = len(self.config.anchors)
        check_labels(f"labels of boxes of scan {scan.name!r}", scan.boxes.label_K, classes)
        return boxes_at(scan.boxes, self._in_range(scan.boxes.centre_K3))

    def _in_range(self, xyz_N3: Tensor) -> Tensor:
        low, high = xyz_N3.new_tensor(self.config.lowest), xyz_N3.new_tensor(self.config.highest)
        return ((xyz_N3 >= low) & (xyz_N3 < high)).all(dim=1)

    def _seen(self, scan: Scan) -> tuple[Tensor, Tensor]:
        """Points from the range's lowest corner, and their features."""
        part = scan.at(self._in_range(scan.xyz_N3))
        xyz_N3, intensity_N = part.xyz_N3.to(self.device), part.intensity_N.to(self.device)
        low, high = xyz_N3.new_tensor(self.config.lowest), xyz_N3.new_tensor(self.config.highest)
        place_N3 = 2 * (xyz_N3 - low) / (high - low) - 1
        return xyz_N3 - low, torch.cat([place_N3, intensity_N[:, None]], dim=1)

    def _detections(self, anchors: Boxes, score_A: Tensor, code_A7: Tensor, back_A: Tensor) -> Detections:
        parts = []
        for label in range(len(self.config.anchors)):
            row_P = ((anchors.label_K == label) & (score_A >= self.config.min_score)).nonzero()[:, 0]
            best_P = score_A[row_P].sort(descending=True, stable=True).indices[: self.config.num_candidates]
            row_P = row_P[best_P]
            boxes = decode_boxes(code_A7[row_P], boxes_at(anchors, row_P))
            boxes = replace(boxes, yaw_K=with_direction(boxes.yaw_K, back_A[row_P]))
            found = Detections(boxes, score_A[row_P])
            parts.append(found.at(suppress(boxes, found.score_K, max_iou=self.config.max_iou)))
        return Detections.joined(parts)


def _as_of(scan: Scan, found: Detections) -> Detections:
    """On the device of the scan."""
    device = scan.xyz_N3.device
    return Detections(_on(found.boxes, device), found.score_K.to(device))


def _on(boxes: Boxes, device: torch.device) -> Boxes:
    return Boxes(
        centre_K3=boxes.centre_K3.to(device),
        size_K3=boxes.size_K3.to(device),
        yaw_K=boxes.yaw_K.to(device),
        label_K=boxes.label_K.to(device),
    )
