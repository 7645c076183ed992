"""Weighted sums of rows: means of groups, interpolation, and their ways back."""

from multum.ops.weighted_rows.op import implementations, turn_rows, weighted_rows
from multum.ops.weighted_rows.reference import RowLists, turn_rows_reference, weighted_rows_reference

__all__ = [
    "RowLists",
    "implementations",
    "turn_rows",
    "turn_rows_reference",
    "weighted_rows",
    "weighted_rows_reference",
]
