"""Between points and voxels: the mean of a voxel's points, and the interpolation of voxels at a point.

    voxelize     g[l] = mean of f[k] over the points k of voxel l
    devoxelize   f[k] = sum over the 8 voxels around p[k] of w g,   w = product over the axes of (1 - |p - v|)

Voxels that are not there count nothing, and the weights of the others are made to sum to 1. Both are sums of rows,
whose lists are made once for a level.

Source: SPVNAS (ECCV 2020), section 3.1 (point-voxel fusion).
Differs from the paper: points keep where they lie in their voxel; its code rounds them first, as `Points.rounded` does.

Shape legend: N points, M voxels of a level, F voxels that hold a point once it is rounded down, C channels.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from multum.core import invalid
from multum.ops.kernel_map import kernel_map, kernel_offsets, sort_voxels
from multum.ops.weighted_rows import RowLists, weighted_rows
from multum.pointcloud.voxel_pyramid import VoxelLevel, VoxelPyramid

Interpolation = Literal["trilinear", "nearest"]
CORNERS = (2, 2, 2)


@dataclass(frozen=True, eq=False)
class Points:
    """Where points lie, and in which voxel of the finest level."""

    position_N3: Float[Tensor, "N 3"]
    """In voxels of the finest level."""
    batch_N: Int[Tensor, " N"]
    """Which scan each belongs to, int32."""
    row_N: Int[Tensor, " N"]
    """Row of its voxel in the finest level."""
    finest: VoxelLevel
    """That level."""
    pyramid: VoxelPyramid
    """What the levels are shared by."""
    _groups: dict[VoxelLevel, RowLists] = field(default_factory=dict, repr=False)
    _own: dict[VoxelLevel, RowLists] = field(default_factory=dict, repr=False)
    _corners: dict[VoxelLevel, RowLists] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.position_N3)

    def rounded(self) -> "Points":
        """One point for each voxel, in its corner, as the paper's code has them."""
        voxel_N4 = self.finest.voxel_N4
        row_N = torch.arange(len(voxel_N4), device=voxel_N4.device)
        position_N3 = voxel_N4[:, 1:].to(self.position_N3.dtype)
        return Points(position_N3, voxel_N4[:, 0].contiguous(), row_N, self.finest, self.pyramid)

    def row_at(self, level: VoxelLevel) -> Int[Tensor, " N"]:
        """Row of each point's voxel in a coarser level."""
        return self.pyramid.rows_at(self.row_N, self.finest, level)

    def groups(self, level: VoxelLevel) -> RowLists:
        """The points of each voxel, weighted for their mean; made once."""
        if level not in self._groups:
            self._groups[level] = RowLists.of_targets(self.row_at(level), len(level)).means()
        return self._groups[level]

    def own(self, level: VoxelLevel) -> RowLists:
        """The voxel of each point; made once."""
        if level not in self._own:
            row_N1 = self.row_at(level)[:, None]
            ones_N1 = torch.ones(row_N1.shape, device=row_N1.device)
            self._own[level] = RowLists.of_neighbours(row_N1, ones_N1, len(level))
        return self._own[level]

    def corners(self, level: VoxelLevel) -> RowLists:
        """The voxels around each point, weighted for interpolation; made once."""
        if level not in self._corners:
            self._corners[level] = _corner_lists(self, level)
        return self._corners[level]


def voxelize(feature_NC: Float[Tensor, "N C"], points: Points, level: VoxelLevel) -> Float[Tensor, "M C"]:
    """The mean of the points in each voxel of a level.

    Raises:
        UserError: Another number of features than points, or a level that the points' finest one does not lead to.
    """
    return weighted_rows(feature_NC, points.groups(level))


def devoxelize(
    feature_MC: Float[Tensor, "M C"],
    points: Points,
    level: VoxelLevel,
    interpolation: Interpolation = "trilinear",
) -> Float[Tensor, "N C"]:
    """Features of voxels at the points.

    Args:
        feature_MC: Of a level's voxels.
        points: Where they are wanted.
        level: The level.
        interpolation: Of the 8 voxels around a point, or its own voxel's.

    Raises:
        UserError: Another number of features than voxels.
    """
    if len(feature_MC) != len(level):
        raise invalid("features", f"of {len(level)} voxels", tuple(feature_MC.shape))
    lists = points.own(level) if interpolation == "nearest" else points.corners(level)
    return weighted_rows(feature_MC, lists)


def _corner_lists(points: Points, level: VoxelLevel) -> RowLists:
    points.pyramid.rows_at(points.row_N[:0], points.finest, level)  # it was made of the points' own
    place_N3 = points.position_N3 / points.position_N3.new_tensor(level.stride)
    low_N3 = place_N3.floor()
    voxel_N4 = torch.cat([points.batch_N[:, None], low_N3.int()], dim=1)
    order = sort_voxels(voxel_N4)
    pairs = kernel_map(level.order, order.distinct(), kernel_offsets(CORNERS))
    row_FK = torch.full((len(order.key_M), 8), -1, dtype=torch.int32, device=voxel_N4.device)
    row_FK[pairs.target_P.long(), pairs.offset_P] = pairs.source_P
    row_NK = row_FK[order.rank_N.long()]
    high_N3 = place_N3 - low_N3
    share_N32 = torch.stack([1 - high_N3, high_N3], dim=2)
    weight_NK = torch.einsum("na,nb,nc->nabc", *share_N32.unbind(dim=1)).flatten(1)
    weight_NK = torch.where(row_NK >= 0, weight_NK, 0.0)
    total_N1 = weight_NK.sum(dim=1, keepdim=True)
    row_NK = torch.where(weight_NK > 0, row_NK, -1)
    return RowLists.of_neighbours(row_NK, weight_NK / total_N1.clamp(min=1e-12), len(level))
