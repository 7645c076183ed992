"""A recording of a scan for the viewer of Rerun (rerun.io), which turns far larger scans than a page does.

Each labelling is a cloud of its own under `scan/`, in the colours of the classes, which the recording carries by name,
so that the viewer names the class that is pointed at. Mistakes are a cloud too, and boxes stand over them all.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from torch import Tensor

from multum.core import require_module, written_atomically
from multum.pointcloud.lidar import Boxes, Scan
from multum.report.birds_eye import FATE_COLOURS, NO_CLASS_COLOUR
from multum.report.class_palette import class_colours
from multum.report.scan_bytes import NO_CLASS
from multum.report.scan_judgement import point_fates

APPLICATION = "multum"
POINT_RADIUS = 0.03
"""Metres."""


def write_rerun(
    path: Path,
    scan: Scan,
    classes: Sequence[str] = (),
    predictions: Mapping[str, Int[Tensor, " N"]] | None = None,
    *,
    box_classes: Sequence[str] = (),
) -> Path:
    """Write a scan with its labels, predictions, mistakes and boxes as a recording.

    Args:
        path: The file, `.rrd`; it is there whole, or not at all.
        scan: The points.
        classes: Names of the labels' classes.
        predictions: Labellings of the same points by what they are called.
        box_classes: Names of the boxes' classes.

    Returns:
        The path.

    Raises:
        MissingExtraError: Rerun is not installed.
        UserError: The file cannot be written.
    """
    rerun: Any = require_module("rerun", "rerun")
    with written_atomically(path) as partial:
        recording = rerun.RecordingStream(APPLICATION, recording_id=scan.name or "scan")
        recording.save(partial)
        _log(rerun, recording, scan, classes, dict(predictions or {}))
        if scan.boxes is not None and len(scan.boxes):
            recording.log("scan/boxes", _boxes(rerun, scan.boxes, box_classes), static=True)
        recording.disconnect()
    return path


def _log(
    rerun: Any, recording: Any, scan: Scan, classes: Sequence[str], predictions: Mapping[str, Tensor]
) -> None:
    points = scan.xyz_N3.cpu().numpy()
    names = [*zip(classes, class_colours(classes), strict=True)]
    infos = [(place, name, _rgb(colour)) for place, (name, colour) in enumerate(names)]
    infos.append((NO_CLASS, "no class", _rgb(NO_CLASS_COLOUR)))
    recording.log("scan", rerun.ViewCoordinates.FLU, static=True)
    recording.log("scan", rerun.AnnotationContext(infos), static=True)
    truth_N = scan.label_N if classes else None
    labellings = ({} if truth_N is None else {"truth": truth_N}) | dict(predictions)
    if not labellings:
        recording.log("scan/points", rerun.Points3D(points, radii=POINT_RADIUS), static=True)
    for name, label_N in labellings.items():
        number_N = np.where(label_N.cpu().numpy() < 0, NO_CLASS, label_N.cpu().numpy()).astype(np.uint16)
        cloud = rerun.Points3D(points, class_ids=number_N, radii=POINT_RADIUS)
        recording.log(f"scan/{_part(name)}", cloud, static=True)
        if truth_N is not None and label_N is not truth_N:
            colours = np.array([_rgb(it) for it in FATE_COLOURS], np.uint8)
            colour_N3 = colours[point_fates(truth_N, label_N).cpu().numpy()]
            mistakes = rerun.Points3D(points, colors=colour_N3, radii=POINT_RADIUS)
            recording.log(f"scan/{_part(name)}-mistakes", mistakes, static=True)


def _boxes(rerun: Any, boxes: Boxes, names: Sequence[str]) -> Any:
    half_K = boxes.yaw_K.cpu().double().numpy() / 2
    zero_K = np.zeros_like(half_K)
    return rerun.Boxes3D(
        centers=boxes.centre_K3.cpu().numpy(),
        half_sizes=boxes.size_K3.cpu().numpy() / 2,
        quaternions=np.stack([zero_K, zero_K, np.sin(half_K), np.cos(half_K)], axis=1),
        labels=[names[it] if 0 <= it < len(names) else "" for it in boxes.label_K.tolist()],
        show_labels=False,
    )


def _part(name: str) -> str:
    """A name as one part of a path in a recording."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return red, green, blue
