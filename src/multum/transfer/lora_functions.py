"""A frozen linear layer with a low-rank adapter beside it, and what of its input is kept for backward.

    y = x W' + b + s h B'      h = x A'      W frozen, s a scale

    gradient of B needs h, R numbers a token; that of A needs x; that of x needs W, A and B; that of b nothing

So one thing is kept: x while A trains, of which h is made again, or h while only B does. All layers that read the same
x share its storage: the adapters of query, key and value keep it once.

Shape legend: F and G features in and out, R the rank; x' the transpose.

Source: Hu et al., "LoRA" (2021), section 4.1; Zhang et al., "LoRA-FA" (2023), section 3, for a frozen A.
Differs from the papers: what is kept is stated and chosen by what trains. Nothing is dropped of the adapter's input,
which would give each adapter an input of its own to keep.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from multum.transfer.frozen_weight import FrozenWeight


def lora_linear(
    x: Float[Tensor, "... F"],
    weight: FrozenWeight,
    bias_G: Float[Tensor, " G"] | None,
    a_RF: Float[Tensor, "R F"],
    b_GR: Float[Tensor, "G R"],
    scale: float,
) -> Float[Tensor, "... G"]:
    """The layer with its adapter, differentiable once.

    Args:
        x: Input.
        weight: (G, F), frozen.
        bias_G: May be trained.
        a_RF: Down to the rank; may be trained.
        b_GR: Up again; may be trained.
        scale: Of what the adapter adds.
    """
    if torch.compiler.is_compiling():  # compilers keep what they need themselves
        return lora_linear_reference(x, weight, bias_G, a_RF, b_GR, scale)
    y: Tensor = _LoRA.apply(x, bias_G, a_RF, b_GR, scale, weight.build, *weight.stored)
    return y


def lora_linear_reference(
    x: Float[Tensor, "... F"],
    weight: FrozenWeight,
    bias_G: Float[Tensor, " G"] | None,
    a_RF: Float[Tensor, "R F"],
    b_GR: Float[Tensor, "G R"],
    scale: float,
) -> Float[Tensor, "... G"]:
    """The definition in plain torch, with torch's own gradients; arguments as above."""
    added = functional.linear(functional.linear(x, a_RF), b_GR)
    return functional.linear(x, weight.build(*weight.stored), bias_G) + scale * added


class _LoRA(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float,
        build: Callable[..., Tensor],
        *stored: Tensor,
    ) -> Tensor:
        hidden = functional.linear(x, a)
        y = functional.linear(x, build(*stored), bias)
        flat = y.view(-1, y.shape[-1])  # fresh, so it may be written to
        flat.addmm_(hidden.reshape(-1, hidden.shape[-1]), b.t(), alpha=scale)
        _, _, wants_a, wants_b = ctx.needs_input_grad[:4]
        kept = x if wants_a else hidden if wants_b else None
        ctx.scale, ctx.build = scale, build
        ctx.save_for_backward(kept, a, b, *stored)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        kept, a, b, *stored = ctx.saved_tensors
        wants_x, wants_bias, wants_a, wants_b = ctx.needs_input_grad[:4]
        rows = gradient.reshape(-1, gradient.shape[-1])
        kept = None if kept is None else kept.reshape(-1, kept.shape[-1])
        of_hidden = (rows @ b).mul_(ctx.scale) if wants_x or wants_a else None
        of_x = of_a = of_b = None
        if wants_b:
            assert kept is not None, "by forward"
            hidden = functional.linear(kept, a) if wants_a else kept
            of_b = (rows.t() @ hidden).mul_(ctx.scale)
        if wants_a:
            assert of_hidden is not None, "made above"
            of_a = of_hidden.t() @ kept
        if wants_x:
            assert of_hidden is not None, "made above"
            of_x = (rows @ ctx.build(*stored)).addmm_(of_hidden, a).view(*gradient.shape[:-1], a.shape[1])
        of_bias = rows.sum(0) if wants_bias else None
        return of_x, of_bias, of_a, of_b, None, None, *[None] * len(stored)
