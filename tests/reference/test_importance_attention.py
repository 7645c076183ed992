"""The compiled kernel, the reference and float64 loops agree: forward, gradients, odd shapes, odd numbers."""

import itertools
import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from importance_attention_cases import (
    LAYOUTS,
    LENGTHS,
    MASKS,
    WIDTHS,
    Layout,
    Masks,
    Problem,
    make_problem,
    solve,
)
from multum.core import UserError
from multum.ops import importance_attention
from multum.ops.dispatch import choose
from multum.ops.importance_attention import implementations, importance_attention_reference
from multum.ops.importance_attention.op import Choice
from tolerances import assert_close

LENGTH_PAIRS = [*((n, n) for n in LENGTHS), *zip(LENGTHS, LENGTHS[3:] + LENGTHS[:3], strict=True)]
OPERATION = torch.ops.multum.importance_attention.default

HAS_CPU = implementations()["cpu"].available()
needs_cpu = pytest.mark.skipif(
    not HAS_CPU, reason="the kernel is not compiled here: there is no C++ compiler"
)
BOTH: list[Choice] = ["cpu", "reference"] if HAS_CPU else ["reference"]

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


def of_result_shapes(problem: Problem) -> Pair:
    """Give two tensors of the shapes of context and importance."""
    return problem.query, problem.key[..., 0]


def assert_solved(problem: Problem, impl: Choice) -> None:
    for found, true in zip(run(problem, impl), solve(problem), strict=True):
        assert_close(found, true, num_terms=problem.num_terms)


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_length_at_every_width(width: int, impl: Choice) -> None:
    for index, (rows, keys) in enumerate(LENGTH_PAIRS):
        masks, layout = MASKS[(index + width) % len(MASKS)], LAYOUTS[index % len(LAYOUTS)]
        assert_solved(make_problem(rows, keys, width, masks=masks, layout=layout, heads=2), impl)


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("masks", MASKS)
def test_every_mask_in_every_layout(masks: Masks, layout: Layout, impl: Choice) -> None:
    assert_solved(make_problem(25, 37, 20, masks=masks, layout=layout, batch=3), impl)


@pytest.mark.parametrize("impl", BOTH)
def test_sentence_without_any_key_gives_zeros_not_nan(impl: Choice) -> None:
    context, importance = run(make_problem(7, 9, 8, masks="no key"), impl)
    assert not context[0].any()
    assert not importance[0].any()
    assert context[1].any()


@pytest.mark.parametrize("impl", BOTH)
def test_dropped_rows_are_zero_and_give_nothing(impl: Choice) -> None:
    problem = make_problem(19, 23, 8, masks="both")
    assert problem.key_mask is not None
    assert problem.query_mask is not None
    context, importance = run(problem, impl)
    assert not context.transpose(1, 2)[~problem.query_mask].any()
    assert not importance.transpose(1, 2)[~problem.key_mask].any()
    num_rows = problem.query_mask.sum(dim=1).float()
    torch.testing.assert_close(importance.sum(dim=2), num_rows[:, None].expand(2, 3))


@pytest.mark.parametrize("impl", BOTH)
def test_what_dropped_keys_hold_does_not_matter(impl: Choice) -> None:
    problem = make_problem(11, 29, 8, masks="keys")
    assert problem.key_mask is not None
    expected = run(problem, impl)
    problem.key.transpose(1, 2)[~problem.key_mask] = 1e30
    problem.value.transpose(1, 2)[~problem.key_mask] = -1e30
    for found, clean in zip(run(problem, impl), expected, strict=True):
        assert torch.equal(found, clean)


@needs_cpu
@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_padding_changes_no_bit_of_a_sentence(padding_side: str) -> None:
    alone = make_problem(21, 21, 20, batch=1)
    padded = make_problem(40, 40, 20, batch=3)
    place = slice(19, 40) if padding_side == "left" else slice(0, 21)
    mask = torch.ones(3, 40, dtype=torch.bool)
    mask[1] = False
    mask[1, place] = True
    for whole, part in ((padded.query, alone.query), (padded.key, alone.key), (padded.value, alone.value)):
        whole[1, :, place] = part[0]
    inputs = padded.query, padded.key, padded.value
    found = importance_attention(*inputs, key_mask_BK=mask, query_mask_BQ=mask, impl="cpu")
    for batched, single in zip(found, run(alone, "cpu"), strict=True):
        assert torch.equal(batched[1, :, place], single[0])


