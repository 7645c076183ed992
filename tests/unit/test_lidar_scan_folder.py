"""A folder of one's own scans is read whatever the kinds of its files, with labels beside them or without."""

from pathlib import Path

import numpy as np
import pytest

from multum.core import UserError
from multum.pointcloud.lidar import IGNORED, read_scan_folder
from small_scans import some_points, write, write_ply


def test_files_of_all_kinds_are_one_set_in_the_order_of_people(tmp_path: Path) -> None:
    write(tmp_path / "scan10.bin", some_points(5))
    write(tmp_path / "scan2.pcd.bin", some_points(4, 5))
    np.save(tmp_path / "scan1.npy", some_points(3, 3))
    write_ply(tmp_path / "scan3.PLY", "ascii", dict.fromkeys("xyz", np.zeros(2, dtype=np.float32)))
    (tmp_path / "notes.txt").write_text("not a scan")
    write(tmp_path / ".hidden.bin", some_points())
    write(tmp_path / "inside" / "scan4.bin", some_points())
    scans = read_scan_folder(tmp_path)
    assert scans.names == ("scan1", "scan2", "scan3", "scan10")
    assert [len(scans.read(index)) for index in range(4)] == [3, 4, 2, 5]
    assert scans.classes == ()
    assert scans.read(3).label_N is None


@pytest.mark.parametrize("kind", [".label", ".label.npy"])
def test_labels_lie_beside(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "a.bin", some_points(3))
    np.save(tmp_path / "b.npy", some_points(2))
    for name, label in (("a", [0, 1, 255]), ("b", [1, 0])):
        if kind == ".label":
            write(tmp_path / f"{name}.label", np.array(label, dtype="<u4"))
        else:
            np.save(tmp_path / f"{name}.label.npy", np.array(label))
    scans = read_scan_folder(tmp_path, classes=("road", "car"), ignored_label=255)
    assert scans.names == ("a", "b")
    labels = [scans.read(index).label_N for index in range(2)]
    assert [label.tolist() for label in labels if label is not None] == [[0, 1, IGNORED], [1, 0]]
    with pytest.raises(
        UserError, match=r"labels of scan 'a' must be in \[0, 2\) or -1 for none; got \[255\]"
    ):
        read_scan_folder(tmp_path, classes=("road", "car")).read(0)


def test_wishes_reach_the_reader(tmp_path: Path) -> None:
    rows = some_points(6, 6)
    rows[1, 0] = np.nan
    rows[:, 0] += 500_000
    write(tmp_path / "a.bin", rows)
    write(tmp_path / "a.label", np.arange(6, dtype="<u4"))
    scans = read_scan_folder(
        tmp_path, classes=tuple("abcdef"), num_columns=6, drop_bad=True, shift=(500_000.0, 0.0, 0.0)
    )
    scan = scans.read(0)
    assert scan.label_N is not None
    assert scan.label_N.tolist() == [0, 2, 3, 4, 5]
    assert float(scan.xyz_N3.abs().max()) <= 21


def test_what_is_unclear_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"an existing folder; got .*; put scans \(\.pcd\.bin, \.bin"):
        read_scan_folder(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"one with scans in it; got .*; put scans \(\.pcd\.bin, \.bin"):
        read_scan_folder(tmp_path)
    write(tmp_path / "a.bin", some_points(3))
    write(tmp_path / "b.bin", some_points(3))
    np.save(tmp_path / "a.label.npy", np.zeros(3, dtype=np.int64))
    with pytest.raises(UserError, match="labelled, all or none; got '1 of 2 without, b the first'"):
        read_scan_folder(tmp_path, classes=("road",))
    np.save(tmp_path / "b.label.npy", np.zeros(3, dtype=np.int64))
    with pytest.raises(UserError, match=r"classes must be the names of the labels' classes; got \(\)"):
        read_scan_folder(tmp_path)
    write(tmp_path / "b.label", np.zeros(3, dtype="<u4"))
    with pytest.raises(
        UserError, match=r"labels of scan 'b' must be one file; got \['b\.label', 'b\.label\.npy'\]"
    ):
        read_scan_folder(tmp_path, classes=("road",))
    np.save(tmp_path / "a.npy", some_points(3))
    with pytest.raises(UserError, match=r"of different names; got 'a\.bin and a\.npy'"):
        read_scan_folder(tmp_path, classes=("road",))
