"""nuScenes-lidarseg: a class for every point of 34,149 key frames from Boston and Singapore.

"nuScenes: A Multimodal Dataset for Autonomous Driving" by Caesar et al., CVPR 2020; its labels of points came as an
expansion, in 32 categories, of which the challenge counts 16 classes. Numbers of categories are the data set's own
affair and stand in its table, so classes are found by name. Its points have x to the right and y ahead; here they are
turned to x ahead, y to the left.

Which scenes are for learning and which for testing is a list of 850 names in the data set's devkit; it is not repeated
here. Give the names of scenes, or take all.

Shape legend: N points.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from multum.core import did_you_mean, invalid, read_json
from multum.data.folder_entries import natural_key
from multum.pointcloud.lidar.axes import x_ahead_from_y_ahead
from multum.pointcloud.lidar.label_files import read_labels
from multum.pointcloud.lidar.scan import IGNORED, Scan
from multum.pointcloud.lidar.scan_files import read_points
from multum.pointcloud.lidar.scan_set import ScanSet

NUSCENES_CATEGORIES: dict[str, tuple[str, ...]] = {
    "barrier": ("movable_object.barrier",),
    "bicycle": ("vehicle.bicycle",),
    "bus": ("vehicle.bus.bendy", "vehicle.bus.rigid"),
    "car": ("vehicle.car",),
    "construction_vehicle": ("vehicle.construction",),
    "motorcycle": ("vehicle.motorcycle",),
    "pedestrian": (
        *("human.pedestrian.adult", "human.pedestrian.child"),
        *("human.pedestrian.construction_worker", "human.pedestrian.police_officer"),
    ),
    "traffic_cone": ("movable_object.trafficcone",),
    "trailer": ("vehicle.trailer",),
    "truck": ("vehicle.truck",),
    "driveable_surface": ("flat.driveable_surface",),
    "other_flat": ("flat.other",),
    "sidewalk": ("flat.sidewalk",),
    "terrain": ("flat.terrain",),
    "manmade": ("static.manmade",),
    "vegetation": ("static.vegetation",),
}
"""The categories that each class of the challenge is made of."""

NUSCENES_IGNORED = (
    *("noise", "animal", "human.pedestrian.personal_mobility", "human.pedestrian.stroller"),
    *("human.pedestrian.wheelchair", "movable_object.debris", "movable_object.pushable_pullable"),
    *("static_object.bicycle_rack", "vehicle.emergency.ambulance", "vehicle.emergency.police"),
    *("static.other", "vehicle.ego"),
)
"""Categories that the challenge does not count."""

NUSCENES_CLASSES = tuple(NUSCENES_CATEGORIES)
"""The 16 classes, in the challenge's order."""

NUSCENES_SOURCE = (
    "get nuScenes (its v1.0-mini is 4 GB) and nuScenes-lidarseg from https://www.nuscenes.org/download, unpack both "
    "into one place, and give the folder that holds samples/ and v1.0-.../"
)
"""Where a stranger gets the data, as the errors say it."""

_FULL_INTENSITY = 255.0
_UNKNOWN = IGNORED - 1


@dataclass(frozen=True)
class _KeyFrame:
    points: Path
    labels: Path


def read_nuscenes_lidarseg(
    folder: Path, *, version: str | None = None, scenes: Sequence[str] | None = None
) -> ScanSet:
    """List the labelled key frames, in time within each scene; they are called "scene-0061/1532402927647951".

    Args:
        folder: The folder with `samples/`, `lidarseg/` and the tables, as JSON, in `v1.0-mini/` or the like.
        version: Name of the folder of tables; None takes the only one.
        scenes: Names of scenes; None takes all.

    Returns:
        The scans, without parts; intensities are divided by 255.

    Raises:
        UserError: A folder, table or column is missing, a category or scene is unknown, or a file that a table names
            is not there.
    """
    if not folder.is_dir():
        raise invalid("nuScenes folder", "an existing folder", str(folder), NUSCENES_SOURCE)
    tables = folder / (_only_version(folder) if version is None else version)
    class_of = _class_of_number(tables)
    frames = _key_frames(folder, tables, scenes)
    for frame in frames.values():
        for path in (frame.points, frame.labels):
            if not path.is_file():
                raise invalid("nuScenes folder", "complete", f"no {path}", NUSCENES_SOURCE)
    return ScanSet(
        names=tuple(frames),
        load=partial(_load, frames, class_of),
        classes=NUSCENES_CLASSES,
        source=NUSCENES_SOURCE,
    )


