"""Kernels, each in its own folder with its reference twin; see `docs/kernels.md` for how to add one."""

from multum.ops.bit_planes import FloatRows, PlaneRows
from multum.ops.decode_attention import (
    DecodeResult,
    DecodeStep,
    decode_attention,
    decode_bytes_read,
    evict_lowest,
)
from multum.ops.fast_linear import fast_linear, fast_linears, fast_linears_available
from multum.ops.fma_peak import FmaPeak, measure_fma_peak
from multum.ops.importance_attention import importance_attention
from multum.ops.int8_linear import Int8Layer, int8_linear, int8_linears, int8_linears_, quantize_weight
from multum.ops.kernel_map import KernelMap, SortedVoxels, kernel_map, kernel_offsets, sort_voxels
from multum.ops.lite_branch import LiteLayer, LiteSteps, lite_branch
from multum.ops.masked_activation import Bend, masked_activation
from multum.ops.sparse_convolution import sparse_convolution
from multum.ops.weighted_rows import RowLists, weighted_rows

__all__ = [
    "Bend",
    "DecodeResult",
    "DecodeStep",
    "FloatRows",
    "FmaPeak",
    "Int8Layer",
    "KernelMap",
    "LiteLayer",
    "LiteSteps",
    "PlaneRows",
    "RowLists",
    "SortedVoxels",
    "decode_attention",
    "decode_bytes_read",
    "evict_lowest",
    "fast_linear",
    "fast_linears",
    "fast_linears_available",
    "importance_attention",
    "int8_linear",
    "int8_linears",
    "int8_linears_",
    "kernel_map",
    "kernel_offsets",
    "lite_branch",
    "masked_activation",
    "measure_fma_peak",
    "quantize_weight",
    "sort_voxels",
    "sparse_convolution",
    "weighted_rows",
]
