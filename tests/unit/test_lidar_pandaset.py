"""PandaSet's frames are read with their axes turned, in 42 classes or 15, and split by time."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from multum.core import UserError
from multum.pointcloud.lidar import (
    IGNORED,
    PANDASET_CLASSES,
    PANDASET_COARSE,
    pandaset_coarse,
    read_pandaset,
    time_split,
)

COARSE = tuple(PANDASET_COARSE)


def fields() -> dict[str, Any]:
    return {
        "xyz": np.array([[1000, 5000, -250], [-2000, 7001, 0], [0, 0, 1]], dtype=np.int32),
        "intensity": np.array([0, 51, 255], dtype=np.uint8),
        "sensor": np.array([0, 1, 0], dtype=np.uint8),
        "label": np.array([0, 7, 42], dtype=np.uint8),
        "box": np.array([[1, 5, 0, 1.9, 4.5, 1.6, 0.1], [2, 6, 0, 3, 6, 4, 0]], dtype=np.float32),
        "box_label": np.array(["Car", "Other Vehicle - Construction Veh"]),
    }


def frame(folder: Path, name: str, **changed: Any) -> None:
    np.savez_compressed(
        folder / f"{name}.npz",
        **{key: value for key, value in {**fields(), **changed}.items() if value is not None},
    )


def test_a_frame_arrives_in_metres_with_x_ahead(tmp_path: Path) -> None:
    frame(tmp_path, "00")
    scans = read_pandaset(tmp_path)
    assert scans.classes == scans.box_classes == PANDASET_CLASSES
    scan = scans.read(0)
    assert torch.allclose(scan.xyz_N3, torch.tensor([[5, -1, -0.25], [7.001, 2, 0], [0, 0, 0.001]]))
    assert scan.intensity_N.tolist() == pytest.approx([0, 0.2, 1])
    assert scan.label_N is not None
    assert scan.label_N.tolist() == [IGNORED, PANDASET_CLASSES.index("Road"), 41]
    boxes = scan.boxes
    assert boxes is not None
    assert boxes.centre_K3[0].tolist() == [5, -1, 0]
    assert boxes.size_K3[0].tolist() == pytest.approx([4.5, 1.9, 1.6])
    # the length lay along y turned by 0.1, and y became x
    assert boxes.yaw_K[0].item() == pytest.approx(0.1)
    assert [PANDASET_CLASSES[label] for label in boxes.label_K] == [
        "Car",
        "Other Vehicle - Construction Vehicle",
    ]


def test_the_forward_sensor_can_be_left_out(tmp_path: Path) -> None:
    frame(tmp_path, "00")
    scan = read_pandaset(tmp_path, forward_sensor=False).read(0)
    assert torch.allclose(scan.xyz_N3[:, 2], torch.tensor([-0.25, 0.001]))
    assert scan.label_N is not None
    assert scan.label_N.tolist() == [IGNORED, 41]


def test_coarse_classes_are_for_points_and_boxes(tmp_path: Path) -> None:
    frame(tmp_path, "00")
    scans = read_pandaset(tmp_path, coarse=True)
    assert scans.classes == scans.box_classes == COARSE
    scan = scans.read(0)
    assert scan.label_N is not None
    assert [COARSE[label] for label in scan.label_N[1:]] == ["road", "other object"]
    assert scan.boxes is not None
    assert [COARSE[label] for label in scan.boxes.label_K] == ["car", "other vehicle"]


def test_every_class_is_in_one_coarse_class_at_most() -> None:
    merged = [name for names in PANDASET_COARSE.values() for name in names]
    assert len(PANDASET_CLASSES) == len(set(PANDASET_CLASSES)) == 42
    assert len(COARSE) == 15
    assert len(merged) == len(set(merged))
    ignored = set(PANDASET_CLASSES) - set(merged)
    assert ignored == {"Smoke", "Exhaust", "Spray or rain", "Reflection", "Animals - Bird", "Animals - Other"}
    label_N = pandaset_coarse(torch.arange(42))
    assert {PANDASET_CLASSES[fine] for fine in (label_N == IGNORED).nonzero()} == ignored
    assert set(label_N.tolist()) == {IGNORED, *range(15)}
    with pytest.raises(UserError, match=r"fine labels must be in \[0, 42\) or -1 for none; got \[-2, 42\]"):
        pandaset_coarse(torch.tensor([0, 42, -2]))


def test_frames_come_in_time_and_the_last_are_tested_on(tmp_path: Path) -> None:
    for number in (100, 4, 20, 8):
        frame(tmp_path, f"{number:02}")
    scans = read_pandaset(tmp_path)
    assert scans.names == ("04", "08", "20", "100")
    train, test = time_split(scans, 3)
    assert (train.names, test.names) == (("04", "08", "20"), ("100",))
    assert test.read(0).name == "100"
    for wrong in (0, 4, 13):
        with pytest.raises(UserError, match=rf"num_train must be in \[1, 4\); got {wrong}"):
            time_split(scans, wrong)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"label": None}, "a whole .npz file with xyz, intensity, sensor, label, box, box_label"),
        ({"label": np.zeros(2, dtype=np.uint8)}, "of as many labels as points, and as boxes"),
        ({"box_label": np.array(["Car"])}, "of as many labels as points, and as boxes"),
        ({"xyz": np.zeros((3, 4), dtype=np.int32)}, "of N x 3 points and K x 7 boxes"),
        ({"box": np.zeros((2, 6), dtype=np.float32)}, "of N x 3 points and K x 7 boxes"),
        ({"xyz": np.zeros((3, 3), dtype=np.float32)}, "xyz of frame .* must be integers; got 'float32'"),
        ({"label": np.array([0, 43, 1], dtype=np.uint8)}, "labels in .* must be at most 42; got 43"),
        ({"box_label": np.array(["Car", "Kar"])}, r"classes of PandaSet; got \['Kar'\]"),
        ({"box_label": np.array(["Car", None], dtype=object)}, "a whole .npz file"),
    ],
)
def test_frames_that_do_not_fit_are_refused(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    frame(tmp_path, "00", **changed)
    with pytest.raises(UserError, match=said):
        read_pandaset(tmp_path).read(0)


def test_a_frame_cut_short_is_refused(tmp_path: Path) -> None:
    frame(tmp_path, "00")
    whole = (tmp_path / "00.npz").read_bytes()
    for damaged in (b"", b"PK nothing", whole[:-30], whole[:60] + b"\0" * 40 + whole[100:]):
        (tmp_path / "00.npz").write_bytes(damaged)
        with pytest.raises(UserError, match=r"frame .*00\.npz must be a whole \.npz file"):
            read_pandaset(tmp_path).read(0)


def test_a_frame_without_points_or_boxes(tmp_path: Path) -> None:
    frame(tmp_path, "00", box=np.zeros((0, 7), dtype=np.float32), box_label=np.zeros(0, dtype="<U32"))
    boxes = read_pandaset(tmp_path).read(0).boxes
    assert boxes is not None
    assert len(boxes) == 0
    nothing = {key: value[:0] for key, value in fields().items()}
    frame(tmp_path, "00", **nothing)
    with pytest.raises(UserError, match="of N x 3 points and K x 7 boxes"):
        read_pandaset(tmp_path).read(0)
    frame(tmp_path, "00", sensor=np.ones(3, dtype=np.uint8))
    with pytest.raises(UserError, match=r"of points from the turning sensor; got 'none'; .*forward_sensor"):
        read_pandaset(tmp_path, forward_sensor=False).read(0)


def test_other_classes_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"an existing folder; got .*georghess/pandaset"):
        read_pandaset(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"one with \.npz files in it; got .*georghess/pandaset"):
        read_pandaset(tmp_path)
    frame(tmp_path, "00")
    names = {str(number): name for number, name in enumerate(PANDASET_CLASSES, start=1)}
    (tmp_path / "classes.json").write_text(json.dumps(names))
    assert len(read_pandaset(tmp_path)) == 1
    (tmp_path / "classes.json").write_text(json.dumps({**names, "7": "Street"}))
    with pytest.raises(UserError, match="the 42 published ones"):
        read_pandaset(tmp_path)


@pytest.mark.data
def test_the_real_drive_is_whole(data_folder: Path) -> None:
    scans = read_pandaset(data_folder / "pandaset_seq002")
    assert len(scans) == 19
    train, test = time_split(scans)
    assert (len(train), len(test)) == (13, 6)
    assert max(map(int, train.names)) < min(map(int, test.names))
    scan = scans.read(0)
    assert len(scan) == 166_768
    assert len(read_pandaset(data_folder / "pandaset_seq002", forward_sensor=False).read(0)) == 106_169
    assert 0 <= scan.intensity_N.min() < scan.intensity_N.max() <= 1


@pytest.mark.data
def test_real_cars_lie_lengthwise_in_their_boxes(data_folder: Path) -> None:
    scan = read_pandaset(data_folder / "pandaset_seq002", coarse=True).read(10)
    assert scan.boxes is not None
    assert scan.label_N is not None
    cars = scan.boxes.label_K == COARSE.index("car")
    length, width, height = scan.boxes.size_K3[cars].median(dim=0).values.tolist()
    assert length == pytest.approx(4.5, abs=0.3)
    assert width == pytest.approx(1.9, abs=0.2)
    assert height == pytest.approx(1.65, abs=0.2)
    # cars stand along the street, which is ahead
    assert (scan.boxes.yaw_K[cars] % math.pi - math.pi / 2).abs().median() > 1.4
    inside = torch.zeros(len(scan), dtype=torch.bool)
    for centre, size, yaw in zip(scan.boxes.centre_K3, scan.boxes.size_K3, scan.boxes.yaw_K, strict=True):
        offset = scan.xyz_N3 - centre
        along = offset[:, 0] * yaw.cos() + offset[:, 1] * yaw.sin()
        across = offset[:, 1] * yaw.cos() - offset[:, 0] * yaw.sin()
        inside |= (2 * torch.stack([along, across, offset[:, 2]], dim=1).abs() <= size).all(dim=1)
    of_cars = scan.label_N == COARSE.index("car")
    assert inside[of_cars].float().mean() > 0.95
    assert inside[scan.label_N == COARSE.index("building")].float().mean() < 0.01
