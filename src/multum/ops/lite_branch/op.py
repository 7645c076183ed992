"""The public function, its choice of implementation, its registration with torch. Shape legend as in `reference.py`."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.utils._python_dispatch import is_in_torch_dispatch_mode
from torch.utils.flop_counter import register_flop_formula

from multum.core import invalid
from multum.ops.dispatch import Implementation, choose
from multum.ops.lite_branch import cpu
from multum.ops.lite_branch.reference import LiteLayer, LiteSteps, lite_branch_reference

Choice = Literal["auto", "reference", "cpu"]


def lite_branch(
    x: Float[Tensor, "B C H W"],
    base: Float[Tensor, "B O h w"],
    first: LiteLayer,
    second: LiteLayer,
    steps: LiteSteps = LiteSteps(),  # noqa: B008 - a tuple, which nobody changes
    *,
    impl: Choice = "auto",
) -> Float[Tensor, "B O h w"]:
    """The output of a block and what its lite residual adds to it, in one pass there and one back.

    The compiled path keeps the pooled map and the one behind the ReLU, and gives maps whose channels lie inmost.

    Args:
        x: Input of the block.
        base: Its output.
        first: W1 (C, c, k, k), k odd and C a multiple of c.
        second: W2 (O, C, 1, 1).
        steps: The rest.
        impl: `reference` (plain torch), `cpu` (compiled, float32), or `auto`.

    Returns:
        The sum; differentiable, by the compiled path once, in x, `base`, weights, scales and shifts.

    Raises:
        UserError: Shapes that do not go together, or steps that no map has.

    >>> one = LiteLayer(torch.ones(1, 1, 1, 1), *torch.ones(3, 1), torch.ones(1), eps=0.0)
    >>> lite_branch(torch.ones(1, 1, 4, 4), torch.full((1, 1, 2, 2), 5.0), one, one)
    tensor([[[[6., 6.],
              [6., 6.]]]])
    """
    _check(x, base, first, second, steps)
    if choose(impl, x, implementations()) == "reference":
        return lite_branch_reference(x, base, first, second, steps)
    trained = (*first[:3], *second[:3])
    result: Tensor = _LiteBranch.apply(x, base, *trained, (first, second, steps))
    return result


@cache  # asked for in every layer
def implementations() -> Mapping[str, Implementation]:
    """What each fast path takes; `reference` takes everything. A ledger on `meta` sees what the compiled path makes."""
    return {
        device: Implementation(
            device=device, dtypes=(torch.float32,), available=lambda: cpu.library() is not None
        )
        for device in ("cpu", "meta")
    }


def _check(x: Tensor, base: Tensor, first: LiteLayer, second: LiteLayer, steps: LiteSteps) -> None:
    if steps.stride < 1 or steps.pool < 0 or min(steps.pooled(*x.shape[2:])) < 1:
        wanted = f"a stride of 1 or more and a pool of {min(x.shape[2:])} or fewer pixels"
        raise invalid("steps", wanted, tuple(steps))
    w1, w2, channels, outputs = first.weight.shape, second.weight.shape, x.shape[1], base.shape[1]
    fits = w1[0] == channels and channels % w1[1] == 0 and tuple(w2) == (outputs, channels, 1, 1)
    if not fits or w1[2] != w1[3] or w1[3] % 2 == 0:
        wanted = f"({channels}, c, k, k) and ({outputs}, {channels}, 1, 1), k odd, {channels} a multiple of c"
        raise invalid("weights", wanted, (tuple(w1), tuple(w2)))


class _LiteBranch(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, base: Tensor, *given: Any) -> Tensor:
        *_, (first, second, steps) = given
        compute = _forward if _unobserved() else _lite_forward
        tensors, eps = [*first[:5], *second[:5]], [first.eps, second.eps]
        y, pooled, bent = compute(x, base, tensors, eps, list(steps))
        ctx.eps, ctx.steps, ctx.x_shape = eps, list(steps), list(x.shape)
        ctx.save_for_backward(pooled, bent, *tensors)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        pooled, bent, *tensors = ctx.saved_tensors
        compute = _backward if _unobserved() else _lite_backward
        wants_x, wants_base = ctx.needs_input_grad[:2]
        dx, *others = compute(gradient, pooled, bent, tensors, ctx.eps, ctx.x_shape, ctx.steps, wants_x)
        return dx if wants_x else None, gradient if wants_base else None, *others, None


def _unobserved() -> bool:
    """Whether nobody counts; then the registered operation is passed by, which costs as much as a small layer."""
    return not is_in_torch_dispatch_mode()


def _forward(
    x: Tensor, base: Tensor, layers: Sequence[Tensor], eps: Sequence[float], steps: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    first, second = _layers(layers, eps)
    made = _maps(x, base, LiteSteps(*steps))
    cpu.forward(_inmost(x), _inmost(base), first, second, LiteSteps(*steps), made)
    return made


def _backward(
    gradient: Tensor,
    pooled: Tensor,
    bent: Tensor,
    layers: Sequence[Tensor],
    eps: Sequence[float],
    x_shape: Sequence[int],
    steps: Sequence[int],
    wants_x: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    first, second = _layers(layers, eps)
    dx, *others = made = _gradients(gradient, first, second, x_shape, wants_x=wants_x)
    wanted = (dx if wants_x else None, *others)
    cpu.backward(
        _inmost(gradient), (pooled, bent), first, second, torch.Size(x_shape), LiteSteps(*steps), wanted
    )
    return made


_lite_forward = torch.library.custom_op("multum::lite_branch", _forward, mutates_args=())
_lite_backward = torch.library.custom_op("multum::lite_branch_backward", _backward, mutates_args=())


@_lite_forward.register_fake
def _(
    x: Tensor,
    base: Tensor,
    layers: Sequence[Tensor],  # noqa: ARG001 - as the operation has it
    eps: Sequence[float],  # noqa: ARG001 - the same
    steps: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    return _maps(x, base, LiteSteps(*steps))


@_lite_backward.register_fake
def _(
    gradient: Tensor,
    pooled: Tensor,  # noqa: ARG001 - as the operation has it
    bent: Tensor,  # noqa: ARG001 - the same
    layers: Sequence[Tensor],
    eps: Sequence[float],
    x_shape: Sequence[int],
    steps: Sequence[int],  # noqa: ARG001 - the same
    wants_x: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return _gradients(gradient, *_layers(layers, eps), x_shape, wants_x=wants_x)


def _layers(tensors: Sequence[Tensor], eps: Sequence[float]) -> tuple[LiteLayer, LiteLayer]:
    """Both layers, everything dense."""
    w1, g1, b1, m1, v1, w2, g2, b2, m2, v2 = map(_dense, tensors)
    return LiteLayer(w1, g1, b1, m1, v1, eps[0]), LiteLayer(w2, g2, b2, m2, v2, eps[1])


def _maps(x: Tensor, base: Tensor, steps: LiteSteps) -> tuple[Tensor, Tensor, Tensor]:
    """The output, the pooled map and the bent one, to be filled."""
    pictures, channels, *pixels = x.shape
    return (
        _empty_map(x, base.shape),
        _empty_map(x, (pictures, channels, *steps.pooled(*pixels))),
        _empty_map(x, (pictures, channels, *steps.small(*pixels))),
    )


def _gradients(
    gradient: Tensor, first: LiteLayer, second: LiteLayer, x_shape: Sequence[int], *, wants_x: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Of x and of weight, scale and shift of both layers, to be filled; x's empty where nobody wants it."""
    dx = _empty_map(gradient, x_shape) if wants_x else gradient.new_empty(0)
    w1, g1, b1, w2, g2, b2 = (torch.empty_like(it) for it in (*first[:3], *second[:3]))
    return dx, w1, g1, b1, w2, g2, b2


