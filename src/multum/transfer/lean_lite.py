"""A lite residual as one operation, where what it is made of allows it.

What is kept is the pooled map, for the gradient of the first convolution, and what comes out of the ReLU, for that of
the second; norms with fixed statistics are factors of the weights in front of them, and keep nothing.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multum.ops.lite_branch import LiteLayer, LiteSteps, implementations, lite_branch
from multum.transfer.lean_layers import FixedBatchNorm2d, is_under_autocast
from multum.transfer.lite_residual import LiteResidual


class LeanLiteResidual(LiteResidual):
    """`LiteResidual` in one pass there and one back, where it trains, on a CPU and in float32; layers elsewhere.

    Hooks of its layers are not called then.
    """

    def forward(
        self, a_BCHW: Float[Tensor, "B C H W"], y_BOhw: Float[Tensor, "B O h w"]
    ) -> Float[Tensor, "B O h w"]:
        """The same as `LiteResidual`'s."""
        layers = self._layers(a_BCHW)
        if layers is None:
            return super().forward(a_BCHW, y_BOhw)
        conv, pool = self.depth[0], 0 if isinstance(self.reduce, nn.AdaptiveAvgPool2d) else 2
        assert isinstance(conv, nn.Conv2d), "asked before"
        return lite_branch(a_BCHW, y_BOhw, *layers, LiteSteps(stride=conv.stride[0], pool=pool))

    def _layers(self, a_BCHW: Tensor) -> tuple[LiteLayer, LiteLayer] | None:
        """Its two layers; None where they are not one operation."""
        if torch.compiler.is_compiling() or is_under_autocast(a_BCHW):
            return None
        if not a_BCHW.is_contiguous(memory_format=torch.channels_last):
            return None
        if not any(it.takes(a_BCHW) and it.available() for it in implementations().values()):
            return None
        first, second = _layer(self.depth[0], self.depth[1]), _layer(self.mix[0], self.mix[1])
        return None if first is None or second is None else (first, second)


def _layer(conv: nn.Module, norm: nn.Module) -> LiteLayer | None:
    """A convolution that trains and its norm; None for anything else."""
    if not isinstance(conv, nn.Conv2d) or not conv.weight.requires_grad:
        return None
    if not isinstance(norm, FixedBatchNorm2d):
        return None
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        return None
    return LiteLayer(conv.weight, norm.weight, norm.bias, mean, variance, norm.eps)
