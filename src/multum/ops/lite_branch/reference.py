"""The branch of a lite residual in plain torch: the definition.

    y = base + upsample(norm2(W2 relu(norm1(W1 * pool(x)))))

Both norms have fixed statistics.

Shape legend: B pictures, C channels in, O out, H and W pixels of the input, h and w of the output; c channels of a
group, k the kernel.

Source: TinyTL (NeurIPS 2020), section 3.2 and Fig. 2.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


class LiteLayer(NamedTuple):
    """A convolution without a bias, and the norm behind it."""

    weight: Float[Tensor, "O c k k"]
    """The convolution's."""
    scale: Float[Tensor, " O"]
    """The norm's."""
    shift: Float[Tensor, " O"]
    """The norm's."""
    mean: Float[Tensor, " O"]
    """Of each channel, fixed."""
    variance: Float[Tensor, " O"]
    """The same."""
    eps: float
    """Added to variances under the root."""


class LiteSteps(NamedTuple):
    """How a branch goes over its input."""

    stride: int = 1
    """Of the first convolution, at least 1."""
    pool: int = 2
    """So many pixels a side become one; 0: all of a map do."""

    def pooled(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the pooled map.

        >>> LiteSteps().pooled(9, 4)
        (4, 2)
        """
        return (height // self.pool, width // self.pool) if self.pool else (1, 1)

    def small(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of what the first convolution makes.

        >>> LiteSteps(stride=2).small(10, 4)
        (3, 1)
        """
        high, wide = self.pooled(height, width)
        return (high - 1) // self.stride + 1, (wide - 1) // self.stride + 1


def lite_branch_reference(
    x: Float[Tensor, "B C H W"],
    base: Float[Tensor, "B O h w"],
    first: LiteLayer,
    second: LiteLayer,
    steps: LiteSteps = LiteSteps(),  # noqa: B008 - a tuple, which nobody changes
) -> Float[Tensor, "B O h w"]:
    """The output of a block and what its branch adds to it, differentiable by autograd.

    Args:
        x: Input of the block.
        base: Its output.
        first: W1 (C, c, k, k), k odd and C a multiple of c.
        second: W2 (O, C, 1, 1).
        steps: The rest.
    """
    pooled = functional.avg_pool2d(x, steps.pool) if steps.pool else x.mean((2, 3), keepdim=True)
    groups, padding = x.shape[1] // first.weight.shape[1], first.weight.shape[-1] // 2
    deep = functional.conv2d(pooled, first.weight, None, steps.stride, padding, groups=groups)
    mixed = functional.conv2d(torch.relu(_normed(deep, first)), second.weight)
    small = _normed(mixed, second)
    size = base.shape[-2:]
    if small.shape[-2:] != size:
        small = functional.interpolate(small, size=size, mode="bilinear", align_corners=False)
    return base + small


def _normed(x: Tensor, it: LiteLayer) -> Tensor:
    return functional.batch_norm(x, it.mean, it.variance, it.scale, it.shift, False, 0.0, it.eps)
