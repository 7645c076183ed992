"""The suite that measures the detector: what it counts in the frames that are at hand."""

from pathlib import Path

import pytest
import torch
from benchmarks.detection_problem import MIN_POINTS, DetectionProblem, ap
from benchmarks.registry import Setting
from benchmarks.suites import detection

from multum.pointcloud.anchors import OBJECT, assign_anchors
from multum.pointcloud.detections import Detections
from multum.pointcloud.detector import Detector
from multum.pointcloud.lidar import points_in_boxes


@pytest.mark.data
def test_two_cars_a_pedestrian_and_a_cyclist_count(data_folder: Path) -> None:
    problem = DetectionProblem(is_small=True)
    counted = {
        name: sum(int(it.is_counted_L.sum()) for it in problem.truths(name))
        for name in ("Car", "Pedestrian", "Cyclist")
    }
    assert counted == {"Car": 2, "Pedestrian": 1, "Cyclist": 1}
    for scan, truth in zip(problem.scans(), problem.truths("Car"), strict=True):
        held_L = points_in_boxes(scan.xyz_N3, truth.boxes).sum(dim=1)
        assert bool((held_L[truth.is_counted_L] >= MIN_POINTS).all())


@pytest.mark.data
def test_its_check_holds_and_a_box_moved_by_a_metre_is_not_found(data_folder: Path) -> None:
    problem = DetectionProblem(is_small=True)
    assert detection._check(problem).passed
    found = []
    for truth in problem.truths("Car"):
        moved = torch.tensor([1.0, 0.0, 0.0])
        boxes = truth.boxes
        boxes = type(boxes)(
            centre_K3=boxes.centre_K3 + moved,
            size_K3=boxes.size_K3,
            yaw_K=boxes.yaw_K,
            label_K=boxes.label_K,
        )
        found.append(Detections(boxes, torch.ones(len(boxes))))
    assert ap(found, problem.truths("Car"), "Car") == 0


@pytest.mark.data
def test_every_object_of_a_class_has_anchors(data_folder: Path) -> None:
    problem = DetectionProblem(is_small=True)
    detector = Detector(problem.config)
    for scan in problem.scans():
        boxes = detector.objects(scan)
        told = assign_anchors(detector.anchors, boxes, problem.config.anchors)
        reached = set(told.box_A[told.state_A == OBJECT].tolist())
        assert reached == set((boxes.label_K >= 0).nonzero()[:, 0].tolist())


def test_a_rehearsal_is_small() -> None:
    assert detection._prepare(Setting(quick=True)).is_small
    assert not detection._prepare(Setting()).is_small
