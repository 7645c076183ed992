"""PandaSet: streets of San Francisco, seen by a sensor that turns and one that looks ahead, in 42 classes and boxes.

"PandaSet: Advanced Sensor Suite Dataset for Autonomous Driving" by Xiao et al., ITSC 2021, CC BY 4.0 with terms of
its own. It comes as pickles, which may run any program when they are opened, so they are not read here. What is read is
a folder of one `.npz` file for each frame, in the car's frame (x right, y ahead; turned here to x ahead, y left):

    xyz int32 [N, 3] millimetres     intensity uint8 [N]      sensor uint8 [N], 0 the turning one, 1 the one ahead
    label uint8 [N], 0 or 1 to 42    box float32 [K, 7] centre, width, length, height (m), yaw     box_label str [K]

and perhaps `classes.json`, number to name. Names of boxes may be cut after 32 letters. Frames of one drive are a tenth
of a second apart and show the same street: whatever is learned from some and tested on others is a same-scene result,
and must be called so.

Shape legend: N points, K boxes.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from multum.core import invalid, read_json
from multum.data.folder_entries import natural_key
from multum.pointcloud.lidar.axes import x_ahead_from_y_ahead
from multum.pointcloud.lidar.pandaset_classes import PANDASET_CLASSES, PANDASET_COARSE
from multum.pointcloud.lidar.raw_file import unreadable
from multum.pointcloud.lidar.scan import IGNORED, Boxes, Scan
from multum.pointcloud.lidar.scan_set import ScanSet, check_labels

PANDASET_SOURCE = (
    "get PandaSet from https://huggingface.co/datasets/georghess/pandaset, or one drive with `git clone "
    "https://github.com/scaleapi/pandaset-devkit` at commit 1999d82e (test/data/002), write each frame as "
    "the .npz file that multum.pointcloud.lidar.pandaset describes, and give the folder of one drive"
)
"""Where a stranger gets the data, as the errors say it."""

FORWARD_SENSOR = 1
"""Number of the sensor that looks ahead, which sees about a third of the points."""

_FIELDS = {"xyz": 2, "intensity": 1, "sensor": 1, "label": 1, "box": 2, "box_label": 1}
_LONGEST_BOX_LABEL = 32


def read_pandaset(folder: Path, *, coarse: bool = False, forward_sensor: bool = True) -> ScanSet:
    """List the frames of one drive, in time.

    Args:
        folder: The folder of `.npz` files.
        coarse: Whether points and boxes have the 15 classes of `PANDASET_COARSE` instead of all 42.
        forward_sensor: Whether the points of the sensor that looks ahead stay, beside those of the one that turns;
            about 166,000 points with them and 106,000 without.

    Returns:
        The frames, called after their files; intensities are in [0, 1]. Their boxes are of the same classes as points;
        an object that both sensors saw has two, a little apart, for it moved between them.

    Raises:
        UserError: The folder is missing or empty, or its `classes.json` names other classes.
    """
    if not folder.is_dir():
        raise invalid("PandaSet folder", "an existing folder", str(folder), PANDASET_SOURCE)
    names = sorted((path.stem for path in folder.glob("[!.]*.npz")), key=natural_key)
    if not names:
        raise invalid("PandaSet folder", "one with .npz files in it", str(folder), PANDASET_SOURCE)
    if (folder / "classes.json").is_file():
        _check_classes(folder / "classes.json")
    classes = tuple(PANDASET_COARSE) if coarse else PANDASET_CLASSES
    return ScanSet(
        names=tuple(names),
        load=partial(_load, folder, coarse, forward_sensor),
        classes=classes,
        box_classes=classes,
        source=PANDASET_SOURCE,
    )


def time_split(frames: ScanSet, num_train: int = 13) -> tuple[ScanSet, ScanSet]:
    """Learn from the first frames of a drive and test on those that follow.

    Drawn at random, almost every test frame would lie a tenth of a second from one that was learned from.

    Args:
        frames: The frames, in time.
        num_train: How many to learn from; at least one must be left.

    Returns:
        What to learn from, and what to test on: still the same scene.

    Raises:
        UserError: The number leaves one of them empty.
    """
    if not 1 <= num_train < len(frames):
        raise invalid("num_train", f"in [1, {len(frames)})", num_train, "one frame must be left to test on")
    return frames.select(frames.names[:num_train]), frames.select(frames.names[num_train:])


def pandaset_coarse(label_N: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
    """Coarse classes of fine ones.

    Args:
        label_N: Index into `PANDASET_CLASSES`, or IGNORED.

    Returns:
        Index into the keys of `PANDASET_COARSE`, or IGNORED.

    Raises:
        UserError: There is no such class.

    Example:
        >>> pandaset_coarse(torch.tensor([12, 13, 0, -1]))  # car, pickup, smoke, none
        tensor([ 0,  1, -1, -1])
    """
    check_labels("fine labels", label_N, len(PANDASET_CLASSES))
    coarse_of = {fine: index for index, merged in enumerate(PANDASET_COARSE.values()) for fine in merged}
    # the last entry is that of IGNORED, which is -1
    table = torch.tensor([*(coarse_of.get(name, IGNORED) for name in PANDASET_CLASSES), IGNORED])
    return table[label_N]


def _check_classes(path: Path) -> None:
    expected = {str(number): name for number, name in enumerate(PANDASET_CLASSES, start=1)}
    told = read_json(path)
    if told != expected:
        remedy = "results would not compare with those of others"
        raise invalid(f"classes in {path}", "the 42 published ones", told, remedy)


def _load(folder: Path, coarse: bool, forward_sensor: bool, name: str) -> Scan:
    path = folder / f"{name}.npz"
    field = _fields(path)
    kept = (field["sensor"] != FORWARD_SENSOR) | forward_sensor
    if not kept.any():
        remedy = "forward_sensor=True takes what is there"
        raise invalid(f"frame {path}", "of points from the turning sensor", "none", remedy)
    label_N = torch.from_numpy(field["label"][kept].astype(np.int64) - 1)  # 0, none, becomes IGNORED
    boxes = _boxes(path, field["box"], field["box_label"])
    if int(label_N.max()) >= len(PANDASET_CLASSES):
        raise invalid(f"labels in {path}", f"at most {len(PANDASET_CLASSES)}", int(label_N.max()) + 1)
    if coarse:
        label_N = pandaset_coarse(label_N)
        boxes = replace(boxes, label_K=pandaset_coarse(boxes.label_K))
    return Scan(
        xyz_N3=x_ahead_from_y_ahead(torch.from_numpy(field["xyz"][kept] / 1000).float()),
        intensity_N=torch.from_numpy(field["intensity"][kept].astype(np.float32) / 255),
        label_N=label_N,
        boxes=boxes,
        name=name,
    )


def _fields(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a frame and check that they belong together."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            field: dict[str, Any] = {key: archive[key] for key in _FIELDS}
    except OSError as problem:
        raise unreadable(path, problem) from problem
    except Exception as problem:  # damaged archives make their readers stumble in every way there is
        what = f"a whole .npz file with {', '.join(_FIELDS)}"
        raise invalid(f"frame {path}", what, str(problem)[:120], PANDASET_SOURCE) from problem
    shapes = {key: field[key].shape for key in _FIELDS}
    points = {shapes[key][:1] for key in ("xyz", "intensity", "sensor", "label")}
    boxes = {shapes[key][:1] for key in ("box", "box_label")}
    dims_right = all(len(shapes[key]) == num_dims for key, num_dims in _FIELDS.items())
    if not (dims_right and len(points) == len(boxes) == 1):
        raise invalid(f"frame {path}", "of as many labels as points, and as boxes", shapes)
    if shapes["xyz"][1] != 3 or shapes["box"][1] != 7 or shapes["xyz"][0] == 0:
        raise invalid(f"frame {path}", "of N x 3 points and K x 7 boxes", shapes)
    for key in ("xyz", "intensity", "sensor", "label"):
        if field[key].dtype.kind not in "iu":
            raise invalid(f"{key} of frame {path}", "integers", str(field[key].dtype), PANDASET_SOURCE)
    return field


def _boxes(path: Path, box: np.ndarray, names: np.ndarray) -> Boxes:
    """Turn boxes to x ahead; their length lay along y, so that their yaw stays the same number."""
    index_of = {name[:_LONGEST_BOX_LABEL]: index for index, name in enumerate(PANDASET_CLASSES)}
    unknown = sorted({str(name) for name in names if str(name)[:_LONGEST_BOX_LABEL] not in index_of})
    if unknown:
        raise invalid(f"names of boxes in {path}", "classes of PandaSet", unknown)
    labels = [index_of[str(name)[:_LONGEST_BOX_LABEL]] for name in names]
    box_K7 = torch.from_numpy(box.astype(np.float32))
    return Boxes(
        centre_K3=x_ahead_from_y_ahead(box_K7[:, :3]),
        size_K3=box_K7[:, [4, 3, 5]],
        yaw_K=box_K7[:, 6].contiguous(),
        label_K=torch.tensor(labels, dtype=torch.int64),
    )
