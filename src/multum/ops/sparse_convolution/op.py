"""The public function, its choice of implementation, its registration with torch. Shape legend as in `reference.py`."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from multum.core import invalid
from multum.ops.dispatch import Implementation, choose
from multum.ops.kernel_map import KernelMap
from multum.ops.sparse_convolution import cpu
from multum.ops.sparse_convolution.reference import sparse_convolution_reference

Choice = Literal["auto", "reference", "cpu"]


def sparse_convolution(
    x_NC: Float[Tensor, "N C"],
    weight_KCO: Float[Tensor, "K C O"],
    pairs: KernelMap,
    *,
    bias_O: Float[Tensor, " O"] | None = None,
    base_MO: Float[Tensor, "M O"] | None = None,
    relu: bool = False,
    impl: Choice = "auto",
) -> Float[Tensor, "M O"]:
    """Convolve rows of voxels: y[target] is the sum of x[source] W[k] over the pairs of a kernel map.

    The compiled path adds the parts of a target in the order of offsets, whatever the number of threads and the order
    of voxels; it holds the rows that it reads and writes in the cache over all offsets, and multiplies them from where
    they lie. Half types are multiplied and added in float32.

    Args:
        x_NC: Features of the voxels that are read.
        weight_KCO: A matrix for each offset.
        pairs: Which rows meet, as `kernel_map` finds it, or transposed.
        bias_O: Added to each row.
        base_MO: What the sums are added to, a skip of a residual block say.
        relu: Whether what is negative at the end becomes 0. These three cost next to nothing on the way.
        impl: `reference` (plain torch, any type and device), `cpu` (compiled), or `auto`.

    Returns:
        Features of the voxels that are written, zeros where nothing meets; differentiable as often as wished.

    Raises:
        UserError: Shapes that do not go together.

    >>> from multum.ops.kernel_map import kernel_map, kernel_offsets, sort_voxels
    >>> line = sort_voxels(torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1]], dtype=torch.int32))
    >>> pairs = kernel_map(line, line, kernel_offsets((1, 1, 3)))
    >>> sparse_convolution(torch.tensor([[1.0], [10.0]]), torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1), pairs)
    tensor([[32.],
            [21.]])
    """
    _check(x_NC, weight_KCO, pairs, bias_O, base_MO)
    if choose(impl, x_NC, implementations()) == "reference":
        return sparse_convolution_reference(
            x_NC, weight_KCO, pairs, bias_O=bias_O, base_MO=base_MO, relu=relu
        )
    result: Tensor = _convolve(x_NC, weight_KCO, *_lists(pairs), bias_O, base_MO, relu)
    return result


def _lists(pairs: KernelMap) -> tuple[Tensor, ...]:
    """A map as torch's operations take it."""
    starts = (pairs.starts_KB, pairs.back_starts_KB)
    return pairs.source_P, pairs.target_P, *starts, pairs.target_row_M, pairs.source_row_N


@cache  # asked for in every layer
def implementations() -> Mapping[str, Implementation]:
    """What each fast path takes; `reference` takes everything."""
    dtypes = (torch.float32, torch.bfloat16, torch.float16)
    return {
        "cpu": Implementation(device="cpu", dtypes=dtypes, available=lambda: cpu.library() is not None),
    }


def _check(
    x_NC: Tensor, weight_KCO: Tensor, pairs: KernelMap, bias_O: Tensor | None, base_MO: Tensor | None
) -> None:
    if len(x_NC) != pairs.num_sources:
        raise invalid("x", f"of the map's {pairs.num_sources} voxels", tuple(x_NC.shape))
    wanted = (pairs.num_offsets, x_NC.shape[1])
    if tuple(weight_KCO.shape[:2]) != wanted:
        raise invalid("weight", f"({wanted[0]}, {wanted[1]}, outputs)", tuple(weight_KCO.shape))
    if weight_KCO.dtype != x_NC.dtype:
        raise invalid("weight", f"of x's type, {x_NC.dtype}", weight_KCO.dtype)
    outputs = weight_KCO.shape[2]
    for name, it, shape in (
        ("bias", bias_O, (outputs,)), ("base", base_MO, (pairs.num_targets, outputs))
    ):  # fmt: skip
        if it is not None and (tuple(it.shape) != shape or it.dtype != x_NC.dtype):
            raise invalid(name, f"{shape}, of x's type", (tuple(it.shape), it.dtype))


@torch.library.custom_op("multum::sparse_convolution", mutates_args=())
def _convolve(
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
) -> Tensor:
    turned = not weight.is_contiguous() and weight.mT.is_contiguous()
    placed = weight.mT if turned else weight.contiguous()
    end = (None if bias is None else _single(bias), None if base is None else _single(base), relu)
    y = cpu.convolve(_single(x), _single(placed), (source, target, starts, target_row), end, turned=turned)
    return y.to(x.dtype)


@torch.library.custom_op("multum::sparse_convolution_weight", mutates_args=())
def _convolve_weight(
    x: Tensor,
    gradient: Tensor,
    source: Tensor,
    target: Tensor,
    starts: Tensor,
    back_starts: Tensor,  # noqa: ARG001 - the gradient's
    target_row: Tensor,  # noqa: ARG001 - the same
    source_row: Tensor,  # noqa: ARG001 - the same
) -> Tensor:
    return cpu.weight_gradient(_single(x), _single(gradient), (source, target, starts)).to(x.dtype)


def _single(it: Tensor) -> Tensor:
    return it.float().contiguous()


@_convolve.register_fake
def _(x: Tensor, weight: Tensor, *lists: Any) -> Tensor:
    return x.new_empty(lists[4].shape[0], weight.shape[2])


@_convolve_weight.register_fake
def _(x: Tensor, gradient: Tensor, *lists: Any) -> Tensor:
    return x.new_empty(lists[2].shape[0], x.shape[1], gradient.shape[1])


def _turned(lists: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The lists of the way back."""
    source, target, starts, back_starts, target_row, source_row = lists
    return target, source, back_starts, starts, source_row, target_row


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.relu = inputs[10]
    ctx.save_for_backward(*inputs[:8], *([output] if ctx.relu else []))


def _convolve_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, *rest = ctx.saved_tensors
    lists = tuple(rest[:6])
    if ctx.relu:
        gradient = gradient * (rest[6] > 0)
    wants_x, wants_weight, *_, wants_bias, wants_base, _ = ctx.needs_input_grad
    of_x = _convolve(gradient, weight.mT, *_turned(lists), None, None, False) if wants_x else None
    of_weight = _convolve_weight(x, gradient, *lists) if wants_weight else None
    of_bias = gradient.sum(dim=0) if wants_bias else None
    return of_x, of_weight, *[None] * 6, of_bias, gradient if wants_base else None, None


def _keep_of_weight(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 - as torch calls it
    ctx.save_for_backward(*inputs)


def _weight_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, of_y, *rest = ctx.saved_tensors
    lists, (wants_x, wants_gradient, *_) = tuple(rest), ctx.needs_input_grad
    of_x = _convolve(of_y, gradient.mT, *_turned(lists), None, None, False) if wants_x else None
    of_gradient = _convolve(x, gradient, *lists, None, None, False) if wants_gradient else None
    return of_x, of_gradient, *[None] * 6


_convolve.register_autograd(_convolve_backward, setup_context=_keep)
_convolve_weight.register_autograd(_weight_backward, setup_context=_keep_of_weight)


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
