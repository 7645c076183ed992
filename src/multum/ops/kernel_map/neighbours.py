"""A kernel map as a dense table: for every row that is written and every offset, the row that is read, or -1.

A kernel that owns a block of rows reads its neighbours offset by offset. On a surface a voxel has about half of the 27
neighbours of a 3x3x3 kernel, not the same half everywhere: a block in the order of space needs nearly all offsets. So
rows are sorted by which neighbours they have, and every block lists the offsets that some row of it needs.

The table is one flat int32 tensor, so that it goes through torch's operators as any other tensor; `view_neighbours`
finds its parts again. Everything is made on the device of the map, without waiting for it.

Shape legend: M rows written, K offsets, P pairs, R rows written, padded to whole blocks of every size, B blocks.
"""

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional

from multum.ops.kernel_map.reference import KernelMap

BLOCK_ROWS = (32, 64, 128)
"""Rows of a block, for each of which offsets are listed; the last is a multiple of all."""
SORT_BITS = 48
"""Bits of the number that rows are sorted by: one for each offset, or for some of a large kernel."""


class Neighbours(NamedTuple):
    """Views of a flat table."""

    row_R: Tensor
    """The row that is written, -1 beyond the last."""
    source_KR: Tensor
    """The row that is read, -1 where there is none."""
    offset_BK: dict[int, Tensor]
    """By rows of a block: the offsets that it needs, ascending, then those that it does not."""
    count_B: dict[int, Tensor]
    """How many it needs."""


def table_size(num_targets: int, num_offsets: int) -> int:
    """Numbers of the flat table.

    >>> table_size(1, 27)
    3780
    """
    return sum(_sizes(num_targets, num_offsets))


def pack_neighbours(pairs: KernelMap) -> Int[Tensor, " T"]:
    """The flat table of a map."""
    num_offsets, num_targets = pairs.num_offsets, pairs.num_targets
    offset_P, target_P = pairs.offset_P, pairs.target_P.long()
    found_KM = target_P.new_full((num_offsets, num_targets), -1, dtype=torch.int32)
    found_KM[offset_P, target_P] = pairs.source_P  # every place is written once
    bit_P = offset_P * min(SORT_BITS, num_offsets) // num_offsets
    mask_M = target_P.new_zeros(num_targets).index_add_(0, target_P, torch.ones_like(bit_P) << bit_P)
    row_M = mask_M.argsort(stable=True)
    padding = -num_targets % BLOCK_ROWS[-1]
    row_R = functional.pad(row_M.int(), (0, padding), value=-1)
    source_KR = functional.pad(found_KM[:, row_M], (0, padding), value=-1)
    there_KR = source_KR >= 0
    lists = []
    for rows in BLOCK_ROWS:
        needed_BK = there_KR.view(num_offsets, -1, rows).any(dim=2).T
        lists.append((~needed_BK).byte().argsort(dim=1, stable=True).int())
        lists.append(needed_BK.sum(dim=1, dtype=torch.int32))
    return torch.cat([row_R, source_KR.flatten(), *(it.flatten() for it in lists)])


def view_neighbours(table_T: Int[Tensor, " T"], num_targets: int, num_offsets: int) -> Neighbours:
    """The parts of a flat table."""
    row_R, source_KR, *lists = table_T.split(_sizes(num_targets, num_offsets))
    offset_BK = [it.view(-1, num_offsets) for it in lists[::2]]
    return Neighbours(
        row_R,
        source_KR.view(num_offsets, -1),
        dict(zip(BLOCK_ROWS, offset_BK, strict=True)),
        dict(zip(BLOCK_ROWS, lists[1::2], strict=True)),
    )


def _sizes(num_targets: int, num_offsets: int) -> list[int]:
    padded = num_targets + -num_targets % BLOCK_ROWS[-1]
    blocks = [padded // rows for rows in BLOCK_ROWS]
    return [padded, num_offsets * padded, *(it for count in blocks for it in (count * num_offsets, count))]
