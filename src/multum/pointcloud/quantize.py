"""From scans to voxels: points are divided by the size of a voxel, and rounded; those of one voxel become one.

Shape legend: N points of all scans, C features.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from multum.core import invalid
from multum.ops.kernel_map import BATCHES, LARGEST, sort_voxels
from multum.pointcloud.point_voxel import Points, voxelize
from multum.pointcloud.sparse_tensor import SparseTensor
from multum.pointcloud.voxel_pyramid import VoxelLevel, VoxelPyramid

Rounding = Literal["floor", "round"]
VoxelSize = float | tuple[float, float, float]
"""Edge of a voxel in metres: of a cube, or along x, y and z."""


@dataclass(frozen=True, eq=False)
class PointBatch:
    """Points of some scans with their features, and the voxels that they lie in."""

    feature_NC: Float[Tensor, "N C"]
    """A row for each point."""
    points: Points
    """Where they are."""

    @property
    def num_points(self) -> int:
        """Points of all scans."""
        return len(self.feature_NC)

    def voxels(self) -> SparseTensor:
        """The mean features of the points in each voxel of the finest level."""
        finest = self.points.finest
        return SparseTensor(voxelize(self.feature_NC, self.points, finest), finest, self.points.pyramid)

    def rounded(self) -> "PointBatch":
        """One point for each voxel, with their mean features and without their place in it."""
        return PointBatch(self.voxels().feature_NC, self.points.rounded())


def quantize(
    xyz: Sequence[Float[Tensor, "_ 3"]],
    features: Sequence[Float[Tensor, "_ C"]],
    voxel_size: VoxelSize,
    *,
    rounding: Rounding = "floor",
) -> PointBatch:
    """Put the points of some scans into voxels; those of one voxel become one voxel.

    Voxels are sorted by scan, x, y and z. A scan without points is a scan without voxels.

    Args:
        xyz: Points of each scan, in metres, finite.
        features: What is known of each point.
        voxel_size: Edge of a voxel, in metres; or its edges along x, y and z.
        rounding: `floor` puts a voxel's corner where the paper's formula has it, `round` its middle, as the paper's
            code does it.

    Raises:
        UserError: No scan or too many, other numbers of points than features, a point that is not finite or too far
            away for a voxel of this size, or a size that is not positive.

    >>> scan = torch.tensor([[0.01, 0.0, 0.0], [0.04, 0.0, 0.0], [1.0, 0.0, 0.0]])
    >>> quantize([scan], [scan], 0.05).voxels().voxel_N4.tolist()
    [[0, 0, 0, 0], [0, 20, 0, 0]]
    >>> quantize([scan], [scan], (0.1, 0.05, 0.05)).voxels().voxel_N4.tolist()
    [[0, 0, 0, 0], [0, 10, 0, 0]]
    """
    _check(xyz, features, voxel_size)
    position_N3 = _in_voxels(torch.cat(list(xyz)), voxel_size)
    counts = [len(it) for it in xyz]
    index_B = torch.arange(len(counts), dtype=torch.int32, device=position_N3.device)
    batch_N = index_B.repeat_interleave(torch.tensor(counts, device=position_N3.device))
    whole_N3 = position_N3.floor() if rounding == "floor" else position_N3.round()
    order = sort_voxels(torch.cat([batch_N[:, None], whole_N3.int()], dim=1))
    finest = VoxelLevel.of_different(order, (1, 1, 1))
    points = Points(position_N3, batch_N, order.rank_N, finest, VoxelPyramid())
    return PointBatch(torch.cat(list(features)), points)


def _in_voxels(xyz_N3: Tensor, voxel_size: VoxelSize) -> Tensor:
    return xyz_N3 / (xyz_N3.new_tensor(voxel_size) if isinstance(voxel_size, tuple) else voxel_size)


def _check(xyz: Sequence[Tensor], features: Sequence[Tensor], voxel_size: VoxelSize) -> None:
    edges = voxel_size if isinstance(voxel_size, tuple) else (voxel_size,) * 3
    if len(edges) != 3 or not all(0 < edge < math.inf for edge in edges):
        raise invalid("voxel_size", "positive, in metres, one number or three", voxel_size)
    if not 1 <= len(xyz) <= BATCHES or len(features) != len(xyz):
        wanted = f"as many as there are features, 1 to {BATCHES}"
        raise invalid("scans", wanted, (len(xyz), len(features)))
    for index, (points_N3, feature_NC) in enumerate(zip(xyz, features, strict=True)):
        if len(points_N3) != len(feature_NC):
            raise invalid(f"features of scan {index}", f"of {len(points_N3)} points", len(feature_NC))
        if not bool(torch.isfinite(points_N3).all()):
            bad = int((~torch.isfinite(points_N3).all(dim=1)).sum())
            raise invalid(f"points of scan {index}", "finite", f"{bad} that are not", "drop them first")
        far = float(_in_voxels(points_N3, voxel_size).abs().max()) if len(points_N3) else 0.0
        if far > LARGEST:
            remedy = "take larger voxels, or move the points to where the sensor is"
            raise invalid(f"points of scan {index}", f"within {LARGEST} voxels", round(far), remedy)
