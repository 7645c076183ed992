"""LiDAR scans: readers of the public data sets and of one's own files, all of which give the same `ScanSet`."""

from multum.pointcloud.lidar.axes import x_ahead_from_y_ahead
from multum.pointcloud.lidar.kitti_calibration import KittiCalibration, read_kitti_calibration
from multum.pointcloud.lidar.kitti_detection import (
    KITTI_SOURCE,
    KittiFrame,
    kitti_frames,
    read_kitti_detection,
)
from multum.pointcloud.lidar.kitti_objects import (
    KITTI_CLASSES,
    KITTI_DIFFICULTIES,
    KittiObjects,
    kitti_difficulty,
    read_kitti_objects,
)
from multum.pointcloud.lidar.label_files import read_labels
from multum.pointcloud.lidar.nuscenes_lidarseg import (
    NUSCENES_CATEGORIES,
    NUSCENES_CLASSES,
    NUSCENES_SOURCE,
    read_nuscenes_lidarseg,
)
from multum.pointcloud.lidar.pandaset import PANDASET_SOURCE, pandaset_coarse, read_pandaset, time_split
from multum.pointcloud.lidar.pandaset_classes import PANDASET_CLASSES, PANDASET_COARSE
from multum.pointcloud.lidar.scan import IGNORED, Boxes, Scan
from multum.pointcloud.lidar.scan_files import finite_points, read_points
from multum.pointcloud.lidar.scan_folder import LABEL_SUFFIXES, SCAN_SUFFIXES, read_scan_folder
from multum.pointcloud.lidar.scan_set import ScanSet
from multum.pointcloud.lidar.semantic_kitti import (
    SEMANTIC_KITTI_SOURCE,
    SEMANTIC_KITTI_SPLIT,
    read_semantic_kitti,
    write_semantic_kitti_prediction,
)
from multum.pointcloud.lidar.semantic_kitti_classes import (
    SEMANTIC_KITTI_CLASSES,
    SEMANTIC_KITTI_RAW,
    semantic_kitti_classes,
    semantic_kitti_raw,
)

__all__ = [
    "IGNORED",
    "KITTI_CLASSES",
    "KITTI_DIFFICULTIES",
    "KITTI_SOURCE",
    "LABEL_SUFFIXES",
    "NUSCENES_CATEGORIES",
    "NUSCENES_CLASSES",
    "NUSCENES_SOURCE",
    "PANDASET_CLASSES",
    "PANDASET_COARSE",
    "PANDASET_SOURCE",
    "SCAN_SUFFIXES",
    "SEMANTIC_KITTI_CLASSES",
    "SEMANTIC_KITTI_RAW",
    "SEMANTIC_KITTI_SOURCE",
    "SEMANTIC_KITTI_SPLIT",
    "Boxes",
    "KittiCalibration",
    "KittiFrame",
    "KittiObjects",
    "Scan",
    "ScanSet",
    "finite_points",
    "kitti_difficulty",
    "kitti_frames",
    "pandaset_coarse",
    "read_kitti_calibration",
    "read_kitti_detection",
    "read_kitti_objects",
    "read_labels",
    "read_nuscenes_lidarseg",
    "read_pandaset",
    "read_points",
    "read_scan_folder",
    "read_semantic_kitti",
    "semantic_kitti_classes",
    "semantic_kitti_raw",
    "time_split",
    "write_semantic_kitti_prediction",
    "x_ahead_from_y_ahead",
]
