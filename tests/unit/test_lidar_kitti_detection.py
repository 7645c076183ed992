"""KITTI's boxes arrive in the scanner's frame, with the benchmark's difficulties, from both layouts."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from multum.core import UserError
from multum.pointcloud.lidar import (
    IGNORED,
    KITTI_CLASSES,
    KITTI_DIFFICULTIES,
    Scan,
    kitti_difficulty,
    kitti_frames,
    read_kitti_calibration,
    read_kitti_detection,
    read_kitti_objects,
)
from small_scans import some_points, write

SWAP = "0 -1 0 0.2 0 0 -1 -0.1 1 0 0 -0.3"
"""Camera from scanner: right is minus left, down is minus up, and the camera is a little elsewhere."""

CALIBRATION = f"P2: 700 0 600 0 0 700 180 0 0 0 1 0\nR0_rect: 1 0 0 0 1 0 0 0 1\nTr_velo_to_cam: {SWAP}\n"

CAR = "Car 0.00 0 1.85 387.63 181.54 423.81 241.54 1.50 1.80 4.00 3.00 2.00 20.00 0.50"


def frame(root: Path, name: str, labels: str | None, *, flat: bool, calibration: str = CALIBRATION) -> None:
    places = ("{}.bin", "{}.calib.txt", "{}.label_2.txt")
    if not flat:
        places = ("velodyne/{}.bin", "calib/{}.txt", "label_2/{}.txt")
    points, calib, label = (root / place.format(name) for place in places)
    write(points, some_points(9))
    for path, text in ((calib, calibration), (label, labels)):
        if text is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


@pytest.mark.parametrize("layout", ["flat", "training", "part"])
def test_all_layouts_give_the_same_scan(tmp_path: Path, layout: str) -> None:
    root = tmp_path / "training" if layout == "training" else tmp_path
    frame(root, "000007", CAR + "\n", flat=layout == "flat")
    frame(root, "000003", "", flat=layout == "flat")
    scans = read_kitti_detection(tmp_path)
    assert scans.names == ("000003", "000007")
    assert scans.box_classes == KITTI_CLASSES == ("Car", "Pedestrian", "Cyclist")
    scan = scans.read(1)
    assert (scan.name, len(scan), scan.label_N) == ("000007", 9, None)
    assert scan.boxes is not None
    assert scan.boxes.label_K.tolist() == [0]
    empty = scans.read(0).boxes
    assert empty is not None
    assert len(empty) == 0


def test_a_box_goes_to_the_scanners_frame_in_closed_form(tmp_path: Path) -> None:
    (tmp_path / "calib.txt").write_text(CALIBRATION)
    (tmp_path / "label.txt").write_text(CAR)
    boxes = read_kitti_objects(tmp_path / "label.txt", read_kitti_calibration(tmp_path / "calib.txt")).boxes
    # camera (3, 2 - 1.5 / 2, 20): ahead is z, left is minus x, up is minus y, each less the camera's own place
    assert boxes.centre_K3[0].tolist() == pytest.approx([20 + 0.3, -(3 - 0.2), -(2 - 0.75 + 0.1)])
    assert boxes.size_K3[0].tolist() == pytest.approx([4.0, 1.8, 1.5])
    assert boxes.yaw_K[0].item() == pytest.approx(-0.5 - math.pi / 2)


def test_the_rectifying_turn_counts_and_the_way_back_is_exact(tmp_path: Path) -> None:
    turn = 0.3  # about the camera's vertical axis
    c, s = math.cos(turn), math.sin(turn)
    text = CALIBRATION.replace("R0_rect: 1 0 0 0 1 0 0 0 1", f"R0_rect: {c} 0 {s} 0 1 0 {-s} 0 {c}")
    (tmp_path / "calib.txt").write_text(text)
    (tmp_path / "label.txt").write_text(CAR)
    calibration = read_kitti_calibration(tmp_path / "calib.txt")
    xyz_M3 = torch.from_numpy(some_points(20)[:, :3]).double()
    assert torch.allclose(calibration.to_lidar(calibration.to_camera(xyz_M3)), xyz_M3)
    yaw = read_kitti_objects(tmp_path / "label.txt", calibration).boxes.yaw_K[0].item()
    assert yaw == pytest.approx(-0.5 - math.pi / 2 + turn)


def test_what_is_in_the_picture_follows_the_camera(tmp_path: Path) -> None:
    (tmp_path / "calib.txt").write_text(CALIBRATION)
    calibration = read_kitti_calibration(tmp_path / "calib.txt")
    # ahead; behind; far to the left; far above; just inside the right edge; just outside it
    edge = (1242 - 600) / 700 * 10  # metres to the right of the camera's axis at 10 m
    camera_M3 = torch.tensor(
        [[0.0, 0, 10], [0, 0, -10], [-20, 0, 10], [0, -9, 10], [edge - 0.01, 0, 10], [edge + 0.01, 0, 10]]
    )
    inside = calibration.in_picture(calibration.to_lidar(camera_M3))
    assert inside.tolist() == [True, False, False, False, True, False]


def test_points_outside_the_picture_can_be_left_out(tmp_path: Path) -> None:
    frame(tmp_path, "000000", CAR, flat=True)
    ahead = read_kitti_detection(tmp_path, only_in_picture=True).read(0)
    both = read_kitti_detection(tmp_path).read(0)
    assert 0 < len(ahead) < len(both) == 9
    assert bool((ahead.xyz_N3[:, 0] > 0).all())
    assert ahead.boxes is not None


def test_other_kinds_stay_unlabelled_and_unlabelled_regions_go(tmp_path: Path) -> None:
    lines = [CAR.replace("Car", kind) for kind in ("Van", "Cyclist", "Person_sitting", "Pedestrian")]
    lines.insert(1, "DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10")
    (tmp_path / "label.txt").write_text("\n".join(lines))
    (tmp_path / "calib.txt").write_text(CALIBRATION)
    objects = read_kitti_objects(tmp_path / "label.txt", read_kitti_calibration(tmp_path / "calib.txt"))
    assert objects.kinds == ("Van", "Cyclist", "Person_sitting", "Pedestrian")
    assert objects.boxes.label_K.tolist() == [IGNORED, 2, IGNORED, 1]
    assert objects.image_box_K4[0].tolist() == pytest.approx([387.63, 181.54, 423.81, 241.54])
    assert objects.difficulty_K.tolist() == [0] * 4


@pytest.mark.parametrize(
    ("height", "occlusion", "truncation", "level"),
    [
        (40, 0, 0.15, "easy"),
        (39.9, 0, 0.15, "moderate"),
        (40, 1, 0.0, "moderate"),
        (40, 0, 0.16, "moderate"),
        (25, 1, 0.3, "moderate"),
        (25, 2, 0.3, "hard"),
        (25, 1, 0.31, "hard"),
        (25, 2, 0.5, "hard"),
        (24.9, 0, 0.0, None),
        (100, 3, 0.0, None),
        (100, 0, 0.51, None),
    ],
)
def test_difficulty_is_the_benchmarks(
    height: float, occlusion: int, truncation: float, level: str | None
) -> None:
    found = kitti_difficulty(*(torch.tensor([float(value)]) for value in (height, occlusion, truncation)))
    assert found.item() == (IGNORED if level is None else KITTI_DIFFICULTIES.index(level))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (CAR + " 0.9", r"line 2 of .*16 words are a file of results"),
        (CAR.rsplit(" ", 1)[0], "line 2 of .* must be a name and 14 numbers"),
        (CAR.replace("1.80", "wide"), "line 2 of .* must be a name and 14 numbers"),
        (CAR.replace("1.80", "nan"), "line 2 of .* must be a name and 14 numbers"),
        (CAR.replace("1.80", "0"), r"sizes in line 2 of .* must be positive; got \[1\.5, 0\.0, 4\.0\]"),
    ],
)
def test_lines_that_are_no_objects_are_refused(tmp_path: Path, line: str, said: str) -> None:
    frame(tmp_path, "000000", f"{CAR}\n{line}\n", flat=True)
    with pytest.raises(UserError, match=said):
        read_kitti_detection(tmp_path).read(0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CALIBRATION.replace("R0_rect", "R1_rect"), "R0_rect in .* must be 9 numbers; got 'no such line'"),
        (CALIBRATION.replace("-0.3", ""), "Tr_velo_to_cam in .* must be 12 numbers"),
        (CALIBRATION.replace("180", "high"), "P2 in .* must be 12 numbers"),
        (CALIBRATION.replace("180", "inf"), "P2 in .* must be 12 numbers"),
    ],
)
def test_calibrations_that_are_none_are_refused(tmp_path: Path, text: str, said: str) -> None:
    frame(tmp_path, "000000", CAR, flat=True, calibration=text)
    with pytest.raises(UserError, match=said):
        read_kitti_detection(tmp_path).read(0)


def test_a_part_without_labels_has_no_boxes(tmp_path: Path) -> None:
    frame(tmp_path, "000000", None, flat=False)
    scans = read_kitti_detection(tmp_path)
    assert scans.box_classes == ()
    assert scans.read(0).boxes is None
    assert kitti_frames(tmp_path)["000000"].read_objects() is None


def test_incomplete_and_empty_folders_say_where_the_data_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"KITTI folder must be an existing folder.*cvlibs\.net"):
        read_kitti_detection(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"one with velodyne/\*\.bin.*cvlibs\.net"):
        read_kitti_detection(tmp_path)
    frame(tmp_path, "000000", CAR, flat=False)
    frame(tmp_path, "000001", None, flat=False)
    with pytest.raises(
        UserError, match=r"with labels, every one; got '1 of 2 .*label_2/000001\.txt the first"
    ):
        read_kitti_detection(tmp_path)
    (tmp_path / "calib" / "000001.txt").unlink()
    with pytest.raises(UserError, match="with calibration, every one; got '1 of 2 without"):
        read_kitti_detection(tmp_path)


def num_inside(scan: Scan) -> list[int]:
    """Count the points in each box, by the distance along each axis of it."""
    assert scan.boxes is not None
    xyz = scan.xyz_N3.numpy().astype(np.float64)
    counts = []
    for centre, size, yaw in zip(scan.boxes.centre_K3, scan.boxes.size_K3, scan.boxes.yaw_K, strict=True):
        ahead = np.array([math.cos(yaw), math.sin(yaw), 0.0])
        axes = np.stack([ahead, np.cross([0, 0, 1], ahead), [0, 0, 1]])
        counts.append(int((abs((xyz - centre.numpy()) @ axes.T) <= size.numpy() / 2).all(1).sum()))
    return counts


@pytest.mark.data
def test_points_lie_in_the_boxes_of_real_frames(data_folder: Path) -> None:
    scans = read_kitti_detection(data_folder / "kitti_object_frames")
    assert scans.names == ("000000", "000001", "000002")
    counts = [num_inside(scans.read(index)) for index in range(3)]
    assert [len(of) for of in counts] == [1, 3, 2]
    assert counts[0][0] > 300  # a pedestrian at 8 m
    assert min(counts[1]) >= 4  # a truck, a car and a cyclist at 46 to 69 m
    assert counts[2][0] > 500  # a trailer or the like at 9 m
    assert counts[2][1] > 50  # a car at 34 m
    kept = read_kitti_detection(data_folder / "kitti_object_frames", only_in_picture=True)
    assert [num_inside(kept.read(index)) for index in range(3)] == counts
    assert 15_000 < len(kept.read(0)) < len(scans.read(0)) / 4


@pytest.mark.data
def test_real_objects_are_as_hard_as_the_benchmark_says(data_folder: Path) -> None:
    frames = kitti_frames(data_folder / "kitti_object_frames")
    found = [frame.read_objects() for frame in frames.values()]
    assert [objects.kinds for objects in found if objects] == [
        ("Pedestrian",),
        ("Truck", "Car", "Cyclist"),
        ("Misc", "Car"),
    ]
    # the car at 58 m is 22 pixels high; nobody could tell how hidden the cyclist is; the other car is 33 pixels high
    assert [objects.difficulty_K.tolist() for objects in found if objects] == [[0], [1, -1, -1], [0, 1]]