@needs_cpu
@pytest.mark.usefixtures("threads")
def test_any_number_of_threads_gives_the_same_bits() -> None:
    problem = make_problem(64, 65, 20, masks="both", batch=3)
    expected = run(problem, "cpu")
    for num_threads in (2, 3, 7, 64):
        torch.set_num_threads(num_threads)
        for found, single in zip(run(problem, "cpu"), expected, strict=True):
            assert torch.equal(found, single)


@pytest.mark.parametrize("impl", BOTH)
def test_large_scores_stay_within_what_rounding_the_scores_explains(impl: Choice) -> None:
    problem = make_problem(65, 64, 32, masks="both", score_size=100.0)
    # a score of size s is known to s * eps at best, and a probability is off by as much, relatively
    eps = torch.finfo(torch.float32).eps
    largest = (
        (problem.scale * problem.query.double() @ problem.key.double().transpose(2, 3)).abs().max().item()
    )
    assert largest > 300
    for found, true in zip(run(problem, impl), solve(problem), strict=True):
        assert torch.isfinite(found).all()
        torch.testing.assert_close(found.double(), true, rtol=4 * largest * eps, atol=4 * largest * eps)


@pytest.mark.parametrize("impl", BOTH)
def test_one_score_far_above_the_others_takes_everything(impl: Choice) -> None:
    query = torch.full((1, 1, 3, 1), 1e4)
    key = torch.tensor([-1e4, 0.0, 1e4, 1.0]).reshape(1, 1, 4, 1)
    value = torch.arange(4.0).reshape(1, 1, 4, 1)
    context, importance = importance_attention(query, key, value, impl=impl)
    assert context.flatten().tolist() == pytest.approx([2.0] * 3)
    assert importance.flatten().tolist() == pytest.approx([0.0, 0.0, 3.0, 0.0])


@pytest.mark.parametrize("impl", BOTH)
def test_equal_scores_share_equally(impl: Choice) -> None:
    inputs = torch.zeros(1, 1, 6, 4), torch.ones(1, 1, 5, 4), torch.ones(1, 1, 5, 4)
    _, importance = importance_attention(*inputs, impl=impl)
    assert importance.flatten().tolist() == pytest.approx([6 / 5] * 5)


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("where", ["query", "key", "value"])
def test_nan_in_gives_nan_out(where: str, impl: Choice) -> None:
    problem = make_problem(31, 33, 20)
    getattr(problem, where)[1, 2, 17, 4] = math.nan
    context, importance = run(problem, impl)
    touched = {"query": context[1, 2, 17], "key": context[1, 2], "value": context[1, 2, :, 4]}[where]
    assert touched.isnan().all()
    assert importance[1, 2].isnan().sum() == (0 if where == "value" else 33)
    assert not context[0].isnan().any()
    assert not context[1, :2].isnan().any()
    assert not importance[1, :2].isnan().any()


@pytest.mark.parametrize("infinity", [math.inf, -math.inf])
@pytest.mark.parametrize("where", ["query", "key"])
def test_infinite_scores_never_give_a_finite_lie(where: str, infinity: float) -> None:
    problem = make_problem(13, 33, 8)
    getattr(problem, where)[0, 0, 3, 0] = infinity
    expected = importance_attention_reference(
        problem.query, problem.key, problem.value, None, None, problem.scale
    )
    for found, known in zip(run(problem), expected, strict=True):
        assert known.isnan().any()
        assert found[known.isnan()].isnan().all()
        torch.testing.assert_close(found[0, 1:], known[0, 1:])
        torch.testing.assert_close(found[1], known[1])


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("empty", ["batch", "heads", "rows", "keys"])
def test_nothing_in_gives_nothing_out(empty: str, impl: Choice) -> None:
    size = {"batch": 2, "heads": 3, "rows": 4, "keys": 5} | {empty: 0}
    query = torch.randn(size["batch"], size["heads"], size["rows"], 8)
    key = torch.randn(size["batch"], size["heads"], size["keys"], 8)
    context, importance = importance_attention(query, key, key, impl=impl)
    assert context.shape == query.shape
    assert importance.shape == key.shape[:3]
    assert not context.any()
    assert not importance.any()


