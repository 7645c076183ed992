"""`multum pointcloud view`: whatever the scan comes from, a page; whatever cannot be, one line."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from multum.cli import main
from multum.pointcloud.view_command import prediction_names
from small_scans import some_points, write


def view(*words: object) -> int:
    return main(["pointcloud", "view", *map(str, words)])


def kitti_files(folder: Path) -> tuple[Path, Path, Path]:
    """A scan as KITTI writes it, its raw labels, and a prediction that gets one of its six points wrong."""
    write(folder / "scan.bin", some_points(6))
    write(folder / "truth.label", np.array([40, 40, 10, 252, 0, 70 + (3 << 16)], dtype="<u4"))
    write(folder / "net.label", np.array([40, 48, 10, 10, 10, 70], dtype="<u4"))
    return folder / "scan.bin", folder / "truth.label", folder / "net.label"


def test_a_scan_its_labels_and_a_prediction_become_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, truth, net = kitti_files(tmp_path)
    out = tmp_path / "run"
    assert view(scan, "--labels", truth, "--predictions", net, "--out", out) == 0
    told = capsys.readouterr().out
    assert "scan.bin: 6 points, 5 of them labelled" in told
    # of five points four are right; road 1/2, car 2/2, vegetation 1/1, sidewalk 0/1
    assert "net: 80.0% right, mean IoU 62.5%" in told
    assert f"page: {out / 'scan.html'}" in told
    html = (out / "scan.html").read_text(encoding="utf-8")
    assert "vegetation" in html
    assert "bicycle" not in html, "only classes that are there"
    assert str(tmp_path) not in html, "a page names no folder of this machine"
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert record["status"] == "finished"
    assert record["result"]["judged"] == [{"name": "net", "right": 0.8, "mean_iou": 0.625}]


def test_a_finished_view_is_not_replaced_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, _, _ = kitti_files(tmp_path)
    words = [scan, "--out", tmp_path / "run"]
    assert view(*words) == 0
    assert view(*words) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert view(*words, "--resume", "--json") == 0
    assert json.loads(capsys.readouterr().out)["num_labelled"] is None


def test_folders_of_scans_are_looked_into(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "scans"
    for name in ("scan2", "scan10"):
        write(folder / f"{name}.bin", some_points(4))
        np.save(folder / f"{name}.label.npy", np.array([0, 1, 255, 1]))
    told = ["--classes", "road", "car", "--ignored-label", 255]
    assert view(folder, "--index", 1, *told, "--out", tmp_path / "one", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["scan"], found["num_labelled"]) == ("scan10", 3)
    np.save(tmp_path / "net.npy", np.array([0, 1, 1, 0]))
    words = ["--predictions", tmp_path / "net.npy", "--out", tmp_path / "two", "--json"]
    assert view(folder, *told, *words) == 0
    assert json.loads(capsys.readouterr().out)["judged"][0]["right"] == pytest.approx(2 / 3)


def test_semantic_kitti_is_known_by_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan, truth, net = kitti_files(tmp_path)
    drive = tmp_path / "kitti" / "sequences" / "08"
    write(drive / "velodyne" / "000000.bin", np.fromfile(scan, np.float32))
    write(drive / "labels" / "000000.label", np.fromfile(truth, np.uint32))
    assert view(tmp_path / "kitti", "--predictions", net, "--out", tmp_path / "run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["judged"][0]["right"] == 0.8


def test_a_synthetic_street_needs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert view("synthetic", "--index", 2, "--seed", 5, "--out", tmp_path / "run", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["scan"] == "synthetic-5-2"
    assert found["num_boxes"] > 0
    assert found["num_labelled"] == found["num_points"]


@pytest.mark.data
def test_a_frame_of_pandaset_is_shown(
    tmp_path: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = data_folder / "pandaset_seq002" / "04.npz"
    assert view(frame, "--coarse", "--out", tmp_path / "run", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["scan"], found["num_boxes"] > 50) == ("04", True)
    assert (tmp_path / "run" / "scan.html").stat().st_size < 2_000_000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.bin"], "nowhere.bin"),
        (["nowhere.xyz"], "nowhere.xyz"),
        (["empty"], "scan folder must be one with scans in it"),
        (["scan.bin", "--index", "1"], "index must be below 1"),
        (["scan.bin", "--index", "-1"], "index must be 0 or more"),
        (["scan.bin", "--labels", "gone.label"], "gone.label"),
        (["scan.bin", "--labels", "scan.bin"], "classes must be the names of the labels' classes"),
        (["scan.bin", "--labels", "short.npy", "--classes", "a"], "must be 6, one for each point; got 2"),
        (["scan.bin", "--labels", "nines.npy", "--classes", "a"], "labels in nines.npy"),
        (["scan.bin", "--labels", "truth.label", "--ignored-label", "0"], "ignored_label must be left out"),
        (["scan.bin", "--predictions", "net.label", "net.label"], "predictions must be files of different"),
        (["scan.bin", "--classes", "a", "a"], "classes must be different"),
        (["scan.bin", "--coarse"], "coarse must be left out"),
        (["scan.bin", "--seed", "1"], "seed must be left out"),
        (["scan.bin", "--num-columns", "7"], "scan.bin"),
        (["synthetic", "--classes", "a"], "those of synthetic streets are known"),
        (["synthetic", "--coarse"], "num_columns and coarse must be left out"),
    ],
)
def test_wishes_that_cannot_be_are_refused_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    kitti_files(tmp_path)
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "short.npy", np.array([0, 0]))
    np.save(tmp_path / "nines.npy", np.full(6, 9))
    monkeypatch.chdir(tmp_path)
    assert view(*words) == 2
    complaint = capsys.readouterr().err
    assert message in complaint
    assert complaint.count("\n") == 1
    assert not (tmp_path / "runs").exists(), "nothing is left behind"


@pytest.mark.skipif(importlib.util.find_spec("rerun") is not None, reason="rerun is installed here")
def test_a_missing_rerun_is_named_with_its_extra(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert view("synthetic", "--rerun", "--out", tmp_path / "run") == 2
    assert 'pip install "multum[rerun]"' in capsys.readouterr().err


def test_a_recording_holds_the_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rerun")
    scan, truth, net = kitti_files(tmp_path)
    words = ["--labels", truth, "--predictions", net, "--rerun", "--out", tmp_path / "run"]
    assert view(scan, *words) == 0
    assert "open it with: rerun" in capsys.readouterr().out
    content = (tmp_path / "run" / "scan.rrd").read_bytes()
    assert content[:3] == b"RRF"
    for part in (b"truth", b"net-mistakes"):
        assert part in content


def test_predictions_of_one_name_are_told_apart_by_their_folders() -> None:
    named = prediction_names([Path("a/1.label"), Path("b/1.npy")])
    assert named == ("a", "b")
    assert prediction_names([Path("a/1.label"), Path("a/2.label")]) == ("1", "2")
    assert prediction_names([Path("net/truth.npy")]) == ("net",)
    assert prediction_names([Path("a/1.npy"), Path("a/2.npy"), Path("b/1.npy")]) == ("a/1", "a/2", "b/1")
