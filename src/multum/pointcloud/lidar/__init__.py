"""LiDAR scans: readers of the public data sets and of one's own files, all of which give the same `ScanSet`."""

from multum.pointcloud.lidar.axes import x_ahead_from_y_ahead
from multum.pointcloud.lidar.label_files import read_labels
from multum.pointcloud.lidar.scan import IGNORED, Boxes, Scan
from multum.pointcloud.lidar.scan_files import finite_points, read_points
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
    "SEMANTIC_KITTI_CLASSES",
    "SEMANTIC_KITTI_RAW",
    "SEMANTIC_KITTI_SOURCE",
    "SEMANTIC_KITTI_SPLIT",
    "Boxes",
    "Scan",
    "ScanSet",
    "finite_points",
    "read_labels",
    "read_points",
    "read_semantic_kitti",
    "semantic_kitti_classes",
    "semantic_kitti_raw",
    "write_semantic_kitti_prediction",
    "x_ahead_from_y_ahead",
]
