"""Convolution, norm and ReLU on voxels, and the residual block that all networks here are made of.

Shape legend: N voxels, C channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from multum.pointcloud.convolution import SparseConvolution
from multum.pointcloud.sparse_tensor import SparseTensor


class ConvolutionBlock(nn.Module):
    """A convolution, the norm behind it, and perhaps a ReLU; one layer where the norm's statistics are fixed.

    Args:
        convolution: The layer, without a bias.
        bends: Whether negative numbers become 0 at the end.
    """

    def __init__(self, convolution: SparseConvolution, *, bends: bool = True) -> None:
        super().__init__()
        self.convolution = convolution
        self.norm = nn.BatchNorm1d(convolution.out_channels)
        self.bends = bends

    def forward(self, x: SparseTensor, base: SparseTensor | None = None) -> SparseTensor:
        """Features of the voxels that the convolution writes to, onto a base where there is one."""
        if not self.norm.training:
            return self.convolution.convolve(x, *self._folded(), base=base, relu=self.bends)
        y: SparseTensor = self.convolution(x)
        feature_NC = self.norm(y.feature_NC)
        feature_NC = feature_NC if base is None else feature_NC + base.feature_NC
        return y.with_features(functional.relu(feature_NC) if self.bends else feature_NC)

    def _folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the convolution and the norm by fixed statistics, as one."""
        norm = self.norm
        assert norm.running_mean is not None, "made with statistics"
        assert norm.running_var is not None, "made with statistics"
        scale_C = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        return self.convolution.weight * scale_C, norm.bias - norm.running_mean * scale_C


class ResidualBlock(nn.Module):
    """Two convolutions of 3 x 3 x 3 and what went into them, added before the last ReLU.

    Args:
        in_channels: Of what goes in.
        inner_channels: Between both convolutions.
        out_channels: Of what comes out; where it is another number, what went in is mixed by a pointwise convolution.

    Source: SPVNAS (ECCV 2020), section 3.2; He et al. (CVPR 2016).
    """

    def __init__(self, in_channels: int, inner_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = ConvolutionBlock(SparseConvolution(in_channels, inner_channels))
        self.second = ConvolutionBlock(SparseConvolution(inner_channels, out_channels))
        self.skip: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.skip = ConvolutionBlock(SparseConvolution(in_channels, out_channels, 1), bends=False)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Features of the same voxels."""
        found: SparseTensor = self.second(self.first(x), self.skip(x))
        return found
