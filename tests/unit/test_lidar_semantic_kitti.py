"""SemanticKITTI is read in its own layout, its numbers become 19 classes, and predictions go back into numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from multum.core import UserError, forget_warnings
from multum.pointcloud.lidar import (
    IGNORED,
    SEMANTIC_KITTI_CLASSES,
    SEMANTIC_KITTI_RAW,
    SEMANTIC_KITTI_SPLIT,
    read_semantic_kitti,
    semantic_kitti_classes,
    semantic_kitti_raw,
    write_semantic_kitti_prediction,
)
from small_scans import some_points, write

PUBLISHED = (
    "0:0 1:0 10:1 11:2 13:5 15:3 16:5 18:4 20:5 30:6 31:7 32:8 40:9 44:10 48:11 49:12 50:13 51:14 52:0 60:9 70:15 "
    "71:16 72:17 80:18 81:19 99:0 252:1 253:7 254:6 255:8 256:5 257:5 258:4 259:5"
)
PUBLISHED_MAP = {int(raw): int(label) for raw, label in (pair.split(":") for pair in PUBLISHED.split())}
"""As semantic-kitti.yaml has it, where 0 is no class."""


def drive(root: Path, number: str, num_scans: int = 2, *, labels: bool = True) -> list[np.ndarray]:
    """Write a drive; the labels that it was given, object numbers in the upper half."""
    written = []
    for scan in range(num_scans):
        write(root / "sequences" / number / "velodyne" / f"{scan:06}.bin", some_points(5, seed=scan))
        if labels:
            raw = np.array([0, 10, 252, 81, 71], dtype="<u4") + (np.uint32(scan + 1) << np.uint32(16))
            written.append(write(root / "sequences" / number / "labels" / f"{scan:06}.label", raw))
    return written


def test_scans_are_listed_by_drive_and_part(tmp_path: Path) -> None:
    for number in ("00", "08", "11"):
        drive(tmp_path, number, labels=number != "11")
    scans = read_semantic_kitti(tmp_path)
    assert scans.names == ("00/000000", "00/000001", "08/000000", "08/000001", "11/000000", "11/000001")
    assert scans.parts == ("train",) * 2 + ("validation",) * 2 + ("test",) * 2
    assert scans.classes == SEMANTIC_KITTI_CLASSES
    scan = scans.part("validation").read(1)
    assert scan.label_N is not None
    assert scan.label_N.tolist() == [IGNORED, 0, 0, 18, 15]
    assert np.array_equal(scan.xyz_N3.numpy(), some_points(5, seed=1)[:, :3])
    assert scan.name == "08/000001"
    assert scans.part("test").read(0).label_N is None
    assert read_semantic_kitti(tmp_path, sequences=["08"]).names == ("08/000000", "08/000001")


def test_the_split_is_the_published_one() -> None:
    numbers = [number for part in ("train", "validation", "test") for number in SEMANTIC_KITTI_SPLIT[part]]
    assert sorted(numbers) == [f"{number:02}" for number in range(22)]
    assert SEMANTIC_KITTI_SPLIT["validation"] == ("08",)
    assert max(SEMANTIC_KITTI_SPLIT["train"]) == "10"


def test_every_raw_number_is_of_its_published_class() -> None:
    raw_N = torch.tensor(list(PUBLISHED_MAP))
    assert semantic_kitti_classes(raw_N).tolist() == [label - 1 for label in PUBLISHED_MAP.values()]
    assert len(SEMANTIC_KITTI_CLASSES) == 19
    counted = {raw for raws in SEMANTIC_KITTI_RAW.values() for raw in raws}
    assert counted == {raw for raw, label in PUBLISHED_MAP.items() if label}


def test_predictions_come_back_as_the_same_classes(tmp_path: Path) -> None:
    label_N = torch.tensor([*range(19), IGNORED])
    assert torch.equal(semantic_kitti_classes(semantic_kitti_raw(label_N)), label_N)
    path = write_semantic_kitti_prediction(tmp_path, "11", "000042", label_N)
    assert path == tmp_path / "sequences" / "11" / "predictions" / "000042.label"
    raw = np.frombuffer(path.read_bytes(), dtype="<u4")
    published = [10, 11, 15, 18, 20, 30, 31, 32, 40, 44, 48, 49, 50, 51, 70, 71, 72, 80, 81, 0]
    assert raw.tolist() == published
    assert [file.name for file in path.parent.iterdir()] == ["000042.label"]


def test_predictions_that_cannot_be_are_refused(tmp_path: Path) -> None:
    label_N = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(UserError, match=r"sequence must be two digits; got '\.\./11'"):
        write_semantic_kitti_prediction(tmp_path, "../11", "000000", label_N)
    with pytest.raises(UserError, match=r"name must be the digits of a scan's file.*got '11/000000'"):
        write_semantic_kitti_prediction(tmp_path, "11", "11/000000", label_N)
    for wrong in (19, -2):
        with pytest.raises(
            UserError, match=rf"predicted labels must be in \[0, 19\) or -1 for none; got \[{wrong}\]"
        ):
            write_semantic_kitti_prediction(tmp_path, "11", "000000", torch.tensor([0, wrong]))
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_the_data_set_does_not_use_are_refused(tmp_path: Path) -> None:
    drive(tmp_path, "00", 1)
    write(tmp_path / "sequences/00/labels/000000.label", np.array([0, 10, 260, 81, 71], dtype="<u4"))
    with pytest.raises(UserError, match=r"raw labels must be in \[0, 259\]; got \[260\]"):
        read_semantic_kitti(tmp_path).read(0)


def test_as_many_labels_as_points(tmp_path: Path) -> None:
    drive(tmp_path, "00", 1)
    write(tmp_path / "sequences/00/labels/000000.label", np.array([10, 10], dtype="<u4"))
    with pytest.raises(UserError, match="labels of scan '00/000000' must be 5, one for each point; got 2"):
        read_semantic_kitti(tmp_path).read(0)


def test_a_part_to_learn_from_must_be_labelled(tmp_path: Path) -> None:
    drive(tmp_path, "00", 2)
    (tmp_path / "sequences/00/labels/000001.label").unlink()
    with pytest.raises(
        UserError, match=r"labelled, every one; got '1 of 2 without, 000001 the first'; get the Velo"
    ):
        read_semantic_kitti(tmp_path)
    drive(tmp_path, "03", 1, labels=False)
    with pytest.raises(UserError, match=r"drive .*03 must be labelled, every one; got '1 of 1 without"):
        read_semantic_kitti(tmp_path, sequences=["03"])


def test_missing_and_empty_folders_say_where_the_data_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"one with sequences/ in it; got .*semantic-kitti\.org"):
        read_semantic_kitti(tmp_path)
    (tmp_path / "sequences").mkdir()
    with pytest.raises(UserError, match=r"at least one; got 0; .*semantic-kitti\.org"):
        read_semantic_kitti(tmp_path)
    (tmp_path / "sequences" / "04" / "velodyne").mkdir(parents=True)
    for sequences in (None, ["04"], ["07"]):
        with pytest.raises(UserError, match=r"one with velodyne/\*\.bin in it.*semantic-kitti\.org"):
            read_semantic_kitti(tmp_path, sequences=sequences)


def yaml_of(told: dict[int, int]) -> str:
    return "learning_map:\n" + "".join(f"  {raw} : {label}  # a comment\n" for raw, label in told.items())


def test_the_data_sets_own_map_must_be_ours(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason='PyYAML is not installed; pip install "multum[pointcloud]"')
    drive(tmp_path, "00")
    place = tmp_path / "semantic-kitti.yaml"
    place.write_text(yaml_of(PUBLISHED_MAP))
    assert len(read_semantic_kitti(tmp_path)) == 2
    place.write_text(yaml_of({**PUBLISHED_MAP, 60: 0, 99: 3}))
    with pytest.raises(UserError, match=r"the published one of 19 classes; got 'others for \[60, 99\]'"):
        read_semantic_kitti(tmp_path)
    place.write_text(yaml_of({raw: label for raw, label in PUBLISHED_MAP.items() if raw != 71}))
    with pytest.raises(UserError, match=r"others for \[71\]"):
        read_semantic_kitti(tmp_path)
    for broken in ("learning_map: [", "[1, 2]", "labels: {}", "learning_map: {car: 1}", "learning_map: 3"):
        place.write_text(broken)
        with pytest.raises(UserError, match="YAML with a learning_map of numbers"):
            read_semantic_kitti(tmp_path)


def test_without_yaml_a_warning_says_that_nothing_was_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    drive(tmp_path, "00")
    (tmp_path / "semantic-kitti.yaml").write_text(yaml_of(PUBLISHED_MAP))
    forget_warnings()
    with pytest.warns(RuntimeWarning, match=r"was not compared with our map of classes: yaml is needed"):
        assert len(read_semantic_kitti(tmp_path)) == 2
