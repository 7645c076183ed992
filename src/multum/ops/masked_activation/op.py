"""The public functions, their choice of implementation, their registration with torch.

Shape legend as in `reference.py`.
"""

import math
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.autograd import Function
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from multum.core import invalid
from multum.ops.dispatch import Implementation, choose
from multum.ops.masked_activation import cpu, reference
from multum.ops.masked_activation.reference import Bend

Choice = Literal["auto", "reference", "cpu"]


def masked_activation(
    x: Float[Tensor, "..."], bend: Bend | None = None, *, impl: Choice = "auto"
) -> Float[Tensor, "..."]:
    """ReLU, ReLU6 or LeakyReLU that keeps one bit of each element for backward.

    Args:
        x: Anything floating.
        bend: Where it bends; None: ReLU.
        impl: `reference` (plain torch), `cpu` (compiled, float32), or `auto`.

    Returns:
        The activation, differentiable once; in the layout of x, which is made contiguous if it is neither that nor
        channels-last.

    Raises:
        UserError: x is not floating.

    >>> x = torch.tensor([-1.0, 0.0, 3.0, 7.0], requires_grad=True)
    >>> masked_activation(x, Bend(high=6.0)).sum().backward()
    >>> x.grad.tolist()
    [0.0, 0.0, 1.0, 0.0]
    """
    if not x.is_floating_point():
        raise invalid("x", "floating", x.dtype)
    it = bend or Bend()
    if torch.compiler.is_compiling() or is_in_torch_dispatch_mode() or type(x) is not Tensor:
        y, _ = _masked_activation(standard_layout(x), it.low, it.top, it.negative_slope, impl)
    else:  # without the registered operation, which costs as much as a small layer
        y = _Masked.apply(standard_layout(x), it, impl)
    result: Tensor = y
    return result


def masked_activation_(x: Float[Tensor, "..."], bend: Bend, impl: str = "auto") -> UInt8[Tensor, " P"]:
    """Write the activation over x, which has a standard layout and nobody else needs; return the bits.

    On `meta` no more is made than the compiled path makes, so that ledgers see its memory.
    """
    if x.is_meta:
        return _empty_bits(x)
    if choose(impl, x, implementations()) == "cpu":
        return cpu.activate(x, x, bend)
    y, bits = reference.masked_activation_reference(x, bend)
    x.copy_(y)
    return bits


def masked_gradient(
    gradient: Float[Tensor, "..."],
    bits: UInt8[Tensor, " P"],
    bend: Bend,
    *,
    with_sum: bool = False,
    in_place: bool = False,
    impl: str = "auto",
) -> tuple[Float[Tensor, "..."], Float[Tensor, " C"] | None]:
    """The gradient of x from that of its activation, and where it is wanted its sum by channel.

    Args:
        gradient: Of the activation; lies in memory as x did.
        bits: Of the activation.
        bend: Its bends.
        with_sum: Whether the sum is wanted.
        in_place: Whether the result is written over `gradient`, which then nobody else may need.
        impl: As in `masked_activation`.
    """
    if gradient.is_meta:
        out = gradient if in_place else torch.empty_like(gradient)
        return out, gradient.new_empty(gradient.shape[1]) if with_sum else None
    if choose(impl, gradient, implementations()) == "cpu":
        out = gradient if in_place else torch.empty_like(gradient)
        return out, cpu.gradient_of(gradient, bits, out, bend, with_sum=with_sum)
    return reference.masked_gradient_reference(gradient, bits, bend, with_sum=with_sum)


def masked_sum(
    gradient: Float[Tensor, "..."], bits: UInt8[Tensor, " P"], bend: Bend, *, impl: str = "auto"
) -> Float[Tensor, " C"]:
    """The sum by channel of what `masked_gradient` gives, where nobody wants the rest."""
    if gradient.is_meta:
        return gradient.new_empty(gradient.shape[1])
    if choose(impl, gradient, implementations()) == "cpu":
        total = cpu.gradient_of(gradient, bits, None, bend, with_sum=True)
    else:
        _, total = reference.masked_gradient_reference(gradient, bits, bend, with_sum=True)
    assert total is not None, "asked for"
    return total


@cache  # asked for in every layer
def implementations() -> Mapping[str, Implementation]:
    """What each fast path takes; `reference` takes everything."""
    return {
        "cpu": Implementation(
            device="cpu", dtypes=(torch.float32,), available=lambda: cpu.library() is not None
        )
    }


def is_channels_last(x: Tensor) -> bool:
    """Whether channels lie inmost, and not only because there is nothing beside them."""
    return x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def standard_layout(x: Tensor) -> Tensor:
    """x, or a contiguous copy of it where it is neither contiguous nor channels-last."""
    return x if is_channels_last(x) else x.contiguous()


def laid_out(x: Tensor, *, channels_last: bool) -> Tensor:
    """X in the one layout or the other."""
    return x.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


class _Masked(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bend: Bend, impl: str) -> Tensor:
        ctx.bend, ctx.impl, ctx.channels_last = bend, impl, is_channels_last(x)
        if choose(impl, x, implementations()) == "cpu":
            y = torch.empty_like(x)
            bits = cpu.activate(x, y, bend)
        elif x.is_meta:
            y, bits = torch.empty_like(x), _empty_bits(x)
        else:
            y, bits = reference.masked_activation_reference(x, bend)
        ctx.save_for_backward(bits)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        placed = laid_out(gradient, channels_last=ctx.channels_last)
        (bits,) = ctx.saved_tensors
        in_place = placed is not gradient
        return masked_gradient(placed, bits, ctx.bend, in_place=in_place, impl=ctx.impl)[0], None, None


@torch.library.custom_op("multum::masked_activation", mutates_args=())
def _masked_activation(
    x: Tensor, low: float, high: float, negative_slope: float, impl: str
) -> tuple[Tensor, Tensor]:
    bend = Bend(low=low, high=None if high == math.inf else high, negative_slope=negative_slope)
    if choose(impl, x, implementations()) == "cpu":
        y = torch.empty_like(x)
        return y, cpu.activate(x, y, bend)
    return reference.masked_activation_reference(x, bend)


@_masked_activation.register_fake
def _(x: Tensor, *_dials: object) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), _empty_bits(x)


def _empty_bits(x: Tensor) -> Tensor:
    return x.new_empty((x.numel() + 7) // 8, dtype=torch.uint8)


@torch.library.custom_op("multum::masked_gradient", mutates_args=())
def _masked_gradient(gradient: Tensor, bits: Tensor, negative_slope: float, impl: str) -> Tensor:
    return masked_gradient(gradient, bits, Bend(negative_slope=negative_slope), impl=impl)[0]


@_masked_gradient.register_fake
def _(gradient: Tensor, *_others: object) -> Tensor:
    return torch.empty_like(gradient)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, _, _, ctx.negative_slope, ctx.impl = inputs
    _, bits = output
    ctx.mark_non_differentiable(bits)
    ctx.channels_last = is_channels_last(x)
    ctx.save_for_backward(bits)


def _backward(ctx: Any, gradient: Tensor, _bits: Tensor) -> tuple[Tensor | None, ...]:
    (bits,) = ctx.saved_tensors
    placed = laid_out(gradient, channels_last=ctx.channels_last)
    return _masked_gradient(placed, bits, ctx.negative_slope, ctx.impl), None, None, None, None


_masked_activation.register_autograd(_backward, setup_context=_keep)
