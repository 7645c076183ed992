"""Voxels of one size, and the pyramid of sizes that layers go up and down: each level and each kernel map is made once.

A voxel of a level is where points lie, divided by the level's stride and rounded down, so that going down by 2 takes
eight voxels together. Layers of a network ask for the same levels and maps again and again, and get what is there.

Shape legend: N voxels in the order in which their features lie.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from multum.core import invalid
from multum.ops.kernel_map import (
    KernelMap,
    SortedVoxels,
    kernel_map,
    kernel_offsets,
    sort_voxels,
    unpack_voxels,
)

Triple = tuple[int, int, int]
_Made = TypeVar("_Made")


class VoxelLevel:
    """The voxels of one size that are there, all different; compared by identity.

    Attributes:
        voxel_N4: Batch, x, y, z of each, int32, in units of this level's voxels.
        stride: Size of a voxel along x, y and z, in voxels of the finest level.
        order: Their sorted order.
    """

    def __init__(self, voxel_N4: Int[Tensor, "N 4"], stride: Triple, order: SortedVoxels) -> None:
        self.voxel_N4 = voxel_N4
        self.stride = stride
        self.order = order

    def __len__(self) -> int:
        return len(self.voxel_N4)

    def __repr__(self) -> str:
        return f"VoxelLevel({len(self)} voxels, stride {self.stride})"

    @staticmethod
    def of(voxel_N4: Int[Tensor, "N 4"], stride: Triple = (1, 1, 1)) -> "VoxelLevel":
        """A level of given voxels, in their order.

        Raises:
            UserError: A voxel that is there twice, or out of range.
        """
        order = sort_voxels(voxel_N4)
        if len(order.key_M) < len(voxel_N4):
            twice = len(voxel_N4) - len(order.key_M)
            raise invalid("voxels that are there twice", "0", twice, "merge them: quantize does")
        return VoxelLevel(voxel_N4, stride, order)

    @staticmethod
    def of_different(order: SortedVoxels, stride: Triple) -> "VoxelLevel":
        """A level of the different voxels among some, sorted by batch, x, y and z."""
        return VoxelLevel(unpack_voxels(order.key_M), stride, order.distinct())


class VoxelPyramid:
    """Levels and kernel maps that the tensors of one forward pass share."""

    def __init__(self) -> None:
        self._coarser: dict[tuple[VoxelLevel, Triple], VoxelLevel] = {}
        self._made_of: dict[VoxelLevel, tuple[VoxelLevel, Tensor]] = {}
        self._finer: dict[tuple[VoxelLevel, Triple], VoxelLevel] = {}
        self._reached: dict[tuple[VoxelLevel, Triple, Triple, Triple], VoxelLevel] = {}
        self._maps: dict[tuple[VoxelLevel, VoxelLevel, Triple, Triple, Triple], KernelMap] = {}

    def coarser(self, level: VoxelLevel, stride: Triple) -> VoxelLevel:
        """The level whose voxels are `stride` times as large: their coordinates, divided and rounded down."""
        return _once(self._coarser, (level, stride), lambda: self._make_coarser(level, stride))

    def finer(self, level: VoxelLevel, stride: Triple) -> VoxelLevel:
        """The level that this one was made of.

        Raises:
            UserError: There is none with this stride between them.
        """
        if (level, stride) not in self._finer:
            remedy = "go down by this stride first, or grow new voxels with generative=True"
            raise invalid("stride of a transposed convolution", f"one that led to {level}", stride, remedy)
        return self._finer[level, stride]

    def rows_at(self, row_N: Int[Tensor, " N"], fine: VoxelLevel, coarse: VoxelLevel) -> Int[Tensor, " N"]:
        """Rows of the coarse voxels that hold these fine ones.

        Args:
            row_N: Rows of voxels of the fine level.
            fine: That level.
            coarse: One that was made of it by going down, in any number of steps; or itself.

        Raises:
            UserError: The coarse level was not made of the fine one.
        """
        if coarse is fine:
            return row_N
        if coarse not in self._made_of:
            raise invalid("level", f"one that was made of {fine} by going down", coarse)
        finer, parent_M = self._made_of[coarse]
        return parent_M[self.rows_at(row_N, fine, finer).long()]

    def reached(self, level: VoxelLevel, size: Triple, stride: Triple, dilation: Triple) -> VoxelLevel:
        """The level of all voxels that a strided kernel sees something from: where a dense convolution is not 0."""
        key = (level, size, stride, dilation)
        return _once(self._reached, key, lambda: _reach(level, size, stride, dilation))

    def grown(self, level: VoxelLevel, size: Triple, stride: Triple, dilation: Triple) -> VoxelLevel:
        """A finer level of all voxels that a kernel reaches from this one; a new one each time."""
        (x, y, z), (by_x, by_y, by_z) = level.stride, stride
        if x % by_x or y % by_y or z % by_z:
            raise invalid("stride of a generative convolution", f"a divisor of {level.stride}", stride)
        offset_K3 = kernel_offsets(size, dilation).to(level.voxel_N4.device)
        voxel_NK3 = level.voxel_N4[:, None, 1:] * offset_K3.new_tensor(stride) + offset_K3
        everywhere_NK = torch.ones(voxel_NK3.shape[:2], dtype=torch.bool, device=voxel_NK3.device)
        fine = _level_of(level, voxel_NK3, everywhere_NK, (x // by_x, y // by_y, z // by_z))
        self._finer[level, stride] = fine
        return fine

    def kernel_map(
        self,
        source: VoxelLevel,
        target: VoxelLevel,
        size: Triple,
        stride: Triple = (1, 1, 1),
        dilation: Triple = (1, 1, 1),
    ) -> KernelMap:
        """Pairs with source = stride * target + offset, found once."""
        key = (source, target, size, stride, dilation)
        make = lambda: kernel_map(source.order, target.order, kernel_offsets(size, dilation), stride)  # noqa: E731
        return _once(self._maps, key, make)

    def _make_coarser(self, level: VoxelLevel, stride: Triple) -> VoxelLevel:
        by = level.voxel_N4.new_tensor((1, *stride))
        order = sort_voxels(torch.div(level.voxel_N4, by, rounding_mode="floor"))
        coarse = VoxelLevel.of_different(order, _times(level.stride, stride))
        self._made_of[coarse] = (level, order.rank_N)
        self._finer[coarse, stride] = level
        return coarse


def _once(made: dict, key: object, make: Callable[[], _Made]) -> _Made:  # type: ignore[type-arg]
    if key not in made:
        made[key] = make()
    found: _Made = made[key]
    return found


def _times(one: Triple, other: Triple) -> Triple:
    return one[0] * other[0], one[1] * other[1], one[2] * other[2]


def _reach(level: VoxelLevel, size: Triple, stride: Triple, dilation: Triple) -> VoxelLevel:
    """Targets with source = stride * target + offset for a source that is there."""
    away_NK3 = level.voxel_N4[:, None, 1:] - kernel_offsets(size, dilation).to(level.voxel_N4.device)
    by = away_NK3.new_tensor(stride)
    voxel_NK3 = torch.div(away_NK3, by, rounding_mode="floor")
    return _level_of(level, voxel_NK3, (away_NK3 % by == 0).all(dim=2), _times(level.stride, stride))


def _level_of(level: VoxelLevel, voxel_NK3: Tensor, chosen_NK: Tensor, stride: Triple) -> VoxelLevel:
    """The different ones of the chosen voxels, each in the batch of its row."""
    batch_NK1 = level.voxel_N4[:, None, :1].expand(-1, voxel_NK3.shape[1], 1)
    voxel_NK4 = torch.cat([batch_NK1, voxel_NK3], dim=2)
    return VoxelLevel.of_different(sort_voxels(voxel_NK4[chosen_NK]), stride)
