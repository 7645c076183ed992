"""The sparse U-Net of `multum` with spconv's convolutions, norms and ReLUs as separate layers, as its users write it.

What is between points and voxels is ours in both, for spconv has nothing for it.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import spconv.pytorch as spconv  # type: ignore[import-not-found, unused-ignore]
import torch
from torch import Tensor, nn

from benchmarks.peer_workers.spconv_layers import as_theirs
from benchmarks.unet_problem import UNetProblem, step_of
from multum.ops.kernel_map import kernel_map, kernel_offsets, sort_voxels
from multum.pointcloud.lidar import Scan
from multum.pointcloud.point_voxel import Points, devoxelize, voxelize
from multum.pointcloud.quantize import PointBatch
from multum.pointcloud.residual_block import ConvolutionBlock, ResidualBlock
from multum.pointcloud.unet import SparseUNet, UpStage
from multum.pointcloud.voxel_pyramid import VoxelLevel, VoxelPyramid

COARSEST = 16


class Convolved(nn.Module):
    """One of our blocks, convolution, norm and perhaps ReLU, by spconv."""

    def __init__(self, block: ConvolutionBlock, key: str, *, bends: bool) -> None:
        super().__init__()
        our = block.convolution
        wide = (our.in_channels, our.out_channels)
        if our.transposed:
            self.layer = spconv.SparseInverseConv3d(*wide, 2, bias=False, indice_key=key)
        elif our.stride != (1, 1, 1):
            self.layer = spconv.SparseConv3d(*wide, 2, stride=2, bias=False, indice_key=key)
        else:
            self.layer = spconv.SubMConv3d(*wide, our.kernel_size[0], bias=False, indice_key=key)
        self.layer.weight.data = as_theirs(our)
        self.norm, self.bends = block.norm, bends

    def forward(self, x: Any) -> Any:
        """Spconv's sparse tensor."""
        y = self.layer(x)
        feature_NC = self.norm(y.features)
        return y.replace_feature(feature_NC.relu() if self.bends else feature_NC)


class Residual(nn.Module):
    """Our residual block by spconv."""

    def __init__(self, block: ResidualBlock, key: str) -> None:
        super().__init__()
        self.first = Convolved(block.first, key, bends=True)
        self.second = Convolved(block.second, key, bends=False)
        self.skip: nn.Module = nn.Identity()
        if isinstance(block.skip, ConvolutionBlock):
            self.skip = Convolved(block.skip, f"{key}.1", bends=False)

    def forward(self, x: Any) -> Any:
        """Spconv's sparse tensor."""
        y, skip = self.second(self.first(x)), self.skip(x)
        return y.replace_feature((y.features + skip.features).relu())


