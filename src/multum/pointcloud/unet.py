"""The sparse U-Net with or without points: MinkUNet, SPVCNN, SPVNAS.

Voxels see their surroundings, at strides 1 to 16; points keep what is finer than a voxel. Both meet four times: points
take up the interpolated voxels around them and add their own, and two times voxels are made of the points anew.

Source: SPVNAS (ECCV 2020), sections 3.1 and 3.2.
Differs from the paper: points may keep their places within voxels (`PointBatch.rounded` takes them away).

Shape legend: N points, K classes.
"""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from multum.core import invalid
from multum.pointcloud.convolution import SparseConvolution
from multum.pointcloud.point_voxel import Points, devoxelize, voxelize
from multum.pointcloud.quantize import PointBatch
from multum.pointcloud.residual_block import ConvolutionBlock, ResidualBlock
from multum.pointcloud.sparse_tensor import SparseTensor, concatenate
from multum.pointcloud.unet_config import BlockConfig, StageConfig, UNetConfig


class SparseUNet(nn.Module):
    """A network that gives each point a number for each class.

    >>> import torch
    >>> from multum.pointcloud.quantize import quantize
    >>> from multum.pointcloud.unet_config import scaled_unet
    >>> net = SparseUNet(scaled_unet(0.25, point_branch=True, num_classes=5)).eval()
    >>> xyz = torch.rand(50, 3)
    >>> net(quantize([xyz], [torch.rand(50, 4)], 0.2)).shape
    torch.Size([50, 5])
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Sequential(
            ConvolutionBlock(SparseConvolution(config.in_channels, config.stem)),
            ConvolutionBlock(SparseConvolution(config.stem, config.stem)),
        )
        entering = config.widths
        self.down = nn.ModuleList(_down(width, it) for width, it in zip(entering, config.down, strict=False))
        skips = config.widths[len(config.down) - 1 :: -1]
        self.up = nn.ModuleList(
            UpStage(width, skip, it)
            for width, skip, it in zip(entering[len(config.down) :], skips, config.up, strict=False)
        )
        self.point_transforms = nn.ModuleList()
        if config.point_branch:
            self.point_transforms.extend(_point_transform(*widths) for widths in point_widths(config))
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.widths[-1], config.num_classes)

    def forward(self, batch: PointBatch) -> Float[Tensor, "N K"]:
        """Numbers for all points of some scans.

        Raises:
            UserError: Points with another number of features than the network takes.
        """
        if batch.feature_NC.shape[1] != self.config.in_channels:
            wanted = f"of {self.config.in_channels} features"
            raise invalid("points", wanted, tuple(batch.feature_NC.shape))
        x = self.stem(batch.voxels())
        return (
            self._with_points(x, batch.points) if self.config.point_branch else self._voxels(x, batch.points)
        )

    def _voxels(self, x: SparseTensor, points: Points) -> Tensor:
        levels = [x]
        for stage in self.down:
            levels.append(stage(levels[-1]))
        y = levels.pop()
        for stage in self.up:
            y = stage(y, levels.pop())
        score_MK = self.classifier(y.feature_NC)
        return devoxelize(score_MK, points, y.level, "nearest")

    def _with_points(self, x: SparseTensor, points: Points) -> Tensor:
        at_stride_16, at_stride_4, at_stride_1 = self.point_transforms
        point_NC = devoxelize(x.feature_NC, points, x.level)
        x = _revoxelized(x, points, point_NC)
        levels = [x]
        for stage in self.down:
            levels.append(stage(levels[-1]))
        y = levels.pop()
        point_NC = devoxelize(y.feature_NC, points, y.level) + at_stride_16(point_NC)
        y = self._seen_in_part(_revoxelized(y, points, point_NC))
        y = self.up[1](self.up[0](y, levels.pop()), levels.pop())
        point_NC = devoxelize(y.feature_NC, points, y.level) + at_stride_4(point_NC)
        y = self._seen_in_part(_revoxelized(y, points, point_NC))
        y = self.up[3](self.up[2](y, levels.pop()), levels.pop())
        point_NC = devoxelize(y.feature_NC, points, y.level) + at_stride_1(point_NC)
        score_NK: Tensor = self.classifier(point_NC)
        return score_NK

    def _seen_in_part(self, x: SparseTensor) -> SparseTensor:
        return x.with_features(self.dropout(x.feature_NC))


class UpStage(nn.Module):
    """A step up, the features of the way down beside it, and blocks.

    Args:
        in_channels: Of what comes from below.
        skip_channels: Of what is put beside.
        config: The rest.
    """

    def __init__(self, in_channels: int, skip_channels: int, config: StageConfig) -> None:
        super().__init__()
        self.transition = ConvolutionBlock(
            SparseConvolution(in_channels, config.transition, 2, stride=2, transposed=True)
        )
        self.blocks = _blocks(config.transition + skip_channels, config.blocks)

    def forward(self, x: SparseTensor, skip: SparseTensor) -> SparseTensor:
        """Features of the voxels of `skip`."""
        y: SparseTensor = self.blocks(concatenate([self.transition(x), skip]))
        return y


def point_widths(config: UNetConfig) -> list[tuple[int, int]]:
    """Channels in and out of the layers of single points: stem to stride 16, that to stride 4, that to stride 1."""
    touched = [config.widths[place] for place in (0, 4, 6, 8)]
    return list(pairwise(touched))


def _down(in_channels: int, config: StageConfig) -> nn.Sequential:
    step = SparseConvolution(in_channels, config.transition, 2, stride=2)
    return nn.Sequential(ConvolutionBlock(step), *_blocks(config.transition, config.blocks))


def _blocks(in_channels: int, blocks: tuple[BlockConfig, ...]) -> nn.Sequential:
    entering = (in_channels, *(it.outer for it in blocks))
    return nn.Sequential(
        *(ResidualBlock(width, it.inner, it.outer) for width, it in zip(entering, blocks, strict=False))
    )


def _point_transform(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(in_channels, out_channels), nn.BatchNorm1d(out_channels), nn.ReLU(inplace=True)
    )


def _revoxelized(x: SparseTensor, points: Points, point_NC: Tensor) -> SparseTensor:
    return x.with_features(voxelize(point_NC, points, x.level))
