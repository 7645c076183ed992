"""The public function and its choice of implementation. Shape legend as in `reference.py`."""

from collections.abc import Mapping
from functools import cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from multum.core import invalid
from multum.ops.dispatch import Implementation, choose, has_triton
from multum.ops.kernel_map import KernelMap, table_size
from multum.ops.sparse_convolution import cpu
from multum.ops.sparse_convolution.operations import convolve
from multum.ops.sparse_convolution.reference import sparse_convolution_reference

Choice = Literal["auto", "reference", "cpu", "triton"]
SMALL_TABLE = 2**20
"""Numbers of a table of neighbours that is made whatever it holds."""
SPARSEST = 16
"""Larger ones have room for so many times the pairs, at most."""


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
    they lie. On a CUDA device the fastest of several settings is measured at the first call with such sizes and then
    kept (`multum.ops.sparse_convolution.tuning`); each gives the same bits in every run, float32 is multiplied in full
    unless torch's own products may take TF32, and weights have to be finite. Half types are added in float32.

    Args:
        x_NC: Features of the voxels that are read.
        weight_KCO: A matrix for each offset.
        pairs: Which rows meet, as `kernel_map` finds it, or transposed.
        bias_O: Added to each row.
        base_MO: What the sums are added to, a skip of a residual block say.
        relu: Whether what is negative at the end becomes 0. These three cost next to nothing on the way.
        impl: `reference` (plain torch, any type and device), `cpu` (compiled), `triton` (CUDA), or `auto`.

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
    chosen = choose(impl, x_NC, implementations())
    if chosen == "reference":
        return sparse_convolution_reference(
            x_NC, weight_KCO, pairs, bias_O=bias_O, base_MO=base_MO, relu=relu
        )
    tables: tuple[Tensor | None, ...] = ()
    if chosen == "triton":
        tables = (_table(pairs), _table(pairs, back=True) if x_NC.requires_grad else None)
    result: Tensor = convolve(x_NC, weight_KCO, *_lists(pairs), bias_O, base_MO, relu, *tables)
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
        "triton": Implementation(device="cuda", dtypes=dtypes, available=has_triton),
    }


def _table(pairs: KernelMap, *, back: bool = False) -> Tensor | None:
    """The dense table of a map, or None for one that would be nearly empty."""
    size = table_size(pairs.num_sources if back else pairs.num_targets, pairs.num_offsets)
    return pairs.neighbours(back=back) if size <= max(SMALL_TABLE, SPARSEST * pairs.num_pairs) else None


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
