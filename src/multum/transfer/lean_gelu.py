"""GELU that keeps a byte of an element for backward: its slope, rounded, where torch keeps the input in 32 bits.

    gradient of x = g slope(x)        slope(x) = Phi(x) + x phi(x), between -0.1290 and 1.1290

The slope goes through every value, so no few bits give it exactly, as one bit does for ReLU. Rounded to steps of
1 / 202 it has 255 values, 0 and 1 among them: what is switched off or wide open stays exactly so. Each element of the
gradient is off by at most 1 / 404 of the gradient above it, but for the type's own rounding; `gradient_error` tells how
far that goes in a network.

Source: Novikov et al., "Few-bit Backward" (ICML 2023), section 3; Hendrycks and Gimpel, "GELU" (2016).
Differs from the paper: which takes 1 to 4 bits and chooses the best steps for them; here steps are even, and a byte
needs no table.
"""

from typing import Any, Final, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

GeluKeeps = Literal["exact", "8bit"]
"""What is kept of GELU's input: all of it, or a byte an element of its slope."""
GELU_KEEPS: Final[tuple[str, ...]] = get_args(GeluKeeps)
STEPS: Final = 202
"""Steps from slope 0 to slope 1; the lowest and the highest slope are 26 below and 26 above."""
BELOW: Final = 26


def gelu_8bit(x: Float[Tensor, "..."], *, approximate: str = "none") -> Float[Tensor, "..."]:
    """GELU, differentiable once, that keeps its slope in a byte an element.

    Args:
        x: Input.
        approximate: `none` or `tanh`, as for torch's.
    """
    y: Tensor = _Gelu.apply(x, approximate)
    return y


class LeanGELU(nn.GELU):
    """Keeps what `keeps` says."""

    keeps: GeluKeeps = "exact"

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """The same as `nn.GELU`'s."""
        if self.keeps == "exact" or not input.requires_grad:
            return super().forward(input)
        return gelu_8bit(input, approximate=self.approximate)


def gelu_to_8bit(model: nn.Module) -> tuple[str, ...]:
    """Let every GELU of a model keep a byte an element, in place.

    Known are `nn.GELU`, transformers' layers of it, and the activation that a `nn.TransformerEncoderLayer` holds as a
    function.

    Returns:
        Paths of the layers that do so now.

    >>> net = nn.Sequential(nn.Linear(4, 4), nn.GELU())
    >>> gelu_to_8bit(net)
    ('1',)
    """
    changed = []
    for path, module in list(model.named_modules()):
        for name, child in module.named_children():
            kind = _kind(child)
            if kind is not None:
                setattr(module, name, _eight_bit(kind))
                changed.append(f"{path}.{name}".lstrip("."))
        if isinstance(module, nn.TransformerEncoderLayer) and module.activation is functional.gelu:
            module.activation = _eight_bit("none")
            changed.append(f"{path}.activation".lstrip("."))
    return tuple(changed)


def _eight_bit(approximate: str) -> LeanGELU:
    layer = LeanGELU(approximate)
    layer.keeps = "8bit"
    return layer


def _kind(module: nn.Module) -> str | None:
    """How a GELU is approximated; None for anything else. transformers' are known by name: it may not be there."""
    if isinstance(module, nn.GELU):
        return module.approximate
    if type(module).__module__ != "transformers.activations":
        return None
    return {
        "GELUActivation": "none",
        "GELUTanh": "tanh",
        "NewGELUActivation": "tanh",
        "FastGELUActivation": "tanh",
    }.get(type(module).__name__)


class _Gelu(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, approximate: str) -> Tensor:
        slope = torch.ops.aten.gelu_backward(x.new_ones(()).expand_as(x), x, approximate=approximate)
        ctx.save_for_backward(slope.mul_(STEPS).round_().add_(BELOW).to(torch.uint8))
        return functional.gelu(x, approximate=approximate)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (codes,) = ctx.saved_tensors
        return codes.to(gradient.dtype).sub_(BELOW).div_(STEPS).mul_(gradient), None
