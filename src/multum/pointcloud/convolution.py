"""Sparse convolution as a layer: where it is, down, and up again.

A layer with stride 1 writes to the voxels that it reads (sub-manifold: a dense one would spread to all neighbours,
layer by layer). One with a stride writes to the coarser level, a transposed one to the level that was left on the way
down, a generative one to new voxels all around.

Source: SPVNAS (ECCV 2020), section 3; sub-manifold convolution: Graham et al. (CVPR 2018).
Differs from the paper: nothing; of even kernels the offsets begin at 0, as its code has it.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from multum.core import invalid
from multum.ops.kernel_map import KernelMap
from multum.ops.sparse_convolution import sparse_convolution
from multum.pointcloud.sparse_tensor import SparseTensor
from multum.pointcloud.voxel_pyramid import Triple, VoxelLevel


class SparseConvolution(nn.Module):
    """A convolution of voxels that are there.

    Args:
        in_channels: Of what it reads.
        out_channels: Of what it writes.
        kernel_size: Voxels along all axes, or along each.
        stride: Of the step down, or up where it is transposed.
        dilation: Distance of a kernel's voxels.
        bias: Whether a number is added to each channel.
        transposed: Whether it goes up: to the level that was left by this stride.
        generative: Whether it goes up to new voxels, all that its kernel reaches.
        spreads: Whether a step down reaches all voxels that a dense convolution would, instead of those that hold
            something.

    Raises:
        UserError: Sizes below 1, or ways that exclude one another.

    >>> layer = SparseConvolution(4, 8, 3)
    >>> layer.weight.shape
    torch.Size([27, 4, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Triple = 3,
        *,
        stride: int | Triple = 1,
        dilation: int | Triple = 1,
        bias: bool = False,
        transposed: bool = False,
        generative: bool = False,
        spreads: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.dilation = map(_triple, (kernel_size, stride, dilation))
        if min(in_channels, out_channels, *self.kernel_size, *self.stride, *self.dilation) < 1:
            sizes = (in_channels, out_channels, kernel_size, stride, dilation)
            raise invalid("channels, kernel size, stride and dilation", "at least 1", sizes)
        if transposed + generative + spreads > 1:
            raise invalid("transposed, generative and spreads", "one of them at most", "several")
        self.transposed, self.generative, self.spreads = transposed, generative, spreads
        self.weight = nn.Parameter(torch.empty(math.prod(self.kernel_size), in_channels, out_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw uniformly within one over the root of what is summed, as the paper's code does."""
        summed = self.out_channels if self.transposed or self.generative else self.in_channels
        bound = 1 / math.sqrt(summed * len(self.weight))
        for it in (self.weight, self.bias):
            if it is not None:
                nn.init.uniform_(it, -bound, bound)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Features of the voxels that it writes to."""
        return self.convolve(x, self.weight, self.bias)

    def convolve(
        self,
        x: SparseTensor,
        weight_KCO: Tensor,
        bias_O: Tensor | None,
        *,
        base: SparseTensor | None = None,
        relu: bool = False,
    ) -> SparseTensor:
        """The same with another weight and bias: those of a norm folded in, say; onto a base, with a ReLU behind."""
        base_MO = None if base is None else base.feature_NC
        if self.is_pointwise:
            y_NO = functional.linear(x.feature_NC, weight_KCO[0].T, bias_O)
            y_NO = y_NO if base_MO is None else y_NO + base_MO
            return x.with_features(y_NO.relu() if relu else y_NO)
        target, pairs = self.pairs(x)
        y_MO = sparse_convolution(x.feature_NC, weight_KCO, pairs, bias_O=bias_O, base_MO=base_MO, relu=relu)
        return SparseTensor(y_MO, target, x.pyramid)

    @property
    def is_pointwise(self) -> bool:
        """Whether every voxel is multiplied for itself."""
        return self.kernel_size == self.stride == (1, 1, 1)

    def pairs(self, x: SparseTensor) -> tuple[VoxelLevel, KernelMap]:
        """Where it writes to, and what meets there; found once in a pyramid."""
        pyramid, level, size = x.pyramid, x.level, self.kernel_size
        if self.transposed or self.generative:
            if self.generative:
                target = pyramid.grown(level, size, self.stride, self.dilation)
            else:
                target = pyramid.finer(level, self.stride)
            return target, pyramid.kernel_map(target, level, size, self.stride, self.dilation).transposed()
        if self.spreads:
            target = pyramid.reached(level, size, self.stride, self.dilation)
        elif self.stride == (1, 1, 1):
            target = level
        else:
            target = pyramid.coarser(level, self.stride)
        return target, pyramid.kernel_map(level, target, size, self.stride, self.dilation)

    def extra_repr(self) -> str:
        """Sizes, and the way it goes."""
        ways = [way for way in ("transposed", "generative", "spreads") if getattr(self, way)]
        sizes = f"kernel_size={self.kernel_size}, stride={self.stride}, dilation={self.dilation}"
        return ", ".join([str(self.in_channels), str(self.out_channels), sizes, *ways])


def _triple(it: int | Triple) -> Triple:
    return (it, it, it) if isinstance(it, int) else it


def multiply_accumulates(layer: SparseConvolution, x: SparseTensor) -> int:
    """Products of a layer on these voxels: pairs, times channels in, times channels out."""
    num_pairs = len(x.level) if layer.is_pointwise else layer.pairs(x)[1].num_pairs
    return num_pairs * layer.in_channels * layer.out_channels