def _only_version(folder: Path) -> str:
    found = sorted(path.name for path in folder.glob("v1.0-*") if path.is_dir())
    if len(found) != 1:
        remedy = f"give version; {NUSCENES_SOURCE}" if found else NUSCENES_SOURCE
        raise invalid(f"folder {folder}", "one with a single v1.0-... in it", found or "none", remedy)
    return found[0]


def _table(tables: Path, name: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Read a table and check that the columns are there."""
    path = tables / f"{name}.json"
    if not path.is_file():
        raise invalid("nuScenes tables", f"with {name}.json", str(tables), NUSCENES_SOURCE)
    rows = read_json(path)
    if not isinstance(rows, list):
        raise invalid(f"table {path}", "a list of rows", type(rows).__name__, NUSCENES_SOURCE)
    for number, row in enumerate(rows):
        missing = [column for column in columns if not isinstance(row, dict) or column not in row]
        if missing:
            where = f"row {number} of {path}"
            raise invalid(where, f"one with {', '.join(columns)}", f"none of {missing}", NUSCENES_SOURCE)
    return rows


def _class_of_number(tables: Path) -> list[int]:
    """Class of each number that a label file may hold, 0 to 255, by the names in the table of categories."""
    known = {name: label for label, names in enumerate(NUSCENES_CATEGORIES.values()) for name in names}
    known.update(dict.fromkeys(NUSCENES_IGNORED, IGNORED))
    class_of = [_UNKNOWN] * 256
    for row in _table(tables, "category", ("name", "index")):
        if row["name"] not in known:
            raise invalid(
                f"category in {tables}", "one of the 32", row["name"], did_you_mean(str(row["name"]), known)
            )
        if row["index"] not in range(256):
            raise invalid(f"index of category {row['name']}", "in [0, 256)", row["index"])
        class_of[row["index"]] = known[row["name"]]
    return class_of


def _key_frames(folder: Path, tables: Path, scenes: Sequence[str] | None) -> dict[str, _KeyFrame]:
    """Follow the tables from labels to scans to moments to scenes."""
    scene_of = {row["token"]: row["name"] for row in _table(tables, "scene", ("token", "name"))}
    unknown = sorted(set(scenes or ()) - set(scene_of.values()))
    if unknown:
        raise invalid("scenes", f"in {tables}", unknown, did_you_mean(unknown[0], sorted(scene_of.values())))
    samples = _table(tables, "sample", ("token", "scene_token", "timestamp"))
    moment = {row["token"]: row for row in samples}
    scans = _table(tables, "sample_data", ("token", "sample_token", "filename"))
    scan_of = {row["token"]: row for row in scans}
    frames: dict[str, _KeyFrame] = {}
    for row in _table(tables, "lidarseg", ("sample_data_token", "filename")):
        try:
            scan = scan_of[row["sample_data_token"]]
            when = moment[scan["sample_token"]]
            scene = scene_of[when["scene_token"]]
        except KeyError as problem:
            raise invalid(
                f"tables in {tables}", "complete", f"no row {problem}", NUSCENES_SOURCE
            ) from problem
        if scenes is None or scene in scenes:
            name = f"{scene}/{when['timestamp']}"
            frames[name] = _KeyFrame(folder / scan["filename"], folder / row["filename"])
    if not frames:
        raise invalid(f"labelled scans in {tables}", "at least one", 0, NUSCENES_SOURCE)
    return {name: frames[name] for name in sorted(frames, key=natural_key)}


def _load(frames: dict[str, _KeyFrame], class_of: Sequence[int], name: str) -> Scan:
    frame = frames[name]
    number_N = read_labels(frame.labels)
    label_N = torch.tensor(class_of)[number_N]
    unknown = sorted(set(number_N[label_N == _UNKNOWN].tolist()))
    if unknown:
        raise invalid(f"labels in {frame.labels}", "numbers of categories", unknown, NUSCENES_SOURCE)
    scan = read_points(frame.points, label_N=label_N, num_columns=5, name=name)
    return replace(
        scan, xyz_N3=x_ahead_from_y_ahead(scan.xyz_N3), intensity_N=scan.intensity_N / _FULL_INTENSITY
    )
