"""A detector on a tiny synthetic street: it learns, it is the same again, it goes on after a kill; what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from multum.core import UserError, from_dict, to_dict
from multum.pointcloud.anchors import OBJECT, assign_anchors
from multum.pointcloud.box_overlap import space_iou
from multum.pointcloud.detection_loss import detection_loss, focal_loss
from multum.pointcloud.detections import Detections
from multum.pointcloud.detector import Detector
from multum.pointcloud.detector_config import BirdStage, DetectorConfig, scaled_detector
from multum.pointcloud.detector_network import HeadOutputs
from multum.pointcloud.detector_training import train_detector
from multum.pointcloud.lidar import (
    IGNORED,
    KITTI_CLASSES,
    SYNTHETIC_OBJECTS,
    AugmentationConfig,
    Boxes,
    Scan,
    ScanSet,
    SyntheticSensor,
    synthetic_street,
)
from multum.training import LearningRate, LoopConfig, read_metrics
from small_boxes import boxes_of

SMALL = replace(
    scaled_detector(0.125),
    lowest=(0.0, -12.8, -3.0),
    highest=(25.6, 12.8, 1.0),
    voxel_size=(0.1, 0.1, 0.25),
    bird=(BirdStage(channels=16, num_layers=1), BirdStage(channels=16, num_layers=1)),
)


def street(index: int) -> Scan:
    """A scan whose trucks, which nobody looks for, are of no class."""
    scan = synthetic_street(3, index, sensor=SyntheticSensor(num_beams=32, num_azimuths=512))
    assert scan.boxes is not None
    assert SYNTHETIC_OBJECTS[: len(KITTI_CLASSES)] == KITTI_CLASSES
    label_K = torch.where(scan.boxes.label_K < len(KITTI_CLASSES), scan.boxes.label_K, IGNORED)
    return replace(scan, label_N=None, boxes=replace(scan.boxes, label_K=label_K))


def streets(count: int = 2) -> ScanSet:
    scans = {str(index): street(index) for index in range(count)}
    return ScanSet(names=tuple(scans), load=scans.__getitem__, box_classes=KITTI_CLASSES)


def dials(num_epochs: int, **more: Any) -> LoopConfig:
    rate = LearningRate(peak=3e-3, decay="cosine")
    return LoopConfig(**({"num_epochs": num_epochs, "batch_size": 2, "rate": rate, "clip_norm": 10.0} | more))


def weights(detector: Detector) -> dict[str, Tensor]:
    return {name: it.clone() for name, it in detector.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_it_finds_the_cars_that_it_was_shown(tmp_path: Path) -> None:
    frames = streets()
    detector = train_detector(SMALL, frames, dials(60), tmp_path)
    losses = [record["loss"] for record in read_metrics(tmp_path / "metrics.jsonl")]
    assert losses[-1] < 0.2 * losses[0]
    seen = 0
    for scan in (frames.read(index) for index in range(len(frames))):
        cars = detector.objects(scan)
        overlap = space_iou(cars, detector.detect([scan])[0].of_class(0).boxes)[cars.label_K == 0]
        seen += int((overlap.amax(dim=1) > 0.5).sum()) if overlap.shape[1] else 0
    assert seen >= 1


@pytest.mark.parametrize(
    "augmentation", [None, AugmentationConfig(rotation_degrees=30.0, flip_probability=0.5)]
)
def test_a_training_is_the_same_again_and_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, augmentation: AugmentationConfig | None
) -> None:
    loop, frames = dials(3, checkpoint_steps=1, batch_size=1), streets()
    whole = weights(train_detector(SMALL, frames, loop, tmp_path / "whole", augmentation=augmentation))
    calls = 0
    loss = Detector.loss

    def dying(self: Detector, scans: list[Scan]) -> object:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return loss(self, scans)

    monkeypatch.setattr(Detector, "loss", dying)
    with pytest.raises(KeyboardInterrupt):
        train_detector(SMALL, frames, loop, tmp_path / "killed", augmentation=augmentation)
    again = weights(train_detector(SMALL, frames, loop, tmp_path / "killed", augmentation=augmentation))
    assert calls == 4 + 3, "it went on behind the third step"
    assert same(whole, again), "statistics of norms come back too"
    other = train_detector(
        SMALL, frames, replace(loop, seed=1), tmp_path / "other", augmentation=augmentation
    )
    assert not same(whole, weights(other))


@pytest.mark.parametrize("point_branch", [False, True])
def test_scans_of_a_batch_do_not_see_one_another(point_branch: bool) -> None:
    detector = Detector(replace(SMALL, point_branch=point_branch)).eval()
    scans = [street(0), street(1)]
    both, alone = detector(scans), [detector([it]) for it in scans]
    assert both.score_BA.shape == (2, len(detector.anchors))
    for name in ("score_BA", "code_BA7", "back_BA"):
        apart = torch.cat([getattr(it, name) for it in alone])
        torch.testing.assert_close(getattr(both, name), apart, rtol=1e-4, atol=1e-4)


def test_an_anchor_of_the_network_is_where_the_points_are() -> None:
    """One point moves what is said of the cells around it, and of no others."""
    detector = Detector(replace(SMALL, point_branch=False)).eval().double()
    for parameter in detector.parameters():
        parameter.data.abs_()  # no ReLU stops it
    place_13 = torch.tensor([[18.2, -9.0, -1.0]], dtype=torch.float64)
    one = Scan(xyz_N3=place_13, intensity_N=torch.ones(1, dtype=torch.float64))
    empty = one.at(torch.zeros(1, dtype=torch.bool))
    moved_A = detector([one]).score_BA[0] != detector([empty]).score_BA[0]
    away_M2 = detector.anchors.centre_K3[moved_A, :2] - place_13[:, :2]
    assert moved_A.any()
    assert away_M2.abs().max() < 5, "both stages see a few cells of 0.8 m"
    assert away_M2.mean(dim=0).abs().max() < 1


def test_boxes_that_the_network_says_are_told_as_they_are() -> None:
    detector = Detector(SMALL).eval()
    boxes = boxes_of([[10, 3, -1, 4.1, 1.7, 1.5, 3.0], [20, -4, -0.7, 0.7, 0.7, 1.8, -1.5]], [0, 1])
    boxes = Boxes(**{name: it.float() if it.is_floating_point() else it for name, it in vars(boxes).items()})
    said = perfect(detector, boxes)
    found = detector._detections(
        detector.anchors, said.score_BA[0].sigmoid(), said.code_BA7[0], said.back_BA[0] > 0
    )
    assert found.boxes.label_K.tolist() == [0, 1]
    torch.testing.assert_close(found.boxes.centre_K3, boxes.centre_K3, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.boxes.size_K3, boxes.size_K3, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.boxes.yaw_K, boxes.yaw_K, rtol=1e-4, atol=1e-4)
    assigned = assign_anchors(detector.anchors, boxes, SMALL.anchors)
    loss = detection_loss(said, detector.anchors, [boxes], [assigned])
    assert loss.total.item() < 1e-3


def perfect(detector: Detector, boxes: Boxes) -> HeadOutputs:
    """What a network would say that knows everything; yaws half a turn off."""
    from multum.pointcloud.box_coding import encode_boxes, heads_back
    from multum.pointcloud.lidar import boxes_at

    assigned = assign_anchors(detector.anchors, boxes, SMALL.anchors)
    is_object_A = assigned.state_A == OBJECT
    wanted = boxes_at(boxes, assigned.box_A)
    code_A7 = encode_boxes(wanted, detector.anchors)
    code_A7[:, 6] += torch.pi
    sure_A = torch.where(is_object_A, 12.0, -12.0)
    back_A = torch.where(heads_back(wanted.yaw_K), 12.0, -12.0)
    return HeadOutputs(sure_A[None], code_A7[None], back_A[None])


def test_the_focal_loss_is_the_formula() -> None:
    score, is_object = torch.tensor([0.3, -1.2, 2.0]).double(), torch.tensor([1.0, 0.0, 0.0]).double()
    prob = 1 / (1 + (-score).exp())
    expected = torch.where(
        is_object == 1,
        -0.25 * (1 - prob) ** 2 * prob.log(),
        -0.75 * prob**2 * (1 - prob).log(),
    )
    torch.testing.assert_close(focal_loss(score, is_object), expected)


def test_a_scan_without_points_or_objects_is_no_problem() -> None:
    empty = Scan(xyz_N3=torch.zeros(0, 3), intensity_N=torch.zeros(0), boxes=boxes_of([]))
    detector = Detector(SMALL).eval()
    assert len(detector.detect([empty])[0]) == 0
    loss = detector.loss([empty])
    assert loss.boxes.item() == loss.directions.item() == 0
    assert torch.isfinite(loss.total)


def test_a_config_survives_json() -> None:
    assert from_dict(DetectorConfig, to_dict(SMALL)) == SMALL


def test_wrong_wishes_are_named(tmp_path: Path) -> None:
    detector, scan = Detector(SMALL), street(0)
    with pytest.raises(UserError, match="detector must be in evaluation mode"):
        detector.detect([scan])
    with pytest.raises(UserError, match=r"boxes of scan .* must be there; got None"):
        detector.loss([replace(scan, boxes=None)])
    assert scan.boxes is not None
    stranger = replace(scan, boxes=replace(scan.boxes, label_K=torch.full_like(scan.boxes.label_K, 3)))
    with pytest.raises(UserError, match=r"labels of boxes of scan .* must be in \[0, 3\)"):
        detector.loss([stranger])
    mixing = AugmentationConfig(laser_mix_probability=0.5)
    with pytest.raises(UserError, match="augmentation must be without mixing"):
        train_detector(SMALL, streets(), dials(1), tmp_path, augmentation=mixing)
    with pytest.raises(UserError, match="parts must be at least one"):
        Detections.joined([])


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"highest": (25.0, 12.8, 1.0)}, "voxels along x must be a positive multiple of 16; got 250"),
        ({"highest": (25.6, 12.8, 1.1)}, "voxels along z must be a positive multiple of 8; got 16.4"),
        ({"lowest": (30.0, -12.8, -3.0)}, "voxels along x must be a positive"),
        ({"voxel_size": (0.1, 0.0, 0.25)}, "voxel_size must be positive"),
        ({"bird": ()}, "bird and anchors must be at least one each"),
        ({"anchors": ()}, "bird and anchors must be at least one each"),
        ({"down": SMALL.down[:2]}, "down must be three stages"),
        ({"stem": 0}, "must be at least 1; got 0"),
        ({"min_score": 1.0}, r"min_score and max_iou must be in \[0, 1\]"),
    ],
)
def test_dials_out_of_range_are_refused(wish: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(SMALL, **wish)
