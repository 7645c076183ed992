"""Convolution, norm and ReLU on voxels, and the residual block that all networks here are made of.

Shape legend: N voxels, C channels.
"""

from torch import nn

from multum.pointcloud.convolution import SparseConvolution
from multum.pointcloud.sparse_tensor import SparseTensor


class ConvolutionBlock(nn.Module):
    """A convolution, the norm behind it, and perhaps a ReLU.

    Args:
        convolution: The layer.
        bends: Whether negative numbers become 0 at the end.
    """

    def __init__(self, convolution: SparseConvolution, *, bends: bool = True) -> None:
        super().__init__()
        self.convolution = convolution
        self.norm = nn.BatchNorm1d(convolution.out_channels)
        self.bends = bends

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Features of the voxels that the convolution writes to."""
        y = self.convolution(x)
        feature_NC = self.norm(y.feature_NC)
        return y.with_features(feature_NC.relu() if self.bends else feature_NC)  # type: ignore[no-any-return]


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
        self.second = ConvolutionBlock(SparseConvolution(inner_channels, out_channels), bends=False)
        self.skip: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.skip = ConvolutionBlock(SparseConvolution(in_channels, out_channels, 1), bends=False)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Features of the same voxels."""
        sum_ = self.second(self.first(x)) + self.skip(x)
        return sum_.with_features(sum_.feature_NC.relu())  # type: ignore[no-any-return]
