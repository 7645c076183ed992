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
    num_targets: int,
    table: Tensor | None = None,
    back_table: Tensor | None = None,  # noqa: ARG001 - the gradient's
) -> Tensor:
    """The convolution over the lists of a kernel map; a table of neighbours serves CUDA devices alone."""
    lists = (source, target, starts)
    if is_on_device(x):
        from multum.ops.sparse_convolution import triton

        with torch.cuda.device_of(x):
            return triton.convolve(x, weight, lists, num_targets, table)
    turned = not weight.is_contiguous() and weight.mT.is_contiguous()
    placed = weight.mT if turned else weight.contiguous()
    y = cpu.convolve(_single(x), _single(placed), lists, num_targets, turned=turned)
    return y.to(x.dtype)


@torch.library.custom_op("multum::sparse_convolution_weight", mutates_args=())
def convolve_weight(
    x: Tensor,
    gradient: Tensor,
    source: Tensor,
    target: Tensor,
    starts: Tensor,
    back_starts: Tensor,  # noqa: ARG001 - the gradient's
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
def _(x: Tensor, weight: Tensor, *lists: object) -> Tensor:
    num_targets: Any = lists[4]
    return x.new_empty(num_targets, weight.shape[2])


@convolve_weight.register_fake
def _(x: Tensor, gradient: Tensor, source: Tensor, target: Tensor, starts: Tensor, *_: object) -> Tensor:  # noqa: ARG001 - as the operation has it
    return x.new_empty(starts.shape[0], x.shape[1], gradient.shape[1])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 - as torch calls it
    ctx.save_for_backward(*inputs[:6], *inputs[-2:])


def _convolve_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, source, target, starts, back_starts, table, back_table = ctx.saved_tensors
    back = (target, source, back_starts, starts, x.shape[0], back_table, table)
    of_x = of_weight = None
    if ctx.needs_input_grad[0]:
        of_x = convolve(gradient, weight.mT, *back)
    if ctx.needs_input_grad[1]:
        of_weight = convolve_weight(x, gradient, source, target, starts, back_starts, table, back_table)
    return of_x, of_weight, *[None] * 7


def _weight_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, of_y, source, target, starts, back_starts, table, back_table = ctx.saved_tensors
    of_x = of_gradient = None
    if ctx.needs_input_grad[0]:
        back = (target, source, back_starts, starts, x.shape[0], back_table, table)
        of_x = convolve(of_y, gradient.mT, *back)
    if ctx.needs_input_grad[1]:
        there = (source, target, starts, back_starts, of_y.shape[0], table, back_table)
        of_gradient = convolve(x, gradient, *there)
    return of_x, of_gradient, *[None] * 6


convolve.register_autograd(_convolve_backward, setup_context=_keep)
convolve_weight.register_autograd(_weight_backward, setup_context=_keep)


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
