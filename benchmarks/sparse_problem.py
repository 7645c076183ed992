"""Layers of sparse convolution that are timed, ours and torch's, on a surface with holes, as scans have them.

Everything that a network does for a first layer is in the time: voxels are sorted, the kernel map is found, the
features are convolved.

Shape legend: N voxels, C channels in, O channels out, K voxels of the kernel.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from multum.ops.sparse_convolution import sparse_convolution
from multum.pointcloud import SparseConvolution, SparseTensor

Kind = Literal["stays", "down", "down_and_up"]
SLOPE, KEEP_RATIO = 0.6, 0.907
"""Of the ground, at most, along each axis; and the part of its voxels that is there: 14.6 pairs for each voxel."""


@dataclass(frozen=True, kw_only=True)
class SparseProblem:
    """A layer, or two."""

    kind: Kind
    """3 x 3 x 3 where it stays; 2 x 2 x 2 with stride 2 down, or down and up again."""
    num_voxels: int
    """Of the finest level."""
    inputs: int
    """Channels."""
    outputs: int
    """Channels."""
    trains: bool = False
    """Whether it goes back too: to the features and the weights."""

    def voxels(self) -> Tensor:
        """(N, 4), int32: batch and coordinates, from 0 on, sorted."""
        return surface(self.num_voxels)

    def features(self) -> Tensor:
        """(N, C), seeded."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(self.num_voxels, self.inputs, generator=generator).requires_grad_(self.trains)

    def layers(self) -> tuple[SparseConvolution, ...]:
        """Ours, with seeded weights."""
        with torch.random.fork_rng():
            torch.manual_seed(1)
            if self.kind == "stays":
                return (SparseConvolution(self.inputs, self.outputs),)
            down = SparseConvolution(self.inputs, self.outputs, 2, stride=2)
            if self.kind == "down":
                return (down,)
            return down, SparseConvolution(self.outputs, self.inputs, 2, stride=2, transposed=True)


def surface(num_voxels: int) -> Tensor:
    """A wavy ground of double thickness with holes, sorted."""
    side = 1 + int((num_voxels / (2 * KEEP_RATIO)) ** 0.5)
    x, y = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    height = 40 + (SLOPE * (30 * torch.sin(x / 30) + 25 * torch.cos(y / 25))).round().int()
    low_N4 = torch.stack([torch.zeros_like(x), x, y, height], dim=-1).view(-1, 4).int()
    all_N4 = torch.stack([low_N4, low_N4 + torch.tensor([0, 0, 0, 1], dtype=torch.int32)], dim=1).flatten(
        0, 1
    )
    generator = torch.Generator().manual_seed(0)
    kept = torch.randperm(len(all_N4), generator=generator)[:num_voxels].sort().values
    return all_N4[kept]


def ours(problem: SparseProblem, convolve: str = "auto") -> Callable[[], list[Tensor]]:
    """All of it, from voxels to features; and gradients where it trains, of features and weights.

    Args:
        problem: What is computed.
        convolve: `auto`, or `reference` for gather, multiply and add in plain torch on the same kernel map.
    """
    voxel_N4, feature_NC, layers = problem.voxels(), problem.features(), problem.layers()

    def run() -> list[Tensor]:
        x = SparseTensor.of(feature_NC, voxel_N4)
        for layer in layers:
            target, pairs = layer.pairs(x)
            y_MO = sparse_convolution(x.feature_NC, layer.weight, pairs, impl=convolve)  # type: ignore[arg-type]
            x = SparseTensor(y_MO, target, x.pyramid)
        if not problem.trains:
            return [x.feature_NC]
        leaves = [feature_NC, *(it.weight for it in layers)]
        return [x.feature_NC, *torch.autograd.grad(x.feature_NC, leaves, torch.ones_like(x.feature_NC))]

    return run if problem.trains else torch.no_grad()(run)


def flops(problem: SparseProblem) -> float:
    """Operations of the pairs, on all ways."""
    x = SparseTensor.of(problem.features(), problem.voxels())
    total = 0
    for layer in problem.layers():
        total += 2 * layer.pairs(x)[1].num_pairs * layer.in_channels * layer.out_channels
        x = layer(x)
    return float(total * (3 if problem.trains else 1))
