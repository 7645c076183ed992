"""Synthetic streets so coarse, and a network so narrow, that a training of it takes a second or two."""

from pathlib import Path
from typing import Any

import numpy as np

from multum.pointcloud.lidar import SyntheticSensor, synthetic_street
from multum.pointcloud.segmentation import SegmentationConfig, StreetsConfig

SENSOR = SyntheticSensor(num_beams=32, num_azimuths=64)


def street_config(**dials: Any) -> SegmentationConfig:
    """A training of two epochs over three scans, a step for each and one for the other two."""
    streets = StreetsConfig(num_train=3, num_validation=1, num_test=2, sensor=SENSOR)
    given = {"data": "synthetic", "streets": streets, "channel_ratio": 0.125, "voxel_size": 0.4}
    given |= {"num_epochs": 2, "batch_size": 2, "learning_rate": 0.05}
    if dials.get("data", "synthetic") != "synthetic":
        del given["streets"]
    return SegmentationConfig(**(given | dials))


def write_scans(folder: Path, count: int, *, labels: bool = True) -> Path:
    """Street scans as a folder of one's own: .npy, and .label.npy beside."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        scan = synthetic_street(5, index, sensor=SENSOR)
        assert scan.label_N is not None
        rows = np.concatenate([scan.xyz_N3.numpy(), scan.intensity_N.numpy()[:, None]], axis=1)
        np.save(folder / f"scan{index}.npy", rows)
        if labels:
            np.save(folder / f"scan{index}.label.npy", scan.label_N.numpy())
    return folder


def write_drive(folder: Path, drive: str, count: int) -> Path:
    """Street scans as a drive of SemanticKITTI; the classes of the streets are among its own."""
    from multum.pointcloud.lidar import SEMANTIC_KITTI_CLASSES, SYNTHETIC_CLASSES, semantic_kitti_raw

    for index in range(count):
        scan = synthetic_street(7, index, sensor=SENSOR)
        assert scan.label_N is not None
        rows = np.concatenate([scan.xyz_N3.numpy(), scan.intensity_N.numpy()[:, None]], axis=1)
        number = np.array([SEMANTIC_KITTI_CLASSES.index(name) for name in SYNTHETIC_CLASSES])
        raw_N = semantic_kitti_raw(scan.label_N.new_tensor(number)[scan.label_N])
        for kind, ending, data in (
            ("velodyne", ".bin", rows.astype("<f4")),
            ("labels", ".label", raw_N.numpy().astype("<u4")),
        ):
            path = folder / "sequences" / drive / kind / f"{index:06d}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.tobytes())
    return folder
