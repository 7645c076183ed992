"""Features of the voxels that are there, and nothing else: what sparse layers take and give.

Shape legend: N voxels, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from multum.core import invalid
from multum.pointcloud.voxel_pyramid import Triple, VoxelLevel, VoxelPyramid


@dataclass(frozen=True)
class SparseTensor:
    """Features of voxels, a row each, in an order that layers without a stride keep.

    >>> voxel_N4 = torch.tensor([[0, 5, 0, 0], [0, 4, 0, 0]], dtype=torch.int32)
    >>> SparseTensor.of(torch.ones(2, 8), voxel_N4)
    SparseTensor(2 voxels, 8 channels, stride (1, 1, 1))
    """

    feature_NC: Float[Tensor, "N C"]
    """A row for each voxel."""
    level: VoxelLevel
    """Where they are."""
    pyramid: VoxelPyramid
    """Shared by all tensors that were made of one."""

    def __post_init__(self) -> None:
        if len(self.feature_NC) != len(self.level):
            raise invalid("features", f"of {len(self.level)} voxels", tuple(self.feature_NC.shape))

    @staticmethod
    def of(feature_NC: Float[Tensor, "N C"], voxel_N4: Int[Tensor, "N 4"]) -> "SparseTensor":
        """Features of given voxels: (batch, x, y, z), int32, negative ones allowed, in any order.

        Raises:
            UserError: A voxel that is there twice or out of range, or another number of features.
        """
        return SparseTensor(feature_NC, VoxelLevel.of(voxel_N4), VoxelPyramid())

    @property
    def voxel_N4(self) -> Int[Tensor, "N 4"]:
        """Batch, x, y, z of each voxel, in voxels of this stride."""
        return self.level.voxel_N4

    @property
    def stride(self) -> Triple:
        """Size of a voxel, in voxels of the finest level."""
        return self.level.stride

    def with_features(self, feature_NC: Float[Tensor, "N D"]) -> "SparseTensor":
        """Other features of the same voxels."""
        return replace(self, feature_NC=feature_NC)

    def __add__(self, other: "SparseTensor") -> "SparseTensor":
        """The sum of two that have the same voxels.

        Raises:
            UserError: They have not.
        """
        _check_same([self, other])
        return self.with_features(self.feature_NC + other.feature_NC)

    def dense(self, lowest: Triple, size: Triple, num_batches: int) -> Float[Tensor, "B C X Y Z"]:
        """Put the features on a grid, 0 where there is no voxel; what lies outside is left out.

        Args:
            lowest: The grid's first voxel.
            size: Its voxels along x, y and z.
            num_batches: Its batches.
        """
        place_N4 = self.voxel_N4.long()
        place_N4[:, 1:] -= place_N4.new_tensor(lowest)
        end = place_N4.new_tensor((num_batches, *size))
        inside_N = ((place_N4 >= 0) & (place_N4 < end)).all(dim=1)
        grid = self.feature_NC.new_zeros(num_batches, *size, self.feature_NC.shape[1])
        grid = grid.index_put(tuple(place_N4[inside_N].T), self.feature_NC[inside_N])
        return grid.movedim(-1, 1)

    def __repr__(self) -> str:
        count, channels = self.feature_NC.shape
        return f"SparseTensor({count} voxels, {channels} channels, stride {self.stride})"


def concatenate(tensors: Sequence[SparseTensor]) -> SparseTensor:
    """Features of the same voxels behind one another.

    Raises:
        UserError: They do not have the same voxels.
    """
    _check_same(tensors)
    return tensors[0].with_features(torch.cat([it.feature_NC for it in tensors], dim=1))


def _check_same(tensors: Sequence[SparseTensor]) -> None:
    for it in tensors[1:]:
        if it.level is not tensors[0].level:
            remedy = "take tensors that were made of one another, or the way down and up again"
            raise invalid("voxels", f"those of {tensors[0].level}", it.level, remedy)