def _empty_map(like: Tensor, shape: Sequence[int]) -> Tensor:
    return torch.empty(tuple(shape), dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _inmost(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _dense(it: Tensor) -> Tensor:
    """A tensor in a layout that `empty_like` gives its gradient too."""
    if it.is_contiguous() or (it.dim() == 4 and it.is_contiguous(memory_format=torch.channels_last)):
        return it
    return it.contiguous()


@register_flop_formula(torch.ops.multum.lite_branch)  # type: ignore[untyped-decorator, unused-ignore]
def lite_branch_flops(
    x_shape: Sequence[int],
    _base: object,
    layer_shapes: Sequence[Sequence[int]],
    _eps: object,
    steps: Sequence[int],
    **_: object,
) -> int:
    """Operations of both convolutions, as of separate layers.

    >>> lite_branch_flops((1, 4, 8, 8), 0, [(4, 2, 3, 3), *[(4,)] * 4, (6, 4, 1, 1)], 0, (1, 2))
    3072
    """
    high, wide = LiteSteps(*steps).small(*x_shape[2:])
    first, second = _macs_of_a_pixel(layer_shapes)
    return 2 * x_shape[0] * high * wide * (first + second)


@register_flop_formula(torch.ops.multum.lite_branch_backward)  # type: ignore[untyped-decorator, unused-ignore]
def lite_branch_backward_flops(
    _gradient: object,
    _pooled: object,
    bent_shape: Sequence[int],
    layer_shapes: Sequence[Sequence[int]],
    _eps: object,
    _x_shape: object,
    _steps: object,
    wants_x: bool,
    **_: object,
) -> int:
    """Twice those of forward; the first convolution's once where nobody wants the input's gradient.

    >>> lite_branch_backward_flops(0, 0, (1, 4, 4, 4), [(4, 2, 3, 3), *[(4,)] * 4, (6, 4, 1, 1)], 0, 0, 0, True)
    6144
    """
    pictures, _channels, high, wide = bent_shape
    first, second = _macs_of_a_pixel(layer_shapes)
    return 2 * pictures * high * wide * ((2 if wants_x else 1) * first + 2 * second)


def _macs_of_a_pixel(layer_shapes: Sequence[Sequence[int]]) -> tuple[int, int]:
    (outputs, inputs, kernel, _), (mixed, channels, *_ones) = layer_shapes[0], layer_shapes[5]
    return outputs * inputs * kernel**2, mixed * channels
