"""The convolution and the gradient of its weight as operations of torch: fake, autograd, FLOP formula.

A gradient of either is one of both again, with maps that go back. Shape legend as in `reference.py`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from multum.ops.sparse_convolution import cpu


@torch.library.custom_op("multum::sparse_convolution", mutates_args=())
def convolve(
    x: Tensor,
    weight: Tensor,
    source: Tensor,
    target: Tensor,
    starts: Tensor,
    back_starts: Tensor,  # noqa: ARG001 - the gradient's
    target_row: Tensor,
    source_row: Tensor,  # noqa: ARG001 - the same
    bias: Tensor | None,
    base: Tensor | None,
    relu: bool,
    table: Tensor | None = None,
    back_table: Tensor | None = None,  # noqa: ARG001 - the gradient's
) -> Tensor:
    """The convolution over the lists of a kernel map; a table of neighbours serves CUDA devices alone."""
    if is_on_device(x):
        from multum.ops.sparse_convolution import triton

        with torch.cuda.device_of(x):
            end = (bias, base, relu)
            return triton.convolve(x, weight, (source, target, starts), len(target_row), table, end=end)
    turned = not weight.is_contiguous() and weight.mT.is_contiguous()
    placed = weight.mT if turned else weight.contiguous()
    end = (None if bias is None else _single(bias), None if base is None else _single(base), relu)
    y = cpu.convolve(_single(x), _single(placed), (source, target, starts, target_row), end, turned=turned)
    return y.to(x.dtype)


@torch.library.custom_op("multum::sparse_convolution_weight", mutates_args=())
def convolve_weight(
    x: Tensor,
    gradient: Tensor,
    source: Tensor,
    target: Tensor,
    starts: Tensor,
    back_starts: Tensor,  # noqa: ARG001 - the gradient's
    target_row: Tensor,  # noqa: ARG001 - the same
    source_row: Tensor,  # noqa: ARG001 - the same
    table: Tensor | None = None,  # noqa: ARG001 - the same
    back_table: Tensor | None = None,  # noqa: ARG001 - the same
) -> Tensor:
    """The gradient of the convolution's weight."""
    lists = (source, target, starts)
    if is_on_device(x):
        from multum.ops.sparse_convolution import triton

        with torch.cuda.device_of(x):
            return triton.weight_gradient(x, gradient, lists)
    return cpu.weight_gradient(_single(x), _single(gradient), lists).to(x.dtype)


def is_on_device(x: Tensor) -> bool:
    """Whether Triton's kernels take a tensor, and not the compiled ones."""
    return x.is_cuda


def _single(it: Tensor) -> Tensor:
    return it.float().contiguous()


@convolve.register_fake
def _(x: Tensor, weight: Tensor, *lists: Any) -> Tensor:
    return x.new_empty(lists[4].shape[0], weight.shape[2])


@convolve_weight.register_fake
def _(x: Tensor, gradient: Tensor, *lists: Any) -> Tensor:
    return x.new_empty(lists[2].shape[0], x.shape[1], gradient.shape[1])


Lists = tuple[Any, ...]


def _there(lists: Lists) -> Lists:
    """Lists and tables as the convolution takes them, with nothing at its end."""
    return (*lists[:6], None, None, False, *lists[6:])


def _back(lists: Lists) -> Lists:
    """The same of the way back."""
    source, target, starts, back_starts, target_row, source_row, table, back_table = lists
    return _there((target, source, back_starts, starts, source_row, target_row, back_table, table))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.relu = inputs[10]
    ctx.save_for_backward(*inputs[:8], *inputs[11:], *([output] if ctx.relu else []))


def _convolve_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, *rest = ctx.saved_tensors
    lists = tuple(rest[:8])
    if ctx.relu:
        gradient = gradient * (rest[8] > 0)
    wants_x, wants_weight, *_ = wants = (
        ctx.needs_input_grad
    )  # from the front: torch drops defaults at the end
    of_x = convolve(gradient, weight.mT, *_back(lists)) if wants_x else None
    of_weight = convolve_weight(x, gradient, *lists) if wants_weight else None
    of_bias = gradient.sum(dim=0) if wants[8] else None
    return of_x, of_weight, *[None] * 6, of_bias, gradient if wants[9] else None, None, None, None


def _keep_of_weight(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 - as torch calls it
    ctx.save_for_backward(*inputs)


def _weight_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, of_y, *rest = ctx.saved_tensors
    lists, (wants_x, wants_gradient, *_) = tuple(rest), ctx.needs_input_grad
    of_x = convolve(of_y, gradient.mT, *_back(lists)) if wants_x else None
    of_gradient = convolve(x, gradient, *_there(lists)) if wants_gradient else None
    return of_x, of_gradient, *[None] * 8


convolve.register_autograd(_convolve_backward, setup_context=_keep)
convolve_weight.register_autograd(_weight_backward, setup_context=_keep_of_weight)


@register_flop_formula(torch.ops.multum.sparse_convolution)  # type: ignore[untyped-decorator, unused-ignore]
def sparse_convolution_flops(
    x_shape: Sequence[int], weight_shape: Sequence[int], source_shape: Sequence[int], *_: object, **__: object
) -> int:
    """Operations of the pairs.

    >>> sparse_convolution_flops((4, 8), (27, 8, 16), (10,))
    2560
    """
    return 2 * source_shape[0] * x_shape[1] * weight_shape[2]


@register_flop_formula(torch.ops.multum.sparse_convolution_weight)  # type: ignore[untyped-decorator, unused-ignore]
def sparse_convolution_weight_flops(
    x_shape: Sequence[int],
    gradient_shape: Sequence[int],
    source_shape: Sequence[int],
    *_: object,
    **__: object,
) -> int:
    """The same of the gradient of the weight.

    >>> sparse_convolution_weight_flops((4, 8), (4, 16), (10,))
    2560
    """
    return 2 * source_shape[0] * x_shape[1] * gradient_shape[1]
