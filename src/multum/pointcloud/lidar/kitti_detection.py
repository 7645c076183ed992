"""KITTI's 3D object detection data set: 7,481 scans with cars, pedestrians and cyclists in boxes.

"Are we ready for Autonomous Driving? The KITTI Vision Benchmark Suite" by Geiger, Lenz and Urtasun, CVPR 2012; the data
is CC BY-NC-SA 3.0. The scanner sees all around, but objects were labelled only in the camera's picture: a car behind is
there and in no box. So whoever learns from it takes the points in the picture only.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from multum.core import invalid
from multum.pointcloud.lidar.kitti_calibration import KittiCalibration, read_kitti_calibration
from multum.pointcloud.lidar.kitti_objects import KITTI_CLASSES, KittiObjects, read_kitti_objects
from multum.pointcloud.lidar.scan import Scan
from multum.pointcloud.lidar.scan_files import read_points
from multum.pointcloud.lidar.scan_set import ScanSet

KITTI_SOURCE = (
    "get the Velodyne scans (29 GB), the calibration and the labels from "
    "https://www.cvlibs.net/datasets/kitti/eval_object.php?obj_benchmark=3d, unpack them into one place, and give the "
    "folder that holds training/"
)
"""Where a stranger gets the data, as the errors say it."""


@dataclass(frozen=True, kw_only=True)
class KittiFrame:
    """Where the files of one frame are."""

    points: Path
    """The scan, float32 in rows of four."""
    calibration: Path
    """How scanner and camera lie to one another."""
    labels: Path | None
    """The objects; None in a part without labels."""

    def read_calibration(self) -> KittiCalibration:
        """Read how scanner and camera lie to one another."""
        return read_kitti_calibration(self.calibration)

    def read_objects(self) -> KittiObjects | None:
        """Read the objects with all that the judgement wants to know; None where nobody labelled them."""
        return None if self.labels is None else read_kitti_objects(self.labels, self.read_calibration())


def read_kitti_detection(folder: Path, *, only_in_picture: bool = False) -> ScanSet:
    """List the frames of a part of the data set; they are called after their files: "000123".

    Args:
        folder: One of: the folder with `training/` in it, and then that is read; a part itself, with `velodyne/*.bin`,
            `calib/*.txt` and, where there are labels, `label_2/*.txt`; all in one place, as `NAME.bin`,
            `NAME.calib.txt`, `NAME.label_2.txt`.
        only_in_picture: Whether only points in the camera's picture stay; use it to learn and to judge.

    Returns:
        The frames. The benchmark publishes no validation part: `select` takes those of a list of names.

    Raises:
        UserError: A folder is missing or empty, a frame has no calibration, or some frames have labels and others none.
    """
    frames = kitti_frames(folder)
    labelled = all(frame.labels is not None for frame in frames.values())
    return ScanSet(
        names=tuple(frames),
        load=partial(_load, frames, only_in_picture),
        box_classes=KITTI_CLASSES if labelled else (),
        source=KITTI_SOURCE,
    )


def kitti_frames(folder: Path) -> dict[str, KittiFrame]:
    """Find the files of every frame; see `read_kitti_detection`."""
    if not folder.is_dir():
        raise invalid("KITTI folder", "an existing folder", str(folder), KITTI_SOURCE)
    root = folder / "training" if (folder / "training").is_dir() else folder
    if (root / "velodyne").is_dir():
        place = {"points": "velodyne/{}.bin", "calibration": "calib/{}.txt", "labels": "label_2/{}.txt"}
    else:
        place = {"points": "{}.bin", "calibration": "{}.calib.txt", "labels": "{}.label_2.txt"}
    names = sorted(path.stem for path in root.glob(place["points"].format("[!.]*")))
    if not names:
        constraint = "one with velodyne/*.bin, calib/*.txt and label_2/*.txt"
        raise invalid("KITTI folder", constraint, str(folder), KITTI_SOURCE)
    found = {
        kind: {name for name in names if (root / pattern.format(name)).is_file()}
        for kind, pattern in place.items()
    }
    for kind in ("calibration", "labels"):
        missing = sorted(set(names) - found[kind])
        if missing and (kind == "calibration" or found[kind]):
            file = root / place[kind].format(missing[0])
            told = f"{len(missing)} of {len(names)} without, {file} the first"
            raise invalid(f"frames of {folder}", f"with {kind}, every one", told, KITTI_SOURCE)
    return {
        name: KittiFrame(
            points=root / place["points"].format(name),
            calibration=root / place["calibration"].format(name),
            labels=root / place["labels"].format(name) if found["labels"] else None,
        )
        for name in names
    }


def _load(frames: dict[str, KittiFrame], only_in_picture: bool, name: str) -> Scan:
    frame = frames[name]
    scan = read_points(frame.points, num_columns=4, name=name)
    if only_in_picture:
        scan = scan.at(frame.read_calibration().in_picture(scan.xyz_N3))
    objects = frame.read_objects()
    return Scan(
        xyz_N3=scan.xyz_N3,
        intensity_N=scan.intensity_N,
        boxes=None if objects is None else objects.boxes,
        name=name,
    )
