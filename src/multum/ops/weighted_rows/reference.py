"""Weighted sums of rows in plain torch, and the lists that say which rows.

    y[i] = sum of weight[e] * x[column[e]]     over the entries e of row i

The mean of the points in a voxel is one, and so is the interpolation of voxels at a point.

Shape legend: N rows read, M rows written, E entries, C channels.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from multum.core import invalid


@dataclass(frozen=True)
class RowLists:
    """Which rows are added, and how much of each; a sparse matrix by its rows.

    >>> RowLists.of_targets(torch.tensor([1, 0, 1]), 2).column_E
    tensor([1, 0, 2], dtype=torch.int32)
    """

    starts_M1: Int[Tensor, " M1"]
    """Entry at which each row's begin, and where the last one's end, int64."""
    column_E: Int[Tensor, " E"]
    """Row that is read, int32."""
    weight_E: Float[Tensor, " E"]
    """How much of it."""
    num_columns: int
    """Rows that can be read."""

    @property
    def num_rows(self) -> int:
        """Rows that are written."""
        return len(self.starts_M1) - 1

    @property
    def row_E(self) -> Tensor:
        """The row of each entry."""
        index_M = torch.arange(self.num_rows, device=self.column_E.device)
        return index_M.repeat_interleave(self.starts_M1.diff(), output_size=len(self.column_E))

    @staticmethod
    def of_targets(target_N: Int[Tensor, " N"], num_rows: int) -> "RowLists":
        """Each row read is added to one row: sums of groups, in the order of what is read."""
        order_N = torch.argsort(target_N, stable=True)
        counts_M = torch.bincount(target_N.long(), minlength=num_rows)
        if len(counts_M) > num_rows:
            raise invalid("targets", f"below {num_rows}", len(counts_M) - 1)
        starts_M1 = torch.cat([counts_M.new_zeros(1), counts_M.cumsum(0)])
        return RowLists(
            starts_M1, order_N.int(), torch.ones(len(target_N), device=target_N.device), len(target_N)
        )

    @staticmethod
    def of_neighbours(
        column_MJ: Int[Tensor, "M J"], weight_MJ: Float[Tensor, "M J"], num_columns: int
    ) -> "RowLists":
        """Each row is a mixture of J rows; those of a negative number are left out."""
        there_MJ = column_MJ >= 0
        counts_M = there_MJ.sum(dim=1)
        starts_M1 = torch.cat([counts_M.new_zeros(1), counts_M.cumsum(0)])
        return RowLists(starts_M1, column_MJ[there_MJ].int(), weight_MJ[there_MJ], num_columns)

    def means(self) -> "RowLists":
        """The same rows, each entry weighted by one over their number."""
        counts_M = self.starts_M1.diff()
        share_M = 1 / counts_M.to(self.weight_E.dtype)
        return replace(self, weight_E=share_M.repeat_interleave(counts_M, output_size=len(self.column_E)))

    @cached_property
    def back(self) -> "RowLists":
        """The lists of the way back, made once: rows and columns change places."""
        from multum.ops.weighted_rows.op import turn_rows

        return turn_rows(self)


def weighted_rows_reference(x_NC: Float[Tensor, "N C"], lists: RowLists) -> Float[Tensor, "M C"]:
    """Twin of `weighted_rows`, with torch's own gradients."""
    part_EC = x_NC[lists.column_E] * lists.weight_E[:, None].to(x_NC.dtype)
    return x_NC.new_zeros(lists.num_rows, x_NC.shape[1]).index_add(0, lists.row_E, part_EC)


def turn_rows_reference(lists: RowLists) -> RowLists:
    """Twin of `turn_rows`: by a stable sort."""
    order_E = torch.argsort(lists.column_E, stable=True)
    counts_N = torch.bincount(lists.column_E.long(), minlength=lists.num_columns)
    return RowLists(
        torch.cat([counts_N.new_zeros(1), counts_N.cumsum(0)]),
        lists.row_E[order_E].int(),
        lists.weight_E[order_E],
        lists.num_rows,
    )
