"""Voxels in sorted order, and which of them meet at which offset of a kernel."""

from multum.ops.kernel_map.neighbours import Neighbours, pack_neighbours, table_size, view_neighbours
from multum.ops.kernel_map.op import implementations, kernel_map, kernel_offsets, sort_voxels
from multum.ops.kernel_map.reference import (
    BATCHES,
    LARGEST,
    KernelMap,
    SortedVoxels,
    kernel_map_reference,
    pack_voxels,
    sort_voxels_reference,
    unpack_voxels,
)

__all__ = [
    "BATCHES",
    "LARGEST",
    "KernelMap",
    "Neighbours",
    "SortedVoxels",
    "implementations",
    "kernel_map",
    "kernel_map_reference",
    "kernel_offsets",
    "pack_neighbours",
    "pack_voxels",
    "sort_voxels",
    "sort_voxels_reference",
    "table_size",
    "unpack_voxels",
    "view_neighbours",
]
