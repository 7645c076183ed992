"""`multum pointcloud predict`, as a plain function: a class for every point of scans, in files beside nothing else.

A network of SemanticKITTI's classes writes `.label` files in its raw numbers; for scans of that data set they lie as
its benchmark's server takes them. Any other network writes `.npy` files, numbers in the order of its classes, which
`predictions.json` tells.

Shape legend: N points.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from multum.core import check_fields, invalid, to_dict, track, write_bytes_atomic, write_json_atomic
from multum.pointcloud.lidar import (
    SEMANTIC_KITTI_CLASSES,
    ScanSet,
    semantic_kitti_raw,
    write_semantic_kitti_prediction,
)
from multum.pointcloud.segmentation.config import Device
from multum.pointcloud.segmentation.judge import log_probabilities
from multum.pointcloud.segmentation.layout import (
    Layout,
    LayoutWish,
    known_by,
    open_file,
    open_scans,
    recognize,
)
from multum.pointcloud.segmentation.scan_reader import ScanReader
from multum.pointcloud.segmentation.train_command import load_segmenter

PREDICTIONS_FOLDER = "predictions"
"""In the run's folder, where nothing else is said."""

PREDICTIONS_FILE = "predictions.json"


@dataclass(frozen=True, kw_only=True)
class PredictSegmentationConfig:
    """Tell the class of every point of scans.

    Raises:
        UserError: A value outside its range.
    """

    run: Path
    """Folder of a finished run of `multum pointcloud train`, or of its model alone."""

    scans: Path
    """A scan (.bin, .npy, .ply, .las, .laz), a folder of them, or the folder of a data set."""

    out: Path | None = None
    """Folder for the predictions; predictions/ in the run's folder when left alone."""

    part: str | None = None
    """Only the scans of this part: train, validation or test, where the data set has parts."""

    layout: Layout | None = None
    """How the folder is laid out; recognized by what lies in it when left alone."""

    num_columns: int | None = None
    """Numbers for each point of .bin files; 4, or 5 for .pcd.bin, when left alone."""

    num_views: int = 1
    """Turned copies of each scan that are asked and averaged; the paper has 5."""

    device: Device = "cpu"
    """Where it is computed."""

    num_threads: int = 1
    """Threads that torch computes with; at least 1."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("num_views", "num_threads"):
            if getattr(self, name) < 1:
                raise invalid(name, "at least 1", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class ScanPrediction:
    """What a network takes one scan's points for."""

    scan: str
    """The scan's name."""
    path: Path
    """File with a class for each point, in the scan's order."""
    num_points: int
    """How many."""
    class_points: dict[str, int]
    """Points of each class that was told."""


@dataclass(frozen=True, kw_only=True)
class SegmentationPredictions:
    """What `predict_segmentation` reports."""

    path: Path
    """Folder of the predictions."""
    classes: tuple[str, ...]
    """Names of the classes, in the order of the numbers in .npy files."""
    num_views: int
    """Turned copies of each scan that were asked."""
    predictions: tuple[ScanPrediction, ...]
    """In the order of the scans."""


def predict_segmentation(config: PredictSegmentationConfig) -> SegmentationPredictions:
    """Tell the class of every point, and write it down, scan by scan.

    Args:
        config: The run and the scans.

    Raises:
        UserError: No finished run, no scans, a broken one, or the files cannot be written.
    """
    torch.set_num_threads(config.num_threads)
    segmenter = load_segmenter(config.run)
    segmenter.net.to(config.device)
    out = config.out or config.run / PREDICTIONS_FOLDER
    reader = ScanReader(_scans(config, segmenter.config.classes), needs_labels=False)
    found = []
    for index in track(range(len(reader)), "predicting", len(reader)):
        scan, name = reader.read(index), reader.scans.names[index]
        label_N = log_probabilities(segmenter, scan, config.num_views).argmax(dim=1)
        path = write_prediction(out, name, label_N, segmenter.config.classes)
        found.append(_told(name, path, label_N, segmenter.config.classes))
    result = SegmentationPredictions(
        path=out, classes=segmenter.config.classes, num_views=config.num_views, predictions=tuple(found)
    )
    write_json_atomic(out / PREDICTIONS_FILE, to_dict(result))
    return result


def write_prediction(out: Path, name: str, label_N: Int[Tensor, " N"], classes: tuple[str, ...]) -> Path:
    """Write the classes of a scan's points, whole or not at all.

    Args:
        out: Folder of the predictions.
        name: The scan's name; "08/000123" for one of SemanticKITTI.
        label_N: Index into the classes for each point.
        classes: Their names.

    Returns:
        The file.

    Raises:
        UserError: It cannot be written.
    """
    drive, _, stem = name.rpartition("/")
    if classes == SEMANTIC_KITTI_CLASSES:
        if len(drive) == 2 and drive.isdecimal() and stem.isdecimal():
            return write_semantic_kitti_prediction(out, drive, stem, label_N)
        path = out / f"{name}.label"
        write_bytes_atomic(path, semantic_kitti_raw(label_N).numpy().astype("<u4").tobytes())
        return path
    path, file = out / f"{name}.npy", io.BytesIO()
    np.save(file, label_N.numpy().astype("<i2"), allow_pickle=False)
    write_bytes_atomic(path, file.getvalue())
    return path


def _scans(config: PredictSegmentationConfig, classes: tuple[str, ...]) -> ScanSet:
    place = config.scans
    if place.is_file():
        if config.layout not in (None, "folder") or config.part is not None:
            raise invalid("layout and part", "left out for a single scan", (config.layout, config.part))
        return open_file(place, config.num_columns)
    if not place.is_dir():
        raise invalid("scans", "an existing file or folder", str(place))
    layout = config.layout or recognize(place)
    wish = known_by(classes, place, LayoutWish(layout=layout, num_columns=config.num_columns))
    scans = open_scans(place, wish)
    return scans if config.part is None else scans.part(config.part)


def _told(name: str, path: Path, label_N: Tensor, classes: tuple[str, ...]) -> ScanPrediction:
    count_K = torch.bincount(label_N, minlength=len(classes)).tolist()
    points = {name: count for name, count in zip(classes, count_K, strict=True) if count}
    return ScanPrediction(scan=name, path=path, num_points=len(label_N), class_points=points)
