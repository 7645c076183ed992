"""The public functions and their choice of implementation. Shape legend as in `reference.py`."""

from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from multum.core import invalid, wrong_type
from multum.ops.dispatch import Implementation, choose
from multum.ops.kernel_map import cpu
from multum.ops.kernel_map.reference import (
    LARGEST_OFFSET,
    KernelMap,
    SortedVoxels,
    kernel_map_reference,
    sort_voxels_reference,
)

Choice = Literal["auto", "reference", "cpu"]


def sort_voxels(voxel_N4: Int[Tensor, "N 4"], *, impl: Choice = "auto") -> SortedVoxels:
    """Find the different voxels, sorted by batch, x, y and z.

    Args:
        voxel_N4: Batch, x, y and z of each, int32, not too large to be packed (`LARGEST`).
        impl: `reference` (plain torch, any device), `cpu` (compiled), or `auto`.

    Returns:
        Their keys, the first row of each, and the place of each row's voxel among them.

    Raises:
        UserError: A voxel out of range.
        UserTypeError: Another type than int32.

    >>> voxel_N4 = torch.tensor([[0, 2, 0, 0], [0, 1, 0, 0], [0, 2, 0, 0]], dtype=torch.int32)
    >>> sort_voxels(voxel_N4).rank_N.tolist()
    [1, 0, 1]
    """
    if voxel_N4.dtype != torch.int32:
        raise wrong_type("voxels", "int32", voxel_N4.dtype)
    if choose(impl, voxel_N4, implementations()) == "reference":
        return sort_voxels_reference(voxel_N4)
    return cpu.sort_voxels(voxel_N4)


def kernel_map(
    source: SortedVoxels,
    target: SortedVoxels,
    offset_K3: Int[Tensor, "K 3"],
    stride: tuple[int, int, int] = (1, 1, 1),
    *,
    impl: Choice = "auto",
) -> KernelMap:
    """Find the pairs of voxels that meet at each offset: source = stride * target + offset.

    The compiled path walks along both sorted lists and hashes nothing; where sources are targets it looks for half of
    the offsets alone. Both paths give the same bits, whatever the number of threads.

    Args:
        source: Voxels that are read.
        target: Voxels that are written.
        offset_K3: The kernel's voxels in ascending order, as `kernel_offsets` gives them.
        stride: Along x, y and z; at least 1.
        impl: `reference` (plain torch, any device), `cpu` (compiled), or `auto`.

    Raises:
        UserError: A voxel that is there twice, offsets that do not ascend or are too far, or a stride below 1.

    >>> line = sort_voxels(torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1]], dtype=torch.int32))
    >>> it = kernel_map(line, line, kernel_offsets((1, 1, 3)))
    >>> it.offset_P.tolist(), it.source_P.tolist(), it.target_P.tolist()
    ([0, 1, 1, 2], [0, 0, 1, 1], [1, 0, 1, 0])
    """
    for voxels in (source, target):
        if len(voxels.rank_N) != len(voxels.key_M):
            twice = f"{len(voxels.rank_N) - len(voxels.key_M)} that are there already"
            raise invalid(
                "voxels", "all different", twice, "merge them: quantize does, and so does distinct()"
            )
    _check(offset_K3, stride)
    if choose(impl, source.row_M, implementations()) == "reference":
        return kernel_map_reference(source, target, offset_K3.to(source.key_M.device), stride)
    return cpu.kernel_map(source, target, offset_K3, stride)


def kernel_offsets(
    size: tuple[int, int, int], dilation: tuple[int, int, int] = (1, 1, 1)
) -> Int[Tensor, "K 3"]:
    """The voxels of a kernel in ascending order: around 0 along axes of odd size, from 0 on along even ones.

    >>> kernel_offsets((1, 2, 3)).tolist()
    [[0, 0, -1], [0, 0, 0], [0, 0, 1], [0, 1, -1], [0, 1, 0], [0, 1, 1]]
    """
    if min(*size, *dilation) < 1:
        raise invalid("kernel size and dilation", "at least 1", (size, dilation))
    firsts = [-(it // 2) if it % 2 else 0 for it in size]
    axes = [torch.arange(first, first + it) for first, it in zip(firsts, size, strict=True)]
    return torch.cartesian_prod(*axes).int() * torch.tensor(dilation, dtype=torch.int32)


@cache
def implementations() -> Mapping[str, Implementation]:
    """What each fast path takes; `reference` takes everything."""
    path = Implementation(device="cpu", dtypes=(torch.int32,), available=lambda: cpu.library() is not None)
    return {"cpu": path}


def _check(offset_K3: Tensor, stride: tuple[int, int, int]) -> None:
    if min(stride) < 1:
        raise invalid("stride", "at least 1", stride)
    if not len(offset_K3) or int(offset_K3.abs().max()) > LARGEST_OFFSET:
        raise invalid("offsets", f"some, in [-{LARGEST_OFFSET}, {LARGEST_OFFSET}]", offset_K3.tolist())
    places = offset_K3.tolist()
    if any(left >= right for left, right in pairwise(places)):
        raise invalid("offsets", "in ascending order, none twice", places, "take those of kernel_offsets")
