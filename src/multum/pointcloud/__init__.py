"""Compute in 3D that is short: sparse point-voxel convolution and the search for its networks."""

from multum.pointcloud.convolution import SparseConvolution, multiply_accumulates
from multum.pointcloud.point_voxel import Points, devoxelize, voxelize
from multum.pointcloud.quantize import PointBatch, quantize
from multum.pointcloud.sparse_tensor import SparseTensor, concatenate
from multum.pointcloud.voxel_pyramid import VoxelLevel, VoxelPyramid

__all__ = [
    "PointBatch",
    "Points",
    "SparseConvolution",
    "SparseTensor",
    "VoxelLevel",
    "VoxelPyramid",
    "concatenate",
    "devoxelize",
    "multiply_accumulates",
    "quantize",
    "voxelize",
]
