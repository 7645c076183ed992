"""A detector that learns three frames of KITTI by heart, and is asked for their objects again.

This says that the whole way works: voxels, encoder, anchors, loss, boxes, average precision. It says nothing about
frames that were not learned from: the three of them hold two cars, a pedestrian and a cyclist, and no others are at
hand.

What counts: the labelled objects of a class, of any difficulty or none (one of both cars is too small in the picture
for KITTI's), whose middle is in range and that hold at least MIN_POINTS points. Others of the class are forgiven.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.places import data_folder
from multum.pointcloud.average_precision import Truth, View, average_precision
from multum.pointcloud.detections import Detections
from multum.pointcloud.detector import Detector
from multum.pointcloud.detector_config import BirdStage, DetectorConfig, scaled_detector
from multum.pointcloud.detector_training import train_detector
from multum.pointcloud.lidar import (
    KITTI_CLASSES,
    Scan,
    ScanSet,
    boxes_at,
    points_in_boxes,
    read_kitti_detection,
)
from multum.training import LearningRate, LoopConfig

MIN_POINTS = 5
MIN_IOU = {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5}
"""KITTI's."""


@dataclass(frozen=True, kw_only=True)
class DetectionProblem:
    """A training on the frames and its judgement."""

    seed: int = 0
    """Of weights and order."""
    is_small: bool = False
    """Whether few steps of a smaller network are taken: a rehearsal, which finds nothing."""

    @property
    def config(self) -> DetectorConfig:
        """SPVCNN's encoder at a quarter of its widths, in SECOND's range with its voxels."""
        if not self.is_small:
            return scaled_detector(0.25)
        stages = (BirdStage(channels=8, num_layers=1), BirdStage(channels=8, num_layers=1))
        return replace(scaled_detector(0.125), bird=stages, up_channels=8)

    @property
    def loop(self) -> LoopConfig:
        """All three frames in each step, not varied: they are to be known by heart."""
        return LoopConfig(
            num_epochs=2 if self.is_small else 120,
            batch_size=3,
            rate=LearningRate(peak=3e-3, decay="cosine"),
            clip_norm=10.0,
            seed=self.seed,
        )

    def frames(self) -> ScanSet:
        """The points in the picture: only there were objects labelled."""
        return read_kitti_detection(data_folder("kitti_object_frames"), only_in_picture=True)

    def scans(self) -> list[Scan]:
        """All of them."""
        frames = self.frames()
        return [frames.read(index) for index in range(len(frames))]

    def found(self) -> list[Detections]:
        """Train, and look at the same frames again."""
        with tempfile.TemporaryDirectory() as folder:
            detector = train_detector(self.config, self.frames(), self.loop, Path(folder))
        return [detector.detect([scan])[0] for scan in self.scans()]

    def truths(self, name: str) -> list[Truth]:
        """What counts of a class, frame by frame."""
        detector = Detector(self.config)  # for its range
        return [_truth(detector, scan, KITTI_CLASSES.index(name)) for scan in self.scans()]


def ap(found: Sequence[Detections], truths: Sequence[Truth], name: str, view: View = "space") -> float:
    """Average precision of a class, at KITTI's overlap."""
    mine = [it.of_class(KITTI_CLASSES.index(name)) for it in found]
    return average_precision(mine, truths, min_iou=MIN_IOU[name], view=view)


def _truth(detector: Detector, scan: Scan, label: int) -> Truth:
    boxes = detector.objects(scan)
    boxes = boxes_at(boxes, boxes.label_K == label)
    return Truth(boxes, points_in_boxes(scan.xyz_N3, boxes).sum(dim=1) >= MIN_POINTS)