@pytest.mark.parametrize("impl", BOTH)
def test_inputs_are_left_alone(impl: Choice) -> None:
    problem = make_problem(17, 19, 8, masks="both", layout="strided")
    copies = [problem.query.clone(), problem.key.clone(), problem.value.clone()]
    run(problem, impl)
    for after, before in zip((problem.query, problem.key, problem.value), copies, strict=True):
        assert torch.equal(after, before)


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("masks", MASKS)
def test_gradients_equal_those_of_autograd_in_float64(masks: Masks, impl: Choice) -> None:
    problem = make_problem(17, 23, 20, masks=masks)
    double = problem.to(torch.float64)
    for each in (problem, double):
        for tensor in (each.query, each.key, each.value):
            tensor.requires_grad_()
    weights = [torch.randn_like(t, dtype=torch.float64) for t in of_result_shapes(problem)]
    expected = importance_attention_reference(
        double.query, double.key, double.value, double.key_mask, double.query_mask, double.scale
    )
    sum((w * t).sum() for w, t in zip(weights, expected, strict=True)).backward()
    sum((w.float() * t).sum() for w, t in zip(weights, run(problem, impl), strict=True)).backward()
    for name in ("query", "key", "value"):
        found, true = getattr(problem, name).grad, getattr(double, name).grad
        assert_close(
            found, true, num_terms=64 * problem.num_terms
        )  # a product of products, of size above one


@pytest.mark.parametrize("masks", ["none", "both"])
def test_gradients_pass_gradcheck(masks: Masks) -> None:
    problem = make_problem(3, 4, 2, masks=masks, heads=1).to(torch.float64)
    inputs = [t.detach().clone().requires_grad_() for t in (problem.query, problem.key, problem.value)]
    masks_given = {"key_mask_BK": problem.key_mask, "query_mask_BQ": problem.query_mask}
    assert torch.autograd.gradcheck(lambda *it: importance_attention(*it, **masks_given, scale=0.7), inputs)


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("used", [0, 1])
def test_either_output_alone_can_be_differentiated(used: int, impl: Choice) -> None:
    problem = make_problem(6, 7, 8, masks="both")
    for tensor in (problem.query, problem.key):  # value stays frozen
        tensor.requires_grad_()
    weight = torch.randn_like(of_result_shapes(problem)[used])
    double = problem.to(torch.float64)
    found = torch.autograd.grad((weight * run(problem, impl)[used]).sum(), [problem.query, problem.key])
    expected = importance_attention_reference(
        double.query, double.key, double.value, double.key_mask, double.query_mask, double.scale
    )
    true = torch.autograd.grad((weight * expected[used]).sum(), [double.query, double.key])
    for got, want in zip(found, true, strict=True):
        assert_close(got, want, num_terms=64)


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize(("sizes", "masks"), [((5, 7, 8), "both"), ((1, 1, 1), "none")])
def test_registration_passes_torchs_own_check(
    sizes: tuple[int, int, int], masks: Masks, impl: Choice
) -> None:
    problem = make_problem(*sizes, masks=masks, layout="packed")
    inputs = [t.detach().clone().requires_grad_() for t in (problem.query, problem.key, problem.value)]
    checked = torch.library.opcheck(OPERATION, (*inputs, problem.key_mask, problem.query_mask, 0.3, impl))
    assert set(checked.values()) == {"SUCCESS"}


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize(("rows", "keys"), [(0, 3), (3, 0)])
def test_registration_knows_empty_results(rows: int, keys: int, impl: Choice) -> None:
    query, key = torch.randn(2, 3, rows, 4), torch.randn(2, 3, keys, 4)
    quick = ("test_schema", "test_faketensor")
    checked = torch.library.opcheck(OPERATION, (query, key, key, None, None, 0.3, impl), test_utils=quick)
    assert set(checked.values()) == {"SUCCESS"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes_take_the_reference(dtype: torch.dtype) -> None:
    problem = make_problem(17, 23, 20, masks="both").to(dtype)
    assert choose("auto", problem.query, implementations()) == "reference"
    context, importance = run(problem)
    assert context.dtype is dtype
    assert importance.dtype is (torch.float64 if dtype is torch.float64 else torch.float32)
    assert torch.equal(context, run(problem, "reference")[0])
    true_context, true_importance = solve(problem)
    assert_close(context, true_context, num_terms=problem.num_terms)
    if dtype is torch.float64:
        assert_close(importance, true_importance, num_terms=problem.num_terms)
    else:  # a sum of rounded probabilities
        assert_close(importance.to(dtype), true_importance, num_terms=problem.num_terms)


@needs_cpu
def test_float32_on_the_cpu_takes_the_compiled_kernel() -> None:
    problem = make_problem(17, 23, 20)
    assert choose("auto", problem.query, implementations()) == "cpu"
    for automatic, chosen in zip(run(problem), run(problem, "cpu"), strict=True):
        assert torch.equal(automatic, chosen)


def test_context_lies_in_memory_with_its_heads_side_by_side() -> None:
    for impl in BOTH:
        context, _ = run(make_problem(6, 7, 8), impl)
        assert context.transpose(1, 2).is_contiguous()


def test_default_scale_is_one_over_the_root_of_the_width() -> None:
    query = torch.randn(1, 1, 4, 16)
    for found, scaled in zip(
        importance_attention(query, query, query),
        importance_attention(query, query, query, scale=0.25),
        strict=True,
    ):
        assert torch.equal(found, scaled)


@pytest.mark.parametrize("impl", BOTH)
def test_flop_counter_sees_both_products(impl: Choice) -> None:
    problem = make_problem(17, 23, 20)
    with FlopCounterMode(display=False) as counter:
        run(problem, impl)
    assert counter.get_total_flops() == 2 * 2 * (2 * 3 * 17 * 23 * 20)


def test_mixed_dtypes_are_refused() -> None:
    query, key = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 5, 4)
    for keys, values in itertools.product((key, key.double()), repeat=2):
        if keys.dtype == values.dtype == query.dtype:
            continue
        with pytest.raises(UserError, match=r"of one dtype on one device; got .*float64 on cpu"):
            importance_attention(query, keys, values)


