"""The network of a detector: sparse convolutions down to stride 8, then dense ones on what is seen from above.

Most of space is empty, and most columns of the ground are too; but what is found must be said of every cell, and of
its neighbours that hold no point: so the 3D part is sparse and the 2D part is not. Between them heights of a column
become one row of features by a sparse convolution as tall as the range: the reshape to heights side by side and the
first mixing of them in one, without a grid of all heights in memory.

Source: SECOND (Yan et al., Sensors 2018), the middle layers and the region proposal network; SPVNAS (ECCV 2020) for the
encoder and its points.
Differs from the paper: residual blocks down instead of plain ones; heights are taken together at stride 8 without a
further step down; an anchor scores its own class only.

Shape legend: B scans, N points, A anchors, X x Y cells, C and D channels, F numbers of a cell, R anchors of a cell.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multum.pointcloud.anchors import HEADINGS
from multum.pointcloud.convolution import SparseConvolution
from multum.pointcloud.detector_config import BirdStage, DetectorConfig
from multum.pointcloud.point_voxel import devoxelize, voxelize
from multum.pointcloud.quantize import PointBatch
from multum.pointcloud.residual_block import ConvolutionBlock, ResidualBlock
from multum.pointcloud.sparse_tensor import SparseTensor
from multum.pointcloud.unet_config import StageConfig

NUM_FEATURES = 4
"""Of a point: where it is in the range, from -1 to 1 along each axis, and what came back of the light."""
CODE = 7
FIRST_SCORE = 0.01
"""What every anchor scores before anything is learned: nearly all of them are background."""


@dataclass(frozen=True, eq=False)
class HeadOutputs:
    """What a network says of all anchors."""

    score_BA: Float[Tensor, "B A"]
    """Logits of being an object of the anchor's class."""
    code_BA7: Float[Tensor, "B A 7"]
    """How its box differs from the anchor."""
    back_BA: Float[Tensor, "B A"]
    """Logits of heading back."""


class SparseEncoder(nn.Module):
    """Points to voxels of stride 8."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ConvolutionBlock(SparseConvolution(NUM_FEATURES, config.stem)),
            ConvolutionBlock(SparseConvolution(config.stem, config.stem)),
        )
        widths = (config.stem, *(it.width for it in config.down))
        self.down = nn.Sequential(*(_down(width, it) for width, it in zip(widths, config.down, strict=False)))
        self.point_transform: nn.Module | None = None
        if config.point_branch:
            self.point_transform = nn.Sequential(
                nn.Linear(config.stem, widths[-1]), nn.BatchNorm1d(widths[-1]), nn.ReLU()
            )

    def forward(self, batch: PointBatch) -> SparseTensor:
        """Features of the voxels."""
        x: SparseTensor = self.stem(batch.voxels())
        if self.point_transform is None:
            below: SparseTensor = self.down(x)
            return below
        points = batch.points
        point_NC = devoxelize(x.feature_NC, points, x.level)
        y: SparseTensor = self.down(x.with_features(voxelize(point_NC, points, x.level)))
        point_NC = devoxelize(y.feature_NC, points, y.level) + self.point_transform(point_NC)
        return y.with_features(voxelize(point_NC, points, y.level))


class BirdNetwork(nn.Module):
    """Dense convolutions on cells seen from above: down in stages, each brought back to the first one's size.

    Args:
        in_channels: Of a cell.
        stages: Its stages.
        up_channels: Channels that each stage gives in the end.
    """

    def __init__(self, in_channels: int, stages: Sequence[BirdStage], up_channels: int) -> None:
        super().__init__()
        self.stages, self.ups = nn.ModuleList(), nn.ModuleList()
        width = in_channels
        for place, stage in enumerate(stages):
            self.stages.append(_bird_stage(width, stage, 1 if place == 0 else 2))
            width, scale = stage.channels, 2**place
            self.ups.append(_dense(nn.ConvTranspose2d(width, up_channels, scale, stride=scale, bias=False)))

    def forward(self, x_BCXY: Float[Tensor, "B C X Y"]) -> Float[Tensor, "B D X Y"]:
        """Features of all stages behind one another."""
        found = []
        for stage, up in zip(self.stages, self.ups, strict=True):
            x_BCXY = stage(x_BCXY)
            found.append(up(x_BCXY))
        return torch.cat(found, dim=1)


class DetectorNetwork(nn.Module):
    """Points in, what is said of all anchors out."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SparseEncoder(config)
        column = (
            1,
            1,
            config.num_cells[2] + config.num_cells[2] % 2,
        )  # even kernels begin where their voxel does
        width = config.bird[0].channels
        self.columns = ConvolutionBlock(
            SparseConvolution(config.down[-1].width, width, column, stride=column)
        )
        self.bird = BirdNetwork(width, config.bird, config.up_channels)
        num_anchors = len(config.anchors) * len(HEADINGS)
        self.heads = nn.Conv2d(len(config.bird) * config.up_channels, num_anchors * (CODE + 2), 1)
        self.reset_heads()

    def reset_heads(self) -> None:
        """Small weights, and scores that begin low: else the many empty cells are all that is learned at first."""
        nn.init.normal_(self.heads.weight, std=0.01)
        assert self.heads.bias is not None, "made with one"
        bias_RF = nn.init.zeros_(self.heads.bias).detach().view(-1, CODE + 2)
        bias_RF[:, CODE] = math.log(FIRST_SCORE / (1 - FIRST_SCORE))

    def forward(self, batch: PointBatch, num_scans: int) -> HeadOutputs:
        """What is said of the anchors of some scans, in the order of `anchor_grid`."""
        columns: SparseTensor = self.columns(self.encoder(batch))
        x, y, _ = self.config.num_cells
        x_BCXY = columns.dense((0, 0, 0), (x, y, 1), num_scans)[..., 0]
        said_BFXY = self.heads(self.bird(x_BCXY))
        said_BAF = said_BFXY.permute(0, 2, 3, 1).reshape(num_scans, -1, CODE + 2)
        return HeadOutputs(said_BAF[..., CODE], said_BAF[..., :CODE], said_BAF[..., CODE + 1])


def _down(in_channels: int, config: StageConfig) -> nn.Sequential:
    step = SparseConvolution(in_channels, config.transition, 2, stride=2)
    entering = (config.transition, *(it.outer for it in config.blocks))
    blocks = [
        ResidualBlock(width, it.inner, it.outer) for width, it in zip(entering, config.blocks, strict=False)
    ]
    return nn.Sequential(ConvolutionBlock(step), *blocks)


def _bird_stage(in_channels: int, stage: BirdStage, stride: int) -> nn.Sequential:
    layers = []
    for place in range(stage.num_layers):
        width, step = (in_channels, stride) if place == 0 else (stage.channels, 1)
        layers.append(_dense(nn.Conv2d(width, stage.channels, 3, stride=step, padding=1, bias=False)))
    return nn.Sequential(*layers)


def _dense(convolution: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU(inplace=True))
