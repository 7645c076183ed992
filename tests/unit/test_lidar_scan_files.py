"""Points are read as they are in the file, of every kind, or one sentence says why not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from multum.core import MissingExtraError, UserError
from multum.pointcloud.lidar import finite_points, read_points
from small_scans import some_points, write, write_ply


def test_a_kitti_file_has_four_columns(tmp_path: Path) -> None:
    rows = write(tmp_path / "000000.bin", some_points(5))
    scan = read_points(tmp_path / "000000.bin")
    assert torch.equal(scan.xyz_N3, torch.from_numpy(rows[:, :3]))
    assert torch.equal(scan.intensity_N, torch.from_numpy(rows[:, 3]))
    assert (scan.name, scan.label_N, scan.boxes) == ("000000.bin", None, None)


def test_a_nuscenes_file_has_five_columns_unless_told_otherwise(tmp_path: Path) -> None:
    rows = write(tmp_path / "sweep.pcd.bin", some_points(4, 5))  # 80 bytes: five rows of four would fit too
    assert torch.equal(read_points(tmp_path / "sweep.pcd.bin").xyz_N3, torch.from_numpy(rows[:, :3]))
    assert len(read_points(tmp_path / "sweep.pcd.bin", num_columns=4)) == 5


def test_without_intensity_it_is_zero(tmp_path: Path) -> None:
    write(tmp_path / "bare.bin", some_points(4, 3))
    assert read_points(tmp_path / "bare.bin", num_columns=3).intensity_N.tolist() == [0.0] * 4


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_an_array_of_numpy_is_read_whatever_its_precision(tmp_path: Path, dtype: Any) -> None:
    rows = some_points(5).astype(dtype)
    np.save(tmp_path / "scan.npy", rows)
    scan = read_points(tmp_path / "scan.npy")
    assert scan.xyz_N3.dtype is scan.intensity_N.dtype is torch.float32
    assert np.array_equal(scan.xyz_N3.numpy(), rows[:, :3].astype(np.float32))
    assert np.array_equal(scan.intensity_N.numpy(), rows[:, 3].astype(np.float32))


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("intensity", ["intensity", "reflectance", "scalar_Intensity"])
def test_ply_is_read_in_all_three_forms(tmp_path: Path, kind: str, intensity: str) -> None:
    rows = some_points(5)
    columns = {"red": np.arange(5, dtype=np.uint8), "x": rows[:, 0], "y": rows[:, 1], "z": rows[:, 2]}
    write_ply(tmp_path / "scan.ply", kind, {**columns, intensity: rows[:, 3]})
    scan = read_points(tmp_path / "scan.ply")
    assert np.array_equal(scan.xyz_N3.numpy(), rows[:, :3])
    assert np.array_equal(scan.intensity_N.numpy(), rows[:, 3])


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_integers_are_shares_of_their_largest(tmp_path: Path, kind: str) -> None:
    rows = some_points(3).astype(np.float64)
    columns = {"x": rows[:, 0], "y": rows[:, 1], "z": rows[:, 2]}
    intensity = np.array([0, 51, 255], dtype=np.uint8)
    faces = "element face 7\nproperty list uchar int vertex_indices"
    write_ply(tmp_path / "scan.ply", kind, {**columns, "Intensity": intensity}, more=faces)
    assert read_points(tmp_path / "scan.ply").intensity_N.tolist() == pytest.approx([0, 0.2, 1])


def las_file(path: Path, xyz: np.ndarray, intensity: np.ndarray) -> None:
    laspy = pytest.importorskip("laspy", reason='laspy is not installed; pip install "multum[pointcloud]"')
    if path.suffix == ".laz":
        pytest.importorskip("lazrs", reason='lazrs is not installed; pip install "multum[pointcloud]"')
    header = laspy.LasHeader(point_format=3, version="1.2")
    header.scales, header.offsets = np.full(3, 0.001), np.floor(xyz.min(axis=0))
    cloud = laspy.LasData(header)
    cloud.xyz, cloud.intensity = xyz, intensity
    cloud.write(path)


@pytest.mark.parametrize("suffix", [".las", ".laz"])
def test_surveyors_files_are_read_once_their_offset_is_told(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"site{suffix}"
    near = some_points(20)[:, :3].astype(np.float64)
    las_file(path, near + np.array([500_000, 5_400_000, 300]), np.full(20, 13107, dtype=np.uint16))
    with pytest.raises(UserError, match=r"at most 16384 m; got 54000.*shift=\(4999..\.0, 5.*\"middle\""):
        read_points(path)
    scan = read_points(path, shift=(500_000.0, 5_400_000.0, 300.0))
    assert np.allclose(scan.xyz_N3.numpy(), near, atol=0.0006)
    assert scan.intensity_N.tolist() == pytest.approx([0.2] * 20)
    middle = read_points(path, shift="middle").xyz_N3
    assert float((middle.amax(dim=0) + middle.amin(dim=0)).abs().max()) <= 1.001


@pytest.mark.parametrize("suffix", [".las", ".laz"])
def test_damaged_surveyors_files_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"site{suffix}"
    las_file(path, some_points(200)[:, :3].astype(np.float64), np.zeros(200, dtype=np.uint16))
    whole = path.read_bytes()
    for damaged in (b"no such thing" * 50, whole[:100], whole[: len(whole) * 2 // 3], b""):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"site\.la[sz] must be a whole LAS or LAZ file"):
            read_points(path)


def test_a_missing_extra_names_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "laspy", None)
    (tmp_path / "site.las").write_bytes(b"LASF")
    with pytest.raises(MissingExtraError, match=r'pip install "multum\[pointcloud\]"'):
        read_points(tmp_path / "site.las")


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.bin").write_bytes(some_points(3).tobytes()[:-2])
    with pytest.raises(
        UserError, match=r"size of .*cut\.bin must be a multiple of 16 bytes; got 46; .*cut short"
    ):
        read_points(tmp_path / "cut.bin")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.bin").touch()
    np.save(tmp_path / "empty.npy", np.zeros((0, 4), dtype=np.float32))
    write_ply(tmp_path / "empty.ply", "ascii", dict.fromkeys("xyz", np.zeros(0, dtype=np.float32)))
    with pytest.raises(UserError, match=r"empty\.bin must be one with data in it; got '0 bytes'"):
        read_points(tmp_path / "empty.bin")
    for name in ("empty.npy", "empty.ply"):
        with pytest.raises(UserError, match=rf"points in .*{name} must be at least one; got 0"):
            read_points(tmp_path / name)


def test_what_is_not_there_or_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    for name in ("no.bin", "no.npy", "no.ply"):
        with pytest.raises(UserError, match=rf"{name} must be an existing, readable file"):
            read_points(tmp_path / name)
    (tmp_path / "folder.bin").mkdir()
    with pytest.raises(UserError, match=r"folder\.bin must be an existing, readable file"):
        read_points(tmp_path / "folder.bin")
    with pytest.raises(
        UserError, match=r"of a known kind \(\.bin, \.npy, \.ply, \.las, \.laz\); got '\.xyz'"
    ):
        read_points(tmp_path / "points.xyz")


def test_columns_can_be_told_for_bare_numbers_only(tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", some_points())
    with pytest.raises(UserError, match=r"num_columns must be None but for \.bin files; got 5"):
        read_points(tmp_path / "scan.npy", num_columns=5)
    with pytest.raises(UserError, match="num_columns must be at least 3; got 2"):
        read_points(tmp_path / "scan.bin", num_columns=2)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((4, 2), dtype=np.float32), r"of N rows x 3 columns or more; got \(4, 2\)"),
        (np.zeros(12, dtype=np.float32), r"of N rows x 3 columns or more; got \(12,\)"),
        (np.zeros((4, 4), dtype=np.int32), "of floating-point numbers; got 'int32'"),
        (np.array([[{}, 1, 2]], dtype=object), "a whole array of numbers"),
    ],
)
def test_arrays_that_are_no_points_are_refused(tmp_path: Path, array: np.ndarray, said: str) -> None:
    np.save(tmp_path / "wrong.npy", array, allow_pickle=True)
    with pytest.raises(UserError, match=said):
        read_points(tmp_path / "wrong.npy")


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    import pickle

    class Runs:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "it ran",))

    (tmp_path / "evil.npy").write_bytes(pickle.dumps(Runs()))
    np.save(tmp_path / "hidden.npy", np.array([Runs()], dtype=object), allow_pickle=True)
    for name in ("evil.npy", "hidden.npy"):
        with pytest.raises(UserError, match="a whole array of numbers"):
            read_points(tmp_path / name)
    assert not (tmp_path / "it ran").exists()


def test_an_array_cut_short_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "cut.npy", some_points(50))
    whole = (tmp_path / "cut.npy").read_bytes()
    for length in (0, 5, 40, len(whole) - 3):
        (tmp_path / "cut.npy").write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"cut\.npy must be a whole array of numbers"):
            read_points(tmp_path / "cut.npy")


VERTICES = "element vertex 1\nproperty float x\nproperty float y\nproperty float z\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("solid cube\n", "must be a PLY file"),
        ("ply\nformat ascii 1.0\n", "of a whole header; got 'no end_header'"),
        (f"ply\n{VERTICES}end_header\n0 0 0\n", "of a known format; got 'none'"),
        (f"ply\nformat ascii 2.0\n{VERTICES}end_header\n0 0 0\n", "PLY 1.0 knows; got 'format ascii 2.0'"),
        (
            f"ply\nformat ascii 1.0\n{VERTICES}property half w\nend_header\n0 0 0 0\n",
            "knows; got 'property half w'",
        ),
        ("ply\nformat ascii 1.0\nelement face 0\nend_header\n", r"one with vertices; got \['face'\]"),
        (f"ply\nformat ascii 1.0\n{VERTICES}end_header\n0 0\n", "of 1 vertices, as its header says"),
        (f"ply\nformat ascii 1.0\n{VERTICES}end_header\n0 0 zero\n", "numbers, where its vertices are"),
        (
            f"ply\nformat binary_little_endian 1.0\n{VERTICES}end_header\nshort",
            "of 1 vertices, as its header says",
        ),
        (
            f"ply\nformat ascii 1.0\n{VERTICES}property list uchar int next\nend_header\n0 0 0 0\n",
            "free of lists",
        ),
        (
            f"ply\nformat ascii 1.0\n{VERTICES}property float x\nend_header\n0 0 0 0\n",
            "columns that differ in name",
        ),
        (
            "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n0\n",
            r"x, y, z .*got \['x'\]",
        ),
        (
            f"ply\nformat ascii 1.0\n{VERTICES.replace('float', 'int')}end_header\n0 0 0\n",
            "float or double; got 'int32'",
        ),
    ],
)
def test_ply_files_that_are_none_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "wrong.ply").write_text(text)
    with pytest.raises(UserError, match=said):
        read_points(tmp_path / "wrong.ply")


def test_what_comes_before_the_vertices_is_passed_over(tmp_path: Path) -> None:
    before = "element camera 2\nproperty float view\nproperty uchar on\n"
    (tmp_path / "scan.ply").write_text(
        f"ply\nformat ascii 1.0\n{before}{VERTICES}end_header\n9 1\n8 1\n1 2 3\n"
    )
    assert read_points(tmp_path / "scan.ply").xyz_N3.tolist() == [[1, 2, 3]]
    header = f"ply\r\nformat binary_big_endian 1.0\r\n{before}{VERTICES}end_header\r\n".encode()
    vertex = np.array([1, 2, 3], dtype=">f4").tobytes()
    (tmp_path / "scan.ply").write_bytes(header + b"skip!" * 2 + vertex)
    assert read_points(tmp_path / "scan.ply").xyz_N3.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("column", [1, 3])
def test_points_that_are_not_finite_are_refused_or_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bad: float, column: int
) -> None:
    rows = some_points(5)
    rows[2, column] = bad
    write(tmp_path / "hole.bin", rows)
    label_N = torch.arange(5)
    with pytest.raises(
        UserError, match=r"hole\.bin must be finite; got '1 of 5 .*drop_bad=True.*finite_points"
    ):
        read_points(tmp_path / "hole.bin")
    scan = read_points(tmp_path / "hole.bin", label_N=label_N, drop_bad=True)
    assert scan.label_N is not None
    assert scan.label_N.tolist() == [0, 1, 3, 4]
    assert np.array_equal(scan.xyz_N3.numpy(), rows[[0, 1, 3, 4], :3])
    assert "1 of 5 points dropped" in capsys.readouterr().err
    told = finite_points(torch.from_numpy(rows[:, :3]), torch.from_numpy(rows[:, 3]))
    assert told.tolist() == [True, True, False, True, True]


def test_a_scan_of_bad_points_only_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "dark.bin", np.full((3, 4), np.nan, dtype=np.float32))
    with pytest.raises(UserError, match=r"dark\.bin must be finite, at least one; got '3 that are not'"):
        read_points(tmp_path / "dark.bin", drop_bad=True)


def test_labels_must_be_as_many_as_points(tmp_path: Path) -> None:
    write(tmp_path / "scan.bin", some_points(5))
    with pytest.raises(UserError, match=r"labels of scan 'scan\.bin' must be 5, one for each point; got 4"):
        read_points(tmp_path / "scan.bin", label_N=torch.zeros(4, dtype=torch.int64))
