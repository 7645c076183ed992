"""Points from the files that scanners, data sets and surveyors write, as one kind of scan.

Two things go wrong without a word when they are read carelessly. A raw `.bin` file does not say how many numbers a
point has, and four instead of five make confetti of a street. And surveyors count coordinates from the equator: at
5,000 km float32 knows half metres only, and a scan becomes a staircase. So what cannot be right is refused, and the
sentence says what to do.

Shape legend: N points; 3 are x, y, z.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from multum.core import invalid, say
from multum.pointcloud.lidar.scan import Scan
from multum.pointcloud.lidar.scan_columns import read_columns

FARTHEST = 16_384.0
"""Metres from the origin up to which neighbouring float32 numbers lie at most a millimetre apart."""


def read_points(
    path: Path,
    *,
    label_N: Int[Tensor, " N"] | None = None,
    num_columns: int | None = None,
    drop_bad: bool = False,
    shift: tuple[float, float, float] | Literal["middle"] = (0.0, 0.0, 0.0),
    name: str | None = None,
) -> Scan:
    """Read the points of a file; its ending says its kind.

    `.bin` is float32 in rows (x, y, z, intensity, more), `.npy` an array of numpy likewise, `.ply` has columns x, y, z
    and perhaps one of `INTENSITY_NAMES`; `.las` and `.laz` are what surveyors use and need the extra `pointcloud`.
    Coordinates are metres. Intensities of floating-point type are left as they are, integers are divided by the
    largest of their type; where a file has none, they are 0.

    Args:
        path: The file.
        label_N: Class of each point in the file, dropped together with it.
        num_columns: Numbers for each point of a `.bin` file, at least 3; None takes 5 for `.pcd.bin` (nuScenes) and 4
            (KITTI) for others.
        drop_bad: Whether points that are not finite are dropped, and their number said, instead of refused.
        shift: What is taken from every point in float64, in metres, before it becomes float32; "middle" takes the
            middle of the scan's extent, in whole metres.
        name: Name of the scan; None takes that of the file.

    Returns:
        The points as float32.

    Raises:
        UserError: No such file, of an unknown kind, empty, cut short, or without the columns; points that are not
            finite, or farther than `FARTHEST`; another number of labels than points; a missing extra.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "one.npy"
        ...     np.save(path, np.array([[1.0, 2.0, 0.5, 0.9]]))
        ...     read_points(path)
        Scan(one.npy, 1 points)
    """
    called = path.name if name is None else name
    xyz, intensity = read_columns(path, num_columns)
    if len(xyz) == 0:
        raise invalid(f"points in {path}", "at least one", 0, "leave the file out")
    if label_N is not None and len(label_N) != len(xyz):
        raise invalid(f"labels of scan {called!r}", f"{len(xyz)}, one for each point", len(label_N))
    xyz_N3 = torch.from_numpy(np.ascontiguousarray(xyz))
    intensity_N = torch.from_numpy(np.ascontiguousarray(intensity, dtype=np.float32))
    kept_N = _kept(path, finite_points(xyz_N3, intensity_N), drop_bad)
    return Scan(
        xyz_N3=_near(path, xyz_N3[kept_N], shift),
        intensity_N=intensity_N[kept_N],
        label_N=None if label_N is None else label_N[kept_N],
        name=called,
    )


def finite_points(
    xyz_N3: Float[Tensor, "N 3"], intensity_N: Float[Tensor, " N"] | None = None
) -> Bool[Tensor, " N"]:
    """Tell which points are numbers: no NaN, which some sensors write where nothing came back, no infinity.

    Args:
        xyz_N3: Points.
        intensity_N: Their intensities, which must be finite too; None where there are none.

    Returns:
        True for each good point; select by it, and count what is not.

    Example:
        >>> xyz_N3 = torch.tensor([[1.0, 2.0, 3.0], [float("nan"), 0.0, 0.0]])
        >>> finite_points(xyz_N3)
        tensor([ True, False])
    """
    finite_N = torch.isfinite(xyz_N3).all(dim=1)
    return finite_N if intensity_N is None else finite_N & torch.isfinite(intensity_N)


def _kept(path: Path, finite_N: Tensor, drop_bad: bool) -> Tensor:
    """Refuse what is not finite, or say how much of it goes."""
    num_bad = int((~finite_N).sum())
    if num_bad == len(finite_N):
        raise invalid(f"points in {path}", "finite, at least one", f"{num_bad} that are not", "leave it out")
    if num_bad and not drop_bad:
        remedy = "drop_bad=True drops them; `finite_points` tells which they are"
        raise invalid(f"points in {path}", "finite", f"{num_bad} of {len(finite_N)} that are not", remedy)
    if num_bad:
        say(f"{path}: {num_bad} of {len(finite_N)} points dropped, for they are not finite")
    return finite_N


def _near(path: Path, xyz_N3: Tensor, shift: tuple[float, float, float] | Literal["middle"]) -> Tensor:
    """Take the shift from points and round them to float32, where float32 keeps millimetres."""
    wide_N3 = xyz_N3.double()
    middle_3 = ((wide_N3.amin(dim=0) + wide_N3.amax(dim=0)) / 2).round()
    wide_N3 = wide_N3 - (middle_3 if shift == "middle" else torch.tensor(shift, dtype=torch.float64))
    farthest = float(wide_N3.abs().max())
    if farthest > FARTHEST:
        remedy = (
            f'float32 keeps millimetres only there; give shift={tuple(middle_3.tolist())} or shift="middle"'
        )
        raise invalid(f"coordinates in {path}", f"at most {FARTHEST:g} m", farthest, remedy)
    return wide_N3.float()
