"""Points and intensities out of each kind of file, before anything is made of them.

Shape legend: N points.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from multum.core import UserError, invalid, require_module
from multum.pointcloud.lidar.ply_file import read_ply
from multum.pointcloud.lidar.raw_file import read_rows, unreadable

INTENSITY_NAMES = ("intensity", "reflectance", "scalar_intensity", "scalar_reflectance")
"""Columns of a PLY file that are taken for the intensity, whatever their case; the first one that is there."""

Columns = tuple[np.ndarray, np.ndarray]
"""Points of shape (N, 3) and their intensities, (N,)."""


def read_columns(path: Path, num_columns: int | None = None) -> Columns:
    """Read points and intensities as they are in the file; its ending says its kind.

    Args:
        path: The file.
        num_columns: Numbers for each point of a `.bin` file; None takes 5 for `.pcd.bin` and 4 for others.

    Returns:
        Points, float16, float32 or float64, and intensities; integers among these as a share of the largest of their
        type, 0 where there are none. Nobody has checked that they are finite.

    Raises:
        UserError: No such file, of an unknown kind, cut short, or without the columns; a missing extra.
    """
    readers: dict[str, Callable[[Path], Columns]] = {
        ".npy": _from_npy,
        ".ply": _from_ply,
        ".las": _from_las,
        ".laz": _from_las,
    }
    suffix = path.suffix.casefold()
    if suffix == ".bin":
        return _from_bin(path, num_columns)
    if suffix not in readers:
        known = ", ".join((".bin", *readers))
        raise invalid(f"file {path}", f"of a known kind ({known})", suffix or "no ending", "convert it")
    if num_columns is not None:
        raise invalid(
            "num_columns", "None but for .bin files", num_columns, f"a {suffix} file tells it itself"
        )
    return readers[suffix](path)


def _from_bin(path: Path, num_columns: int | None) -> Columns:
    if num_columns is None:
        num_columns = 5 if path.name.casefold().endswith(".pcd.bin") else 4
    if num_columns < 3:
        raise invalid("num_columns", "at least 3", num_columns, "they are x, y, z, intensity, more")
    return _split(read_rows(path, "<f4", num_columns=num_columns))


def _split(rows: np.ndarray) -> Columns:
    intensity = rows[:, 3] if rows.shape[1] > 3 else np.zeros(len(rows), dtype=np.float32)
    return rows[:, :3], intensity


def _from_npy(path: Path) -> Columns:
    array = read_npy(path)
    if array.ndim != 2 or array.shape[1] < 3:
        raise invalid(f"array in {path}", "of N rows x 3 columns or more", array.shape)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype not in (np.float16, np.float32, np.float64):
        remedy = "points are float32 or float64, in metres"
        raise invalid(f"array in {path}", "of floating-point numbers", str(array.dtype), remedy)
    return _split(array)


def read_npy(path: Path) -> np.ndarray:
    """Read an array that numpy saved; one that holds Python objects is refused, for these may run anything.

    Args:
        path: The file.

    Returns:
        The array.

    Raises:
        UserError: Not readable, no array, cut short, or with objects in it.
    """
    try:
        with path.open("rb") as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)
    except OSError as problem:
        raise unreadable(path, problem) from problem
    except (ValueError, EOFError, SyntaxError) as problem:
        said = str(problem)[:120]
        raise invalid(f"file {path}", "a whole array of numbers, as numpy.save writes it", said) from problem


def _from_ply(path: Path) -> Columns:
    columns = {name.casefold(): column for name, column in read_ply(path).items()}
    missing = [name for name in "xyz" if name not in columns]
    if missing:
        raise invalid(f"columns of {path}", "x, y, z and perhaps intensity", sorted(columns))
    xyz = np.stack([columns[name] for name in "xyz"], axis=1)
    if xyz.dtype.kind != "f":
        raise invalid(f"x, y, z of {path}", "float or double", str(xyz.dtype))
    found = next((columns[name] for name in INTENSITY_NAMES if name in columns), np.zeros(len(xyz)))
    return xyz, _share(found)


def _share(intensity: np.ndarray) -> np.ndarray:
    """Integers as a share of the largest of their type; others as they are."""
    if intensity.dtype.kind == "f":
        return intensity
    return intensity / np.iinfo(intensity.dtype).max


def _from_las(path: Path) -> Columns:
    laspy: Any = require_module("laspy", "pointcloud")
    if path.suffix.casefold() == ".laz":
        require_module("lazrs", "pointcloud")
    try:
        cloud = laspy.read(path)
        xyz, intensity = np.asarray(cloud.xyz), np.asarray(cloud.intensity)
        expected = cloud.header.point_count
    except OSError as problem:
        raise unreadable(path, problem) from problem
    except Exception as problem:  # damaged bytes make decoders stumble in every way there is
        raise _broken_las(path, str(problem) or type(problem).__name__) from problem
    if len(xyz) != expected:
        raise _broken_las(path, f"{len(xyz)} of {expected} points")
    return xyz, _share(intensity)


def _broken_las(path: Path, found: str) -> UserError:
    return invalid(
        f"file {path}", "a whole LAS or LAZ file", found, "save it anew in the program that wrote it"
    )
