"""Weighted sums of rows: the compiled kernel against torch, there and back, and the lists that both follow."""

import pytest
import torch

from multum.core import UserError
from multum.ops.weighted_rows import (
    RowLists,
    turn_rows,
    turn_rows_reference,
    weighted_rows,
    weighted_rows_reference,
)
from multum.ops.weighted_rows.op import _sum
from tolerances import tolerance
from weighted_rows_cases import draw_lists, draw_x


@pytest.mark.parametrize("channels", [1, 4, 15, 16, 33, 64, 130])
@pytest.mark.parametrize("sizes", [(1, 1), (700, 90), (90, 1300)])
def test_sums_are_those_of_torch_there_and_back(channels: int, sizes: tuple[int, int]) -> None:
    lists = draw_lists(*sizes)
    x = draw_x(lists, channels).requires_grad_()
    gradient = torch.randn(lists.num_rows, channels, generator=torch.Generator().manual_seed(0))
    ours = weighted_rows(x, lists, impl="cpu")
    (back,) = torch.autograd.grad(ours, x, gradient)
    wide = x.detach().double().requires_grad_()
    theirs = weighted_rows_reference(wide, lists)
    (expected,) = torch.autograd.grad(theirs, wide, gradient.double())
    limit = tolerance(torch.float32, num_terms=200)
    torch.testing.assert_close(ours.double(), theirs, rtol=limit.relative, atol=limit.absolute)
    torch.testing.assert_close(back.double(), expected, rtol=limit.relative, atol=limit.absolute)


def test_the_way_back_is_the_transposed_matrix() -> None:
    lists = draw_lists(50, 70)
    ours, theirs = turn_rows(lists), turn_rows_reference(lists)
    for field in ("starts_M1", "column_E", "weight_E"):
        assert torch.equal(getattr(ours, field), getattr(theirs, field)), field
    there = weighted_rows(torch.eye(70), lists)
    assert torch.equal(weighted_rows(torch.eye(50), ours), there.T)
    assert torch.equal(turn_rows(ours).starts_M1, lists.starts_M1)


def test_groups_have_their_means_and_empty_ones_are_zero() -> None:
    target_N = torch.tensor([2, 0, 2, 2])
    x = torch.tensor([[3.0], [5.0], [6.0], [9.0]])
    means = weighted_rows(x, RowLists.of_targets(target_N, 4).means())
    assert means.flatten().tolist() == pytest.approx([5.0, 0.0, 6.0, 0.0])
    with pytest.raises(UserError, match="targets must be below 2"):
        RowLists.of_targets(target_N, 2)


def test_threads_change_no_bit(threads: None) -> None:
    lists = draw_lists(20_000, 5_000)
    x = draw_x(lists, 40).requires_grad_()
    found = []
    for num_threads in (1, 3):
        torch.set_num_threads(num_threads)
        y = weighted_rows(x, lists)
        found.append((y, *torch.autograd.grad(y.square().sum(), x)))
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_added_in_full(dtype: torch.dtype) -> None:
    lists = draw_lists(100, 100)
    x = draw_x(lists, 12).to(dtype)
    y = weighted_rows(x, lists)
    limit = tolerance(dtype)
    expected = weighted_rows_reference(x.double(), lists)
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), expected, rtol=limit.relative, atol=limit.absolute)


def test_torch_knows_the_operation() -> None:
    lists = draw_lists(30, 20)
    x = draw_x(lists, 5).requires_grad_()
    back = lists.back
    given = (lists.starts_M1, lists.column_E, lists.weight_E, back.starts_M1, back.column_E, back.weight_E)
    torch.library.opcheck(_sum, (x, *given))
    wide = x.detach().double().requires_grad_()
    assert torch.autograd.gradcheck(lambda it: weighted_rows(it, lists), wide)
    once = torch.autograd.grad(weighted_rows(x, lists).pow(3).sum(), x, create_graph=True)[0]
    assert bool(torch.autograd.grad(once.sum(), x)[0].any()), "and its gradient's"


def test_another_number_of_rows_is_refused() -> None:
    with pytest.raises(UserError, match="x must be of the 20 rows"):
        weighted_rows(torch.zeros(19, 2), draw_lists(5, 20))