@pytest.mark.usefixtures("as_shipped")
@pytest.mark.parametrize(
    ("query", "key", "value", "message"),
    [
        (
            (2, 3, 4),
            (2, 3, 5, 4),
            (2, 3, 5, 4),
            r"query, key, value must be of shape \(B, H, Q, D\), \(B, G, K, D\)",
        ),
        ((1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 6, 4), r"got \(\(1, 2, 3, 4\), \(1, 2, 5, 4\), \(1, 2, 6, 4\)\)"),
        ((1, 2, 3, 4), (1, 2, 5, 8), (1, 2, 5, 8), "query and key must be equal in batch and width"),
        ((2, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 4), "query and key must be equal in batch and width"),
        (
            (1, 4, 3, 4),
            (1, 3, 5, 4),
            (1, 3, 5, 4),
            "query heads must be a multiple of the 3 key heads; got 4",
        ),
        (
            (1, 2, 3, 4),
            (1, 4, 5, 4),
            (1, 4, 5, 4),
            "query heads must be a multiple of the 4 key heads; got 2",
        ),
        (
            (1, 2, 3, 4),
            (1, 0, 5, 4),
            (1, 0, 5, 4),
            "query heads must be a multiple of the 0 key heads; got 2",
        ),
    ],
)
def test_misfitting_shapes_are_named(
    query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        importance_attention(torch.randn(query), torch.randn(key), torch.randn(value))


@pytest.mark.usefixtures("as_shipped")
@pytest.mark.parametrize(
    ("name", "mask", "message"),
    [
        ("key_mask_BK", torch.ones(1, 3, dtype=torch.bool), r"key_mask must be boolean of shape \(1, 5\)"),
        ("key_mask_BK", torch.ones(1, 5), r"got 'torch.float32 of shape \(1, 5\) on cpu'"),
        (
            "query_mask_BQ",
            torch.ones(2, 3, dtype=torch.bool),
            r"query_mask must be boolean of shape \(1, 3\)",
        ),
        ("query_mask_BQ", torch.ones(1, 3, dtype=torch.bool, device="meta"), "got 'torch.bool .* on meta'"),
    ],
)
def test_misfitting_masks_are_named(name: str, mask: torch.Tensor, message: str) -> None:
    query, key = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 5, 4)
    with pytest.raises(UserError, match=message):
        importance_attention(query, key, key, **{name: mask})


@pytest.mark.usefixtures("as_shipped")
@pytest.mark.parametrize(
    ("impl", "dtype", "message"),
    [
        (
            "cpu",
            torch.float64,
            r"must be \['torch.float32'\] on cpu; got 'torch.float64 on cpu'; use impl=\"auto\"",
        ),
        ("triton", torch.float32, "on cuda; got 'torch.float32 on cpu'"),
        (
            "fastest",
            torch.float32,
            r"impl must be one of \['auto', 'reference', 'cpu', 'triton'\]; got 'fastest'",
        ),
    ],
)
def test_implementation_that_cannot_run_is_refused(impl: Choice, dtype: torch.dtype, message: str) -> None:
    query = torch.randn(1, 1, 2, 4, dtype=dtype)
    with pytest.raises(UserError, match=message):
        importance_attention(query, query, query, impl=impl)
