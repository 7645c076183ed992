"""LiDAR scans: readers of the public data sets and of one's own files, all of which give the same `ScanSet`."""

from multum.pointcloud.lidar.axes import x_ahead_from_y_ahead
from multum.pointcloud.lidar.label_files import read_labels
from multum.pointcloud.lidar.scan import IGNORED, Boxes, Scan
from multum.pointcloud.lidar.scan_files import finite_points, read_points
from multum.pointcloud.lidar.scan_set import ScanSet

__all__ = [
    "IGNORED",
    "Boxes",
    "Scan",
    "ScanSet",
    "finite_points",
    "read_labels",
    "read_points",
    "x_ahead_from_y_ahead",
]
