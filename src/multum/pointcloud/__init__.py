"""Compute in 3D that is short: sparse point-voxel convolution and the search for its networks."""

from multum.pointcloud.convolution import SparseConvolution, multiply_accumulates
from multum.pointcloud.point_voxel import Points, devoxelize, voxelize
from multum.pointcloud.quantize import PointBatch, quantize
from multum.pointcloud.sparse_tensor import SparseTensor, concatenate
from multum.pointcloud.unet import SparseUNet
from multum.pointcloud.unet_config import BlockConfig, StageConfig, UNetConfig, scaled_unet
from multum.pointcloud.unet_macs import PyramidSizes, unet_macs
from multum.pointcloud.voxel_pyramid import VoxelLevel, VoxelPyramid

__all__ = [
    "BlockConfig",
    "PointBatch",
    "Points",
    "PyramidSizes",
    "SparseConvolution",
    "SparseTensor",
    "SparseUNet",
    "StageConfig",
    "UNetConfig",
    "VoxelLevel",
    "VoxelPyramid",
    "concatenate",
    "devoxelize",
    "multiply_accumulates",
    "quantize",
    "scaled_unet",
    "unet_macs",
    "voxelize",
]
