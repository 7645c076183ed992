"""Calls the compiled kernel `cpu.cpp` through ctypes. Shape legend as in `reference.py`."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multum.native import NativeLibrary, load_native
from multum.ops.kernel_map.reference import BLOCK, KernelMap, SortedVoxels, refuse

SOURCE = Path(__file__).with_name("cpu.cpp")
_POINTER, _LONG, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int


def library() -> NativeLibrary | None:
    """The compiled kernel, or None where it cannot be had."""
    return load_native(SOURCE)


def sort_voxels(voxel_N4: Tensor) -> SortedVoxels:
    """As `sort_voxels_reference`; int32 on the CPU."""
    voxel_N4, count = voxel_N4.contiguous(), len(voxel_N4)
    key_N = torch.empty(count, dtype=torch.int64)
    rank_N, row_N = torch.empty(2, count, dtype=torch.int32)
    num = _functions().sort(voxel_N4.data_ptr(), count, key_N.data_ptr(), rank_N.data_ptr(), row_N.data_ptr())
    if num < 0:
        refuse(voxel_N4, -1 - num)
    if num < count:
        key_N, row_N = key_N[:num].clone(), row_N[:num].clone()
    return SortedVoxels(key_N, row_N, rank_N)


def kernel_map(
    source: SortedVoxels, target: SortedVoxels, offset_K3: Tensor, stride: tuple[int, int, int]
) -> KernelMap:
    """As `kernel_map_reference`; offsets ascend."""
    num_offsets, num_sources, num_targets = len(offset_K3), len(source.key_M), len(target.key_M)
    offset_K3 = offset_K3.int().contiguous()
    same = source.key_M.data_ptr() == target.key_M.data_ptr() and stride == (1, 1, 1)
    mirrored = same and bool((offset_K3 == -offset_K3.flip(0)).all())
    num_pairs, threads = _LONG(0), torch.get_num_threads()
    handle = _functions().find(
        source.key_M.data_ptr(), num_sources, target.key_M.data_ptr(), num_targets,
        offset_K3.data_ptr(), num_offsets, (ctypes.c_int32 * 3)(*stride), mirrored, threads, ctypes.byref(num_pairs),
    )  # fmt: skip
    source_P, target_P = torch.empty(2, num_pairs.value, dtype=torch.int32)
    starts_KB = torch.empty(num_offsets, -(-num_targets // BLOCK) + 1, dtype=torch.int64)
    back_starts_KB = torch.empty(num_offsets, -(-num_sources // BLOCK) + 1, dtype=torch.int64)
    _functions().take(
        handle, source.row_M.data_ptr(), target.row_M.data_ptr(), num_sources, threads,
        *(it.data_ptr() for it in (source_P, target_P, starts_KB, back_starts_KB)),
    )  # fmt: skip
    return KernelMap(
        source_P=source_P,
        target_P=target_P,
        starts_KB=starts_KB,
        back_starts_KB=back_starts_KB,
        source_row_N=source.row_M,
        target_row_M=target.row_M,
    )


class _Functions:
    """The three functions of the library, with their arguments declared."""

    def __init__(self, handle: ctypes.CDLL) -> None:
        self.sort: Any = handle.multum_sort_voxels
        self.sort.argtypes, self.sort.restype = [_POINTER, _LONG, _POINTER, _POINTER, _POINTER], _LONG
        self.find: Any = handle.multum_map_find
        self.find.argtypes = [*(_POINTER, _LONG) * 3, _POINTER, _INT, _INT, _POINTER]
        self.find.restype = _POINTER
        self.take: Any = handle.multum_map_take
        self.take.argtypes = [_POINTER, _POINTER, _POINTER, _LONG, _INT, *[_POINTER] * 4]
        self.take.restype = None


@cache
def _functions() -> _Functions:
    loaded = library()
    assert loaded is not None, "dispatch asked for a kernel that is not there"
    return _Functions(loaded.handle)
