"""nuScenes-lidarseg is found through its tables, and its categories become the challenge's 16 classes by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multum.core import UserError
from multum.pointcloud.lidar import (
    IGNORED,
    NUSCENES_CATEGORIES,
    NUSCENES_CLASSES,
    read_nuscenes_lidarseg,
)
from multum.pointcloud.lidar.nuscenes_lidarseg import NUSCENES_IGNORED
from small_scans import some_points, write

ALL = [*(name for names in NUSCENES_CATEGORIES.values() for name in names), *NUSCENES_IGNORED]

MOMENTS = [("scene-0103", 300), ("scene-0061", 200), ("scene-0061", 100)]


def tiny_root(root: Path, *, version: str = "v1.0-mini", **changed: Any) -> dict[str, Any]:
    """Three key frames in two scenes; `changed` replaces tables, None takes one away."""
    number = {name: index for index, name in enumerate(sorted(ALL))}  # any numbering will do
    tables: dict[str, Any] = {
        "category": [{"token": f"c{index}", "name": name, "index": index} for name, index in number.items()],
        "scene": [{"token": f"t-{name}", "name": name} for name in sorted({scene for scene, _ in MOMENTS})],
        "sample": [
            {"token": f"s{time}", "scene_token": f"t-{scene}", "timestamp": time} for scene, time in MOMENTS
        ],
        "sample_data": [
            {"token": f"d{time}", "sample_token": f"s{time}", "filename": f"samples/LIDAR_TOP/{time}.pcd.bin"}
            for _, time in MOMENTS
        ],
        "lidarseg": [
            {
                "sample_data_token": f"d{time}",
                "filename": f"lidarseg/{version}/d{time}_lidarseg.bin",
            }
            for _, time in MOMENTS
        ],
    }
    (root / version).mkdir(parents=True, exist_ok=True)
    for name, rows in {**tables, **changed}.items():
        if rows is not None:
            (root / version / f"{name}.json").write_text(json.dumps(rows))
    for _, time in MOMENTS:
        write(
            root / f"samples/LIDAR_TOP/{time}.pcd.bin",
            some_points(4, 5, seed=time) * np.float32([1, 1, 1, 255, 1]),
        )
        labels = [number[name] for name in ("vehicle.car", "noise", "vehicle.bus.bendy", "static.vegetation")]
        write(root / f"lidarseg/{version}/d{time}_lidarseg.bin", np.array(labels, dtype=np.uint8))
    return tables


def test_key_frames_come_by_scene_and_time(tmp_path: Path) -> None:
    tiny_root(tmp_path)
    scans = read_nuscenes_lidarseg(tmp_path)
    assert scans.names == ("scene-0061/100", "scene-0061/200", "scene-0103/300")
    assert scans.classes == NUSCENES_CLASSES
    scan, rows = scans.read(1), some_points(4, 5, seed=200)
    assert scan.label_N is not None
    assert scan.label_N.tolist() == [3, IGNORED, 2, 15]
    assert np.array_equal(scan.xyz_N3.numpy(), np.stack([rows[:, 1], -rows[:, 0], rows[:, 2]], axis=1))
    assert scan.intensity_N.tolist() == pytest.approx(rows[:, 3].tolist(), rel=1e-6)


def test_scenes_can_be_chosen(tmp_path: Path) -> None:
    tiny_root(tmp_path)
    assert read_nuscenes_lidarseg(tmp_path, scenes=["scene-0103"]).names == ("scene-0103/300",)
    with pytest.raises(UserError, match=r"got \['scene-0060'\]; did you mean scene-0061"):
        read_nuscenes_lidarseg(tmp_path, scenes=["scene-0060", "scene-0103"])


def test_the_challenge_has_16_classes_of_32_categories() -> None:
    assert len(NUSCENES_CLASSES) == 16
    assert len(ALL) == len(set(ALL)) == 32
    assert list(NUSCENES_CLASSES[:10]) == sorted(
        NUSCENES_CLASSES[:10]
    )  # things by the alphabet, then surfaces
    for name, categories in NUSCENES_CATEGORIES.items():
        if len(categories) == 1:
            assert categories[0].split(".")[-1].replace("_", "") in name.replace("_", "")


def test_a_version_must_be_told_where_there_are_two(tmp_path: Path) -> None:
    tiny_root(tmp_path)
    tiny_root(tmp_path, version="v1.0-trainval", lidarseg=None)
    with pytest.raises(UserError, match=r"got \['v1\.0-mini', 'v1\.0-trainval'\]; give version"):
        read_nuscenes_lidarseg(tmp_path)
    assert len(read_nuscenes_lidarseg(tmp_path, version="v1.0-mini")) == 3
    with pytest.raises(UserError, match=r"with lidarseg\.json; got .*nuscenes\.org"):
        read_nuscenes_lidarseg(tmp_path, version="v1.0-trainval")
    with pytest.raises(UserError, match=r"with category\.json; got .*v1\.0-test"):
        read_nuscenes_lidarseg(tmp_path, version="v1.0-test")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"category": [{"name": "vehicle.car"}]}, r"row 0 of .*category\.json must be one with name, index"),
        (
            {"category": [{"name": "vehicle.kar", "index": 0}]},
            "one of the 32; got 'vehicle.kar'; did you mean",
        ),
        ({"category": [{"name": "vehicle.car", "index": 256}]}, r"in \[0, 256\); got 256"),
        ({"category": {}}, "a list of rows; got 'dict'"),
        ({"sample_data": []}, "must be complete; got \"no row 'd300'\""),
        ({"sample": []}, "must be complete; got \"no row 's300'\""),
        ({"scene": []}, "must be complete; got \"no row 't-scene-0103'\""),
        ({"lidarseg": []}, "labelled scans in .* must be at least one; got 0"),
        ({"lidarseg": [3]}, "row 0 of .*lidarseg"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    tiny_root(tmp_path, **changed)
    with pytest.raises(UserError, match=said):
        read_nuscenes_lidarseg(tmp_path)


def test_missing_files_and_folders_say_where_the_data_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"an existing folder; got .*nuscenes\.org"):
        read_nuscenes_lidarseg(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"a single v1\.0-\.\.\. in it; got 'none'; .*nuscenes\.org"):
        read_nuscenes_lidarseg(tmp_path)
    tiny_root(tmp_path)
    (tmp_path / "samples/LIDAR_TOP/200.pcd.bin").unlink()
    with pytest.raises(UserError, match=r"complete; got 'no .*200\.pcd\.bin'.*nuscenes\.org"):
        read_nuscenes_lidarseg(tmp_path)


def test_labels_must_fit_points_and_categories(tmp_path: Path) -> None:
    tiny_root(tmp_path)
    place = tmp_path / "lidarseg/v1.0-mini/d100_lidarseg.bin"
    write(place, np.array([0, 1, 2, 32], dtype=np.uint8))
    with pytest.raises(UserError, match=r"labels in .* must be numbers of categories; got \[32\]"):
        read_nuscenes_lidarseg(tmp_path).read(0)
    write(place, np.array([0, 1, 2], dtype=np.uint8))
    with pytest.raises(
        UserError, match="labels of scan 'scene-0061/100' must be 4, one for each point; got 3"
    ):
        read_nuscenes_lidarseg(tmp_path).read(0)
    (tmp_path / "samples/LIDAR_TOP/200.pcd.bin").write_bytes(b"\0" * 79)
    with pytest.raises(UserError, match="a multiple of 20 bytes; got 79"):
        read_nuscenes_lidarseg(tmp_path).read(1)
