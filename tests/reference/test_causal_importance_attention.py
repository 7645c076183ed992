"""Causal attention, shared key heads and late importance: compiled kernel and reference against float64 loops."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from importance_attention_cases import LAYOUTS, LENGTHS, MASKS, Masks, Problem, make_problem, solve
from multum.core import UserError
from multum.ops import importance_attention
from multum.ops.importance_attention import implementations, importance_attention_reference
from multum.ops.importance_attention.op import Choice
from tolerances import assert_close

HAS_CPU = implementations()["cpu"].available()
BOTH: list[Choice] = ["cpu", "reference"] if HAS_CPU else ["reference"]
OPERATION = torch.ops.multum.importance_attention.default

Pair = tuple[torch.Tensor, torch.Tensor]


def run(problem: Problem, impl: Choice = "auto") -> Pair:
    return importance_attention(
        problem.query,
        problem.key,
        problem.value,
        key_mask_BK=problem.key_mask,
        query_mask_BQ=problem.query_mask,
        scale=problem.scale,
        causal=problem.causal,
        importance_from=problem.importance_from,
        impl=impl,
    )


def assert_solved(problem: Problem, impl: Choice) -> None:
    for found, true in zip(run(problem, impl), solve(problem), strict=True):
        assert_close(found, true, num_terms=problem.num_terms)


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("rows", LENGTHS)
def test_every_pair_of_lengths(rows: int, impl: Choice) -> None:
    for index, keys in enumerate(LENGTHS):
        masks, layout = MASKS[(index + rows) % len(MASKS)], LAYOUTS[index % len(LAYOUTS)]
        assert_solved(make_problem(rows, keys, 20, masks=masks, layout=layout, heads=2, causal=True), impl)


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize(("heads", "groups"), [(6, 1), (6, 2), (6, 3), (6, 6)])
@pytest.mark.parametrize("causal", [False, True])
def test_heads_that_share_their_keys(
    heads: int, groups: int, masks: Masks, causal: bool, impl: Choice
) -> None:
    problem = make_problem(33, 37, 12, masks=masks, heads=heads, groups=groups, causal=causal)
    assert problem.key.shape[1] == groups
    assert_solved(problem, impl)


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("first", [0, 1, 23, 24, 25, 52, 53])
def test_only_late_rows_add_importance_but_all_have_their_context(first: int, impl: Choice) -> None:
    for masks, causal in itertools.product(("none", "both"), (False, True)):
        problem = make_problem(53, 53, 8, masks=masks, causal=causal, importance_from=first)
        assert_solved(problem, impl)
        assert torch.equal(run(problem, impl)[0], run(replace(problem, importance_from=0), impl)[0])


@pytest.mark.parametrize("impl", BOTH)
def test_no_row_adds_importance_when_the_first_is_behind_the_last(impl: Choice) -> None:
    context, importance = run(make_problem(9, 9, 8, importance_from=9), impl)
    assert context.any()
    assert not importance.any()


@pytest.mark.parametrize("impl", BOTH)
def test_causal_context_is_that_of_torchs_own_attention(impl: Choice) -> None:
    problem = make_problem(65, 65, 32, causal=True)
    tensors = problem.query, problem.key, problem.value
    true = functional.scaled_dot_product_attention(
        *(t.double() for t in tensors), is_causal=True, scale=problem.scale
    )
    assert_close(run(problem, impl)[0], true, num_terms=65)


@pytest.mark.parametrize("impl", BOTH)
def test_prompt_read_in_chunks_is_the_prompt_read_at_once(impl: Choice) -> None:
    whole = make_problem(61, 61, 20, heads=4, groups=2, causal=True)
    context, importance = run(whole, impl)
    total = torch.zeros_like(importance)
    for first, end in ((0, 7), (7, 40), (40, 61)):
        part = replace(
            whole,
            query=whole.query[:, :, first:end],
            key=whole.key[:, :, :end],
            value=whole.value[:, :, :end],
        )
        part_context, part_importance = run(part, impl)
        assert_close(part_context, context[:, :, first:end].double())
        total[..., :end] += part_importance
    assert_close(total, importance.double())


@pytest.mark.parametrize("impl", BOTH)
def test_rows_of_left_padding_see_no_key_and_give_zeros(impl: Choice) -> None:
    problem = make_problem(40, 40, 8, causal=True)
    mask = torch.ones(2, 40, dtype=torch.bool)
    mask[1, :30] = False
    problem = replace(problem, key_mask=mask)
    context, importance = run(problem, impl)
    assert_solved(problem, impl)
    assert not context[1, :, :30].any()
    assert not importance[1, :, :30].any()
    torch.testing.assert_close(importance[1].sum(dim=-1), torch.full((3,), 10.0))


@pytest.mark.skipif(not HAS_CPU, reason="the kernel is not compiled here: there is no C++ compiler")
@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_padding_changes_no_bit_of_a_causal_sentence(padding_side: str) -> None:
    alone = make_problem(21, 21, 20, batch=1, causal=True)
    padded = make_problem(40, 40, 20, batch=3, causal=True)
    place = slice(19, 40) if padding_side == "left" else slice(0, 21)
    mask = torch.ones(3, 40, dtype=torch.bool)
    mask[1] = False
    mask[1, place] = True
    for whole, part in ((padded.query, alone.query), (padded.key, alone.key), (padded.value, alone.value)):
        whole[1, :, place] = part[0]
    found = run(replace(padded, key_mask=mask, query_mask=mask), "cpu")
    for batched, single in zip(found, run(alone, "cpu"), strict=True):
        assert torch.equal(batched[1, :, place], single[0])


@pytest.mark.parametrize("impl", BOTH)
def test_the_future_leaves_no_trace(impl: Choice) -> None:
    problem = make_problem(50, 50, 8, causal=True)
    context, _ = run(problem, impl)
    for tensor in (problem.key, problem.value):
        tensor[:, :, 31:] = 1e20
    assert torch.equal(run(problem, impl)[0][:, :, :31], context[:, :, :31])


@pytest.mark.parametrize("impl", BOTH)
def test_a_key_gets_exactly_nothing_from_rows_before_it(impl: Choice) -> None:
    problem = make_problem(30, 30, 8, causal=True)
    problem.query[:, :, 20:] = 0.0
    problem.key[:, :, 20:] = 0.0
    query_mask = torch.ones(2, 30, dtype=torch.bool)
    query_mask[:, 20:] = False
    _, importance = run(replace(problem, query_mask=query_mask), impl)
    assert not importance[..., 20:].any()


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("masks", ["none", "both", "no key"])
def test_gradients_equal_those_of_autograd_in_float64(masks: Masks, impl: Choice) -> None:
    problem = make_problem(17, 23, 20, masks=masks, heads=4, groups=2, causal=True, importance_from=5)
    problem = replace(problem, key=problem.key.clone(), value=problem.value.clone())
    double = problem.to(torch.float64)
    for each in (problem, double):
        for tensor in (each.query, each.key, each.value):
            tensor.requires_grad_()
    expected = importance_attention_reference(
        double.query,
        double.key,
        double.value,
        double.key_mask,
        double.query_mask,
        double.scale,
        causal=True,
        importance_from=5,
    )
    weights = [torch.randn_like(t) for t in expected]
    sum((w * t).sum() for w, t in zip(weights, expected, strict=True)).backward()
    sum((w.float() * t).sum() for w, t in zip(weights, run(problem, impl), strict=True)).backward()
    for name in ("query", "key", "value"):
        found, true = getattr(problem, name).grad, getattr(double, name).grad
        assert_close(
            found, true, num_terms=64 * problem.num_terms
        )  # a product of products, of size above one


def test_gradients_pass_gradcheck() -> None:
    problem = make_problem(3, 4, 2, masks="both", heads=2, groups=1).to(torch.float64)
    inputs = [t.detach().clone().requires_grad_() for t in (problem.query, problem.key, problem.value)]
    options = {"causal": True, "importance_from": 1, "key_mask_BK": problem.key_mask}
    assert torch.autograd.gradcheck(lambda *it: importance_attention(*it, **options, scale=0.7), inputs)


def test_registration_passes_torchs_own_check() -> None:
    problem = make_problem(5, 7, 8, masks="both", heads=4, groups=2)
    inputs = [t.detach().clone().requires_grad_() for t in (problem.query, problem.key, problem.value)]
    arguments = (*inputs, problem.key_mask, problem.query_mask, 0.3, "auto")
    checked = torch.library.opcheck(OPERATION, arguments, {"causal": True, "importance_from": 2})
    assert set(checked.values()) == {"SUCCESS"}


@pytest.mark.parametrize(("rows", "keys"), [(17, 17), (5, 17), (17, 5), (1, 9)])
def test_flop_counter_sees_the_pairs_that_see_each_other(rows: int, keys: int) -> None:
    problem = make_problem(rows, keys, 20, causal=True)
    seen = torch.ones(rows, keys).tril(keys - rows).sum().int().item()
    with FlopCounterMode(display=False) as counter:
        run(problem)
    assert counter.get_total_flops() == 2 * 2 * (2 * 3 * seen * 20)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_take_the_reference(dtype: torch.dtype) -> None:
    problem = make_problem(17, 23, 20, masks="both", heads=4, groups=1, causal=True).to(dtype)
    context, importance = run(problem)
    true_context, true_importance = solve(problem)
    assert_close(context, true_context, num_terms=problem.num_terms)
    assert_close(importance.to(dtype), true_importance, num_terms=problem.num_terms)


@pytest.mark.parametrize("first", [-1, 6])
def test_first_row_outside_the_rows_is_refused(first: int) -> None:
    query = torch.randn(1, 2, 5, 4)
    with pytest.raises(UserError, match=f"importance_from must be from 0 to the 5 query rows; got {first}"):
        importance_attention(query, query, query, importance_from=first)
