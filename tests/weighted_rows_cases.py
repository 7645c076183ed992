"""Lists of rows for tests of weighted sums.

Run as a script this file solves small problems with the Triton kernel in Triton's interpreter, which has to be chosen
before Triton is imported (TRITON_INTERPRET=1), and prints the largest error of each in units of its tolerance.
"""

import json
import math
import sys
from unittest import mock

import torch
from torch import Tensor

from multum.ops.weighted_rows import RowLists, weighted_rows_reference
from tolerances import tolerance


def draw_lists(num_rows: int, num_columns: int, most: int = 8) -> RowLists:
    """Some rows with nothing, some columns that nobody reads, some read more than once."""
    generator = torch.Generator().manual_seed(num_rows)
    column_MJ = torch.randint(-num_columns // 2, num_columns, (num_rows, most), generator=generator)
    weight_MJ = torch.randn(num_rows, most, generator=generator)
    return RowLists.of_neighbours(column_MJ, weight_MJ, num_columns)


def draw_x(lists: RowLists, channels: int) -> Tensor:
    return torch.randn(lists.num_columns, channels, generator=torch.Generator().manual_seed(channels))


INTERPRETED: tuple[tuple[int, int, int, int, str], ...] = (
    (1, 1, 1, 8, "float32"),
    (37, 20, 5, 8, "float32"),
    (20, 37, 70, 3, "float32"),
    (3, 50, 33, 150, "float32"),
    (33, 16, 16, 8, "bfloat16"),
    (2, 30, 16, 100, "float16"),
    (0, 5, 3, 8, "float32"),
    (5, 0, 3, 0, "float32"),
)
"""Rows written and read, channels, length of lists, and type of problems for the interpreter."""


def interpret() -> dict[str, float]:
    """The largest error of each problem, there and back, and of torch's own check."""
    from multum.ops.weighted_rows import op

    with mock.patch.object(op, "is_on_device", return_value=True):
        found = {str(case): _error(op, *case) for case in INTERPRETED}
        lists = draw_lists(9, 7)
        quick = ("test_schema", "test_autograd_registration", "test_faketensor")
        torch.library.opcheck(
            op._sum, (draw_x(lists, 5).requires_grad_(), *_numbers(lists)), test_utils=quick
        )
    return found | {"opcheck": 0.0}


def _error(op: object, rows: int, columns: int, channels: int, most: int, dtype: str) -> float:
    lists = draw_lists(rows, columns, most) if columns else RowLists.of_targets(torch.zeros(0), rows)
    x = draw_x(lists, channels).to(getattr(torch, dtype)).requires_grad_()
    gradient = torch.randn(rows, channels, generator=torch.Generator().manual_seed(0)).to(x.dtype)
    y = op._sum(x, *_numbers(lists))  # type: ignore[attr-defined]
    (back,) = torch.autograd.grad(y, x, gradient)
    wide = x.detach().double().requires_grad_()
    true = weighted_rows_reference(wide, lists)
    (true_back,) = torch.autograd.grad(true, wide, gradient.double())
    assert y.dtype == back.dtype == x.dtype
    return max(_units(y.detach(), true.detach(), most), _units(back, true_back, rows * most))


def _numbers(lists: RowLists) -> tuple[Tensor, ...]:
    back = lists.back
    return lists.starts_M1, lists.column_E, lists.weight_E, back.starts_M1, back.column_E, back.weight_E


def _units(found: Tensor, true: Tensor, num_terms: int) -> float:
    assert found.shape == true.shape
    allowed = tolerance(found.dtype, num_terms=num_terms)
    error = (found.double() - true).abs() / (allowed.absolute + allowed.relative * true.abs())
    return max(error.flatten().tolist(), default=0.0, key=lambda it: math.inf if math.isnan(it) else it)


if __name__ == "__main__":
    json.dump(interpret(), sys.stdout)