class SpconvUNet(nn.Module):
    """The same network, with the weights of ours."""

    def __init__(self, our: SparseUNet) -> None:
        super().__init__()
        self.stem = nn.Sequential(*(Convolved(it, "stays0", bends=True) for it in our.stem))  # type: ignore[arg-type]
        self.down = nn.ModuleList()
        for level, stage in enumerate(our.down):
            step, *blocks = stage.children()
            assert isinstance(step, ConvolutionBlock)
            there = [Convolved(step, f"step{level}", bends=True)]
            self.down.append(nn.Sequential(*there, *_residuals(blocks, level + 1)))
        self.up, self.blocks = nn.ModuleList(), nn.ModuleList()
        for place, up in enumerate(our.up):
            assert isinstance(up, UpStage)
            level = len(our.down) - 1 - place
            self.up.append(Convolved(up.transition, f"step{level}", bends=True))
            self.blocks.append(nn.Sequential(*_residuals(up.blocks.children(), level)))
        self.point_transforms, self.dropout, self.classifier = (
            our.point_transforms,
            our.dropout,
            our.classifier,
        )

    def forward(self, batch: PointBatch) -> Tensor:
        """Numbers of all points."""
        voxels = batch.voxels()
        low = voxels.voxel_N4[:, 1:].amin(dim=0) // COARSEST * COARSEST
        voxel_N4 = voxels.voxel_N4.clone()
        voxel_N4[:, 1:] -= low
        shape = [COARSEST * (int(it) // COARSEST + 1) for it in voxel_N4[:, 1:].amax(dim=0)]
        points = Shifted(batch.points, low)
        x = self.stem(spconv.SparseConvTensor(voxels.feature_NC, voxel_N4, shape, 1))
        if not len(self.point_transforms):
            y = self._up(self._down(x), range(4))[0]
            return devoxelize(self.classifier(y.features), batch.points, batch.points.finest, "nearest")
        sixteen, four, one = self.point_transforms
        point_NC = points.devoxelized(x, 1)
        levels = self._down(points.voxelized(x, 1, point_NC))
        point_NC = points.devoxelized(levels[-1], 16) + sixteen(point_NC)
        levels[-1] = self._dropped(points.voxelized(levels[-1], 16, point_NC))
        levels = self._up(levels, range(2))
        point_NC = points.devoxelized(levels[-1], 4) + four(point_NC)
        levels[-1] = self._dropped(points.voxelized(levels[-1], 4, point_NC))
        y = self._up(levels, range(2, 4))[0]
        found: Tensor = self.classifier(points.devoxelized(y, 1) + one(point_NC))
        return found

    def _down(self, x: Any) -> list[Any]:
        levels = [x]
        for stage in self.down:
            levels.append(stage(levels[-1]))
        return levels

    def _up(self, levels: list[Any], stages: range) -> list[Any]:
        *levels, y = levels
        for place in stages:
            y, skip = self.up[place](y), levels.pop()
            y = self.blocks[place](y.replace_feature(torch.cat([y.features, skip.features], dim=1)))
        return [*levels, y]

    def _dropped(self, x: Any) -> Any:
        return x.replace_feature(self.dropout(x.features))


def _residuals(blocks: Iterable[nn.Module], level: int) -> Iterator[Residual]:
    for it in blocks:
        assert isinstance(it, ResidualBlock)
        yield Residual(it, f"stays{level}")


class Shifted:
    """Points among voxels that spconv moved to where all are positive, in spconv's order at every stride."""

    def __init__(self, points: Points, low: Tensor) -> None:
        self.position_N3, self.batch_N = points.position_N3 - low, points.batch_N
        self.voxel_N3 = points.finest.voxel_N4[points.row_N.long(), 1:] - low
        self.made: dict[int, tuple[Points, VoxelLevel]] = {}

    def voxelized(self, x: Any, stride: int, point_NC: Tensor) -> Any:
        """Means of points, as features of these voxels."""
        points, level = self._at(x, stride)
        return x.replace_feature(voxelize(point_NC, points, level))

    def devoxelized(self, x: Any, stride: int) -> Tensor:
        """Interpolated features of these voxels."""
        points, level = self._at(x, stride)
        return devoxelize(x.features, points, level)

    def _at(self, x: Any, stride: int) -> tuple[Points, VoxelLevel]:
        if stride not in self.made:
            level = VoxelLevel.of(x.indices)
            place_N3 = self.position_N3 / stride
            order = sort_voxels(torch.cat([self.batch_N[:, None], self.voxel_N3 // stride], dim=1))
            pairs = kernel_map(level.order, order.distinct(), kernel_offsets((1, 1, 1)))
            row_F = torch.empty(len(order.key_M), dtype=torch.int32)
            row_F[pairs.target_P.long()] = pairs.source_P
            points = Points(place_N3, self.batch_N, row_F[order.rank_N.long()], level, VoxelPyramid())
            self.made[stride] = (points, level)
        return self.made[stride]


def theirs(problem: UNetProblem, scan: Scan) -> Any:
    """As `ours`, by spconv."""
    net = SpconvUNet(problem.network()).train(problem.trains)
    return step_of(problem, scan, lambda: net(problem.batch(scan)), net)
