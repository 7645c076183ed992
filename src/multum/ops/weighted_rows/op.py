"""The public function, its choice of implementation, its registration with torch. Shape legend as in `reference.py`."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from multum.core import invalid
from multum.ops.dispatch import Implementation, choose, has_triton
from multum.ops.weighted_rows import cpu
from multum.ops.weighted_rows.reference import RowLists, turn_rows_reference, weighted_rows_reference

Choice = Literal["auto", "reference", "cpu", "triton"]


def weighted_rows(
    x_NC: Float[Tensor, "N C"], lists: RowLists, *, impl: Choice = "auto"
) -> Float[Tensor, "M C"]:
    """Mix rows: each row of the result is a weighted sum of some rows of x.

    The fast paths add in one order, whatever the number of threads: the compiled one in that of the lists, Triton by
    blocks of a list where lists are long. The way back has lists of its own, so that its sums too have one order. Half
    types are added in float32.

    Args:
        x_NC: Rows that are read.
        lists: Which ones, and how much of each.
        impl: `reference` (plain torch, any type and device), `cpu` (compiled), `triton` (CUDA), or `auto`.

    Returns:
        The sums, 0 where a list is empty; differentiable in x as often as wished.

    Raises:
        UserError: Another number of rows than the lists read.

    >>> groups = RowLists.of_targets(torch.tensor([1, 0, 1]), 2)
    >>> weighted_rows(torch.tensor([[1.0], [2.0], [4.0]]), groups.means())
    tensor([[2.0000],
            [2.5000]])
    """
    if len(x_NC) != lists.num_columns:
        raise invalid("x", f"of the {lists.num_columns} rows that the lists read", tuple(x_NC.shape))
    if choose(impl, x_NC, implementations()) == "reference":
        return weighted_rows_reference(x_NC, lists)
    back = lists.back if x_NC.requires_grad else lists
    result: Tensor = _sum(
        x_NC, lists.starts_M1, lists.column_E, lists.weight_E, back.starts_M1, back.column_E, back.weight_E
    )
    return result


def turn_rows(lists: RowLists) -> RowLists:
    """The lists of the way back: what was read is written, in ascending order of the rows that read it."""
    if choose("auto", lists.weight_E, implementations()) == "cpu":
        return cpu.turn_rows(lists)
    return turn_rows_reference(lists)


@cache  # asked for in every layer
def implementations() -> Mapping[str, Implementation]:
    """What each fast path takes; `reference` takes everything."""
    dtypes = (torch.float32, torch.bfloat16, torch.float16)
    return {
        "cpu": Implementation(device="cpu", dtypes=dtypes, available=lambda: cpu.library() is not None),
        "triton": Implementation(device="cuda", dtypes=dtypes, available=has_triton),
    }


@torch.library.custom_op("multum::weighted_rows", mutates_args=())
def _sum(
    x: Tensor,
    starts: Tensor,
    column: Tensor,
    weight: Tensor,
    back_starts: Tensor,  # noqa: ARG001 - the gradient's
    row: Tensor,  # noqa: ARG001 - the same
    back_weight: Tensor,  # noqa: ARG001 - the same
) -> Tensor:
    if is_on_device(x):
        from multum.ops.weighted_rows import triton

        with torch.cuda.device_of(x):
            return triton.weighted_rows(x, starts, column, weight)
    return cpu.weighted_rows(x.float().contiguous(), starts, column, weight.float()).to(x.dtype)


def is_on_device(x: Tensor) -> bool:
    """Whether Triton's kernels take a tensor, and not the compiled one."""
    return x.is_cuda


@_sum.register_fake
def _(
    x: Tensor,
    starts: Tensor,
    column: Tensor,  # noqa: ARG001 - as the operation has it
    weight: Tensor,  # noqa: ARG001 - the same
    back_starts: Tensor,  # noqa: ARG001 - the same
    row: Tensor,  # noqa: ARG001 - the same
    back_weight: Tensor,  # noqa: ARG001 - the same
) -> Tensor:
    return x.new_empty(starts.shape[0] - 1, x.shape[1])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 - as torch calls it
    ctx.save_for_backward(*inputs[1:])


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    there, back = ctx.saved_tensors[:3], ctx.saved_tensors[3:]
    return _sum(gradient, *back, *there), None, None, None, None, None, None


_sum.register_autograd(_backward, setup_context=_keep)
