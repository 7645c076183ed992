"""LiDAR scans: what they are, where they come from (data sets, files, a synthetic world), how they are varied."""

from multum.pointcloud.lidar.augmentation import (
    AugmentationConfig,
    drop_points,
    jitter_points,
    random_flips,
    random_rotation,
    random_scaling,
    random_translation,
)
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
from multum.pointcloud.lidar.laser_mix import laser_mix
from multum.pointcloud.lidar.nuscenes_lidarseg import (
    NUSCENES_CATEGORIES,
    NUSCENES_CLASSES,
    NUSCENES_SOURCE,
    read_nuscenes_lidarseg,
)
from multum.pointcloud.lidar.pandaset import PANDASET_SOURCE, pandaset_coarse, read_pandaset, time_split
from multum.pointcloud.lidar.pandaset_classes import PANDASET_CLASSES, PANDASET_COARSE
from multum.pointcloud.lidar.polar_mix import polar_mix
from multum.pointcloud.lidar.scan import IGNORED, Boxes, Scan
from multum.pointcloud.lidar.scan_files import finite_points, read_points
from multum.pointcloud.lidar.scan_folder import LABEL_SUFFIXES, SCAN_SUFFIXES, read_scan_folder
from multum.pointcloud.lidar.scan_parts import boxes_at, join_scans, points_in_boxes
from multum.pointcloud.lidar.scan_set import ScanSet
from multum.pointcloud.lidar.scan_transforms import flip, rotate, scale, translate, tta_views
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
from multum.pointcloud.lidar.street_materials import SYNTHETIC_CLASSES, SYNTHETIC_OBJECTS
from multum.pointcloud.lidar.synthetic_sensor import SyntheticSensor
from multum.pointcloud.lidar.synthetic_streets import SyntheticStreets, synthetic_street

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
    "SYNTHETIC_CLASSES",
    "SYNTHETIC_OBJECTS",
    "AugmentationConfig",
    "Boxes",
    "KittiCalibration",
    "KittiFrame",
    "KittiObjects",
    "Scan",
    "ScanSet",
    "SyntheticSensor",
    "SyntheticStreets",
    "boxes_at",
    "drop_points",
    "finite_points",
    "flip",
    "jitter_points",
    "join_scans",
    "kitti_difficulty",
    "kitti_frames",
    "laser_mix",
    "pandaset_coarse",
    "points_in_boxes",
    "polar_mix",
    "random_flips",
    "random_rotation",
    "random_scaling",
    "random_translation",
    "read_kitti_calibration",
    "read_kitti_detection",
    "read_kitti_objects",
    "read_labels",
    "read_nuscenes_lidarseg",
    "read_pandaset",
    "read_points",
    "read_scan_folder",
    "read_semantic_kitti",
    "rotate",
    "scale",
    "semantic_kitti_classes",
    "semantic_kitti_raw",
    "synthetic_street",
    "time_split",
    "translate",
    "tta_views",
    "write_semantic_kitti_prediction",
    "x_ahead_from_y_ahead",
]
