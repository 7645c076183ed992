"""Compute in 3D that is short: sparse point-voxel convolution and the search for its networks."""

from multum.pointcloud.anchors import KITTI_ANCHORS, AnchorKind
from multum.pointcloud.average_precision import Truth, average_precision, kitti_truth
from multum.pointcloud.box_overlap import bev_iou, space_iou, suppress
from multum.pointcloud.convolution import SparseConvolution, multiply_accumulates
from multum.pointcloud.detections import Detections
from multum.pointcloud.detector import Detector
from multum.pointcloud.detector_config import BirdStage, DetectorConfig, scaled_detector
from multum.pointcloud.detector_training import Frames, train_detector
from multum.pointcloud.point_voxel import Points, devoxelize, voxelize
from multum.pointcloud.quantize import PointBatch, quantize
from multum.pointcloud.sparse_tensor import SparseTensor, concatenate
from multum.pointcloud.unet import SparseUNet
from multum.pointcloud.unet_config import BlockConfig, StageConfig, UNetConfig, scaled_unet
from multum.pointcloud.unet_macs import PyramidSizes, unet_macs
from multum.pointcloud.voxel_pyramid import VoxelLevel, VoxelPyramid

__all__ = [
    "KITTI_ANCHORS",
    "AnchorKind",
    "BirdStage",
    "BlockConfig",
    "Detections",
    "Detector",
    "DetectorConfig",
    "Frames",
    "PointBatch",
    "Points",
    "PyramidSizes",
    "SparseConvolution",
    "SparseTensor",
    "SparseUNet",
    "StageConfig",
    "Truth",
    "UNetConfig",
    "VoxelLevel",
    "VoxelPyramid",
    "average_precision",
    "bev_iou",
    "concatenate",
    "devoxelize",
    "kitti_truth",
    "multiply_accumulates",
    "quantize",
    "scaled_detector",
    "scaled_unet",
    "space_iou",
    "suppress",
    "train_detector",
    "unet_macs",
    "voxelize",
]
