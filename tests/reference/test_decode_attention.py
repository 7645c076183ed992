"""The compiled kernel, the reference and float64 loops agree: every width of integers, odd shapes, odd numbers."""

import math
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from decode_attention_cases import FLOAT, Problem, make_problem, solve
from multum.core import UserError
from multum.ops import DecodeResult, FloatRows, PlaneRows, decode_attention, decode_bytes_read
from multum.ops.decode_attention import implementations
from multum.ops.decode_attention.op import Choice
from tolerances import assert_close

HAS_CPU = implementations()["cpu"].available()
BOTH: list[Choice] = ["cpu", "reference"] if HAS_CPU else ["reference"]
BITS = (4, 6, 8, 10, 12, FLOAT)
WIDTHS = (4, 20, 32, 64, 80, 96, 128)
SLOTS = (1, 2, 15, 16, 17, 70)


def run(problem: Problem, impl: Choice = "auto") -> DecodeResult:
    return decode_attention(
        problem.query, problem.key, problem.value, problem.count, **problem.options, impl=impl
    )


def assert_solved(problem: Problem, impl: Choice) -> None:
    found, true = run(problem, impl), solve(problem)
    assert torch.equal(found.flat_BH, true.flat_BH)
    assert torch.equal(found.value_rows_BG, true.value_rows_BG)
    assert_close(found.context_BHD, true.context_BHD, num_terms=problem.num_terms)
    # probabilities of several heads added up, each off by what its score is off
    assert_close(found.importance_BC, true.importance_BC, num_terms=4 * problem.num_terms)


def same(first: DecodeResult, other: DecodeResult) -> bool:
    return all(torch.equal(getattr(first, name), getattr(other, name)) for name in first._asdict())


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("bits", BITS)
def test_every_setting_at_every_width(bits: int, impl: Choice) -> None:
    for index, width in enumerate(WIDTHS):
        threshold = None if bits == FLOAT else (None, 0.3, 1.0)[index % 3]
        value_bits = BITS[(BITS.index(bits) + index) % len(BITS)]
        problem = make_problem(
            37,
            width,
            key_bits=bits,
            value_bits=value_bits,
            heads=6,
            threshold=threshold,
            num_values=(None, 5)[index % 2],
        )
        assert_solved(problem, impl)


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("slots", SLOTS)
def test_every_number_of_slots(slots: int, impl: Choice) -> None:
    assert_solved(make_problem(slots, threshold=0.3, num_values=4), impl)
    assert_solved(make_problem(slots, 20, key_bits=6, value_bits=12), impl)


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize(("heads", "groups"), [(1, 1), (4, 4), (6, 2), (7, 1), (5, 5)])
def test_any_number_of_heads_shares_a_group(heads: int, groups: int, impl: Choice) -> None:
    for regroup in (False, True):
        problem = make_problem(
            33, 32, heads=heads, groups=groups, regroup=regroup, threshold=0.2, num_values=6
        )
        assert_solved(problem, impl)


@pytest.mark.parametrize("impl", BOTH)
def test_sequence_without_any_slot_gets_zeros_not_nan(impl: Choice) -> None:
    problem = make_problem(9, batch=3, threshold=1.0)
    problem.count[1] = 0
    result = run(problem, impl)
    assert not result.context_BHD[1].any()
    assert not result.importance_BC[1].any()
    assert not result.flat_BH[1].any()
    assert result.value_rows_BG.tolist() == [[9, 9], [0, 0], [2, 2]]


@pytest.mark.parametrize("impl", BOTH)
def test_what_unused_slots_hold_does_not_matter(impl: Choice) -> None:
    problem = make_problem(24, num_values=9, threshold=0.2)
    problem.count[0] = 13
    expected = run(problem, impl)
    for rows in (problem.key, problem.value):
        assert isinstance(rows, PlaneRows)
        rows.scale[0, :, 13:] = math.nan
    assert same(run(problem, impl), expected)


@pytest.mark.parametrize("impl", BOTH)
def test_importance_of_a_sequence_sums_to_its_heads(impl: Choice) -> None:
    result = run(make_problem(40, heads=6, threshold=0.1, num_values=3), impl)
    torch.testing.assert_close(result.importance_BC.sum(dim=1), torch.full((2,), 6.0))


@pytest.mark.parametrize("impl", BOTH)
def test_threshold_decides_head_by_head(impl: Choice) -> None:
    never, some, always = (run(make_problem(40, threshold=t), impl) for t in (None, 0.12, 1.0))
    assert not never.flat_BH.any()
    assert always.flat_BH.all()
    assert 0 < some.flat_BH.sum() < some.flat_BH.numel()
    assert torch.equal(some.context_BHD[some.flat_BH], always.context_BHD[some.flat_BH])
    assert torch.equal(some.context_BHD[~some.flat_BH], never.context_BHD[~some.flat_BH])


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("bits", BITS[:-1])
def test_whole_rows_are_read_with_both_planes_from_the_start(bits: int, impl: Choice) -> None:
    for index, width in enumerate(WIDTHS):
        problem = make_problem(
            (37, 70)[index % 2],
            width,
            key_bits=bits,
            value_bits=bits,
            heads=(3, 6, 1)[index % 3],
            groups=(3, 2, 1)[index % 3],
            regroup=index == 4,
            threshold=(None, 0.2)[index % 2],
            num_values=(None, 5)[index % 2],
            whole=(0.2, 0.6)[index % 2],
        )
        assert_solved(problem, impl)


@pytest.mark.parametrize("impl", BOTH)
def test_all_rows_whole_are_a_threshold_of_one_and_none_whole_are_no_mask(impl: Choice) -> None:
    plain, always = run(make_problem(40), impl), run(make_problem(40, threshold=1.0), impl)
    marked = make_problem(40, whole=1.0)
    assert torch.equal(run(marked, impl).context_BHD, always.context_BHD)
    assert not run(marked, impl).flat_BH.any()
    assert marked.whole is not None
    nothing = replace(marked, whole=torch.zeros_like(marked.whole))
    assert same(run(nothing, impl), plain)


@pytest.mark.parametrize("impl", BOTH)
def test_marks_may_be_a_view_and_unused_slots_may_be_marked(impl: Choice) -> None:
    problem = make_problem(40, threshold=0.1, whole=0.3)
    assert problem.whole is not None
    sparse = torch.zeros(2, 80, dtype=torch.bool)
    sparse[:, ::2] = problem.whole
    assert same(run(replace(problem, whole=sparse[:, ::2]), impl), run(problem, impl))
    beyond = problem.whole | (torch.arange(40) >= problem.count[:, None])
    assert same(run(replace(problem, whole=beyond), impl), run(problem, impl))


@pytest.mark.parametrize("impl", BOTH)
def test_of_equal_probabilities_the_lower_slots_values_are_used(impl: Choice) -> None:
    value = torch.arange(1.0, 21.0)[None, None, :, None].expand(1, 1, 20, 4).contiguous()
    key = torch.zeros(1, 1, 20, 4)
    key[0, 0, 15] = 1.0
    result = decode_attention(
        torch.ones(1, 1, 4),
        FloatRows(rows=key),
        FloatRows(rows=value),
        torch.tensor([20]),
        num_values_B=torch.tensor([4]),
        impl=impl,
    )
    high, low = math.exp(2) / (math.exp(2) + 19), 1 / (math.exp(2) + 19)
    assert result.value_rows_BG.item() == 4
    assert result.context_BHD[0, 0].tolist() == pytest.approx([16 * high + (1 + 2 + 3) * low] * 4)


@pytest.mark.parametrize("impl", BOTH)
def test_no_value_rows_give_no_context(impl: Choice) -> None:
    result = run(make_problem(20, num_values=0), impl)
    assert not result.context_BHD.any()
    assert not result.value_rows_BG.any()


@pytest.mark.parametrize("impl", BOTH)
def test_more_value_rows_than_slots_are_all_of_them(impl: Choice) -> None:
    assert same(run(make_problem(20, num_values=99), impl), run(make_problem(20), impl))


@pytest.mark.parametrize("impl", BOTH)
def test_large_scores_stay_finite(impl: Choice) -> None:
    result = run(make_problem(30, score_size=1e4), impl)
    assert torch.isfinite(result.context_BHD).all()
    torch.testing.assert_close(result.importance_BC.sum(dim=1), torch.full((2,), 4.0))


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("slots", [5, 17, 35])
def test_value_rows_of_a_nan_are_rows_that_are_there(slots: int, impl: Choice) -> None:
    problem = make_problem(slots, heads=2, batch=1, num_values=2)
    problem.query[0, 0, 0] = math.nan
    assert int(run(problem, impl).value_rows_BG.max()) <= slots


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_nan_and_infinity_reach_their_head_and_no_other(poison: float, impl: Choice) -> None:
    problem = make_problem(30, num_values=5)
    expected = run(problem, impl)
    problem.query[0, 1, 3] = poison
    result = run(problem, impl)
    assert result.context_BHD[0, 1].isnan().all()
    assert result.importance_BC[0].isnan().all()
    others = torch.ones(2, 4, dtype=torch.bool)
    others[0, 1] = False
    assert torch.equal(result.context_BHD[others], expected.context_BHD[others])


@pytest.mark.parametrize("impl", BOTH)
def test_views_into_a_larger_cache_are_read_where_they_lie(impl: Choice) -> None:
    problem = make_problem(64, heads=4, groups=4, threshold=0.3)
    cut = slice(8, 40)

    def part(rows: PlaneRows) -> PlaneRows:
        lsb = None if rows.lsb is None else rows.lsb[:, 1:3, cut]
        msb, scale = rows.msb[:, 1:3, cut], rows.scale[:, 1:3, cut]
        return PlaneRows(msb=msb, lsb=lsb, scale=scale, msb_bits=rows.msb_bits, width=rows.width)

    assert isinstance(problem.key, PlaneRows)
    assert isinstance(problem.value, PlaneRows)
    key, value = part(problem.key), part(problem.value)
    index = torch.arange(8, 40)
    count = torch.tensor([32, 5])
    found = decode_attention(problem.query, key, value, count, threshold=0.3, impl=impl)
    whole = [
        PlaneRows(
            msb=rows.msb.clone(),
            lsb=None if rows.lsb is None else rows.lsb.clone(),
            scale=rows.scale.clone(),
            msb_bits=8,
            width=64,
        )
        for rows in (key, value)
    ]
    assert same(found, decode_attention(problem.query, *whole, count, threshold=0.3, impl=impl))
    chosen = problem.key.select(index)
    assert torch.equal(chosen.msb[:, 1:3], key.msb)


@pytest.mark.skipif(not HAS_CPU, reason="the kernel is not compiled here: there is no C++ compiler")
@pytest.mark.usefixtures("threads")
def test_any_number_of_threads_gives_the_same_bits() -> None:
    problem = make_problem(6000, 128, key_bits=FLOAT, value_bits=FLOAT, heads=8, groups=4)
    expected = run(problem, "cpu")
    for num_threads in (2, 3, 7):
        torch.set_num_threads(num_threads)
        assert same(run(problem, "cpu"), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("impl", BOTH)
def test_half_precision_queries_are_computed_in_float32(dtype: torch.dtype, impl: Choice) -> None:
    problem = make_problem(30)
    halved = problem.query.to(dtype)
    result = decode_attention(halved, problem.key, problem.value, problem.count, impl=impl)
    wide = decode_attention(halved.float(), problem.key, problem.value, problem.count, impl=impl)
    assert result.context_BHD.dtype is dtype
    assert result.importance_BC.dtype is torch.float32
    assert torch.equal(result.context_BHD, wide.context_BHD.to(dtype))


@pytest.mark.parametrize("impl", BOTH)
def test_bfloat16_rows_are_read_as_they_are(impl: Choice) -> None:
    for width in (20, 64):
        problem = make_problem(30, width, key_bits=FLOAT, value_bits=FLOAT)
        assert isinstance(problem.key, FloatRows)
        assert isinstance(problem.value, FloatRows)
        halves = [FloatRows(rows=rows.rows.bfloat16()) for rows in (problem.key, problem.value)]
        wide = [FloatRows(rows=rows.rows.float()) for rows in halves]
        found = decode_attention(problem.query, *halves, problem.count, impl=impl)
        assert_close(
            found.context_BHD,
            decode_attention(problem.query, *wide, problem.count, impl="reference").context_BHD,
            num_terms=64,
        )


def test_float64_takes_the_reference_and_its_precision() -> None:
    problem = make_problem(30)
    result = decode_attention(problem.query.double(), problem.key, problem.value, problem.count)
    true = solve(problem)
    assert result.importance_BC.dtype is torch.float64
    assert_close(result.context_BHD, true.context_BHD, num_terms=problem.num_terms)


def test_bytes_read_count_a_row_once_for_its_group() -> None:
    problem = make_problem(40, heads=6, groups=3, threshold=0.12, num_values=4)
    result = run(problem)
    flat_BG = result.flat_BH.view(2, 3, 2).any(dim=2)
    expected = 0
    for b, count in enumerate(problem.count.tolist()):
        for g in range(3):
            expected += count * (64 + 2) + count * 32 * int(flat_BG[b, g])
            expected += int(result.value_rows_BG[b, g]) * (64 + 2)
    assert 0 < flat_BG.sum() < flat_BG.numel()
    assert decode_bytes_read(result, problem.key, problem.value, problem.count) == expected


def test_lsb_bytes_of_whole_rows_count_once_for_a_group_flat_or_not() -> None:
    problem = make_problem(40, heads=6, groups=3, threshold=0.12, num_values=4, whole=0.4)
    result = run(problem)
    assert problem.whole is not None
    flat_BG = result.flat_BH.view(2, 3, 2).any(dim=2)
    assert 0 < flat_BG.sum() < flat_BG.numel()
    expected = 0
    for b, count in enumerate(problem.count.tolist()):
        marked = int(problem.whole[b, :count].sum())
        for g in range(3):
            expected += count * (64 + 2) + (count if flat_BG[b, g] else marked) * 32
            expected += int(result.value_rows_BG[b, g]) * (64 + 2)
    rows = problem.key, problem.value, problem.count
    assert decode_bytes_read(result, *rows, whole_BC=problem.whole) == expected


def test_groups_that_no_head_reads_cost_nothing() -> None:
    problem = make_problem(16, heads=2, groups=2)
    group = torch.zeros(2, 2, dtype=torch.int64)
    result = decode_attention(problem.query, problem.key, problem.value, problem.count, group_BH=group)
    assert result.value_rows_BG.tolist() == [[16, 0], [8, 0]]
    bytes_read = decode_bytes_read(result, problem.key, problem.value, problem.count, group)
    assert bytes_read == (16 + 8) * 2 * 66


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize(("threshold", "whole"), [(0.0, None), (0.3, None), (0.3, 0.5)])
def test_registration_passes_torchs_own_check(impl: Choice, threshold: float, whole: float | None) -> None:
    problem = make_problem(9, 8, whole=whole)
    key, value = problem.key, problem.value
    assert isinstance(key, PlaneRows)
    assert isinstance(value, PlaneRows)
    arguments = (
        problem.query, key.msb, key.lsb, key.scale, 8, value.msb, None, value.scale, 8,
        problem.count, None, torch.tensor([3, 3]), threshold, 0.3, impl,
    )  # fmt: skip
    if whole is not None:
        arguments = (*arguments, problem.whole)
    checked = torch.library.opcheck(torch.ops.multum.decode_attention.default, arguments)
    assert set(checked.values()) == {"SUCCESS"}


def test_flop_counter_sees_both_products() -> None:
    with FlopCounterMode(display=False) as counter:
        run(make_problem(17, 20, heads=6))
    assert counter.get_total_flops() == 2 * 2 * (2 * 6 * 17 * 20)


def test_gradients_are_refused() -> None:
    problem = make_problem(5)
    problem.query.requires_grad_()
    with pytest.raises(UserError, match=r"must be without gradients; .* train with importance_attention"):
        run(problem)
    with torch.no_grad():
        run(problem)


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("count", [-1, 6])
def test_counts_beyond_the_slots_are_refused(count: int, impl: Choice) -> None:
    problem = make_problem(5)
    problem.count[1] = count
    with pytest.raises(UserError, match=r"count and group must be in 0\.\.5 and in 0\.\.1"):
        run(problem, impl)


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("group", [-1, 2])
def test_groups_that_are_not_there_are_refused(group: int, impl: Choice) -> None:
    problem = make_problem(5, regroup=True)
    assert problem.group is not None
    problem.group[1, 3] = group
    with pytest.raises(UserError, match=r"count and group must be in 0\.\.5 and in 0\.\.1"):
        run(problem, impl)


def test_threshold_out_of_place_is_refused() -> None:
    with pytest.raises(UserError, match=r"threshold must be in \[0, 1\]; got 1.5"):
        run(make_problem(5, threshold=1.5))
    with pytest.raises(UserError, match=r"threshold must be None for keys without a plane of LSBs; got 0.1"):
        run(make_problem(5, key_bits=FLOAT, threshold=0.1))


def test_whole_rows_of_keys_without_lsbs_are_refused() -> None:
    with pytest.raises(UserError, match=r"whole must be None for keys without a plane of LSBs; got \(2, 5\)"):
        run(make_problem(5, key_bits=FLOAT, whole=0.5))


@pytest.mark.usefixtures("as_shipped")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": torch.randn(2, 4, 32)}, "query, key and value must be equal in batch and width"),
        ({"query": torch.randn(1, 4, 64)}, "query, key and value must be equal in batch and width"),
        ({"query": torch.randn(2, 3, 64)}, "the heads must be a multiple of the 2 groups; got 3"),
        ({"query": torch.randn(2, 64)}, r"must be of shape \(B, H, D\), \(B, G, C, ...\)"),
        ({"count": torch.tensor([1])}, r"count must be integers of shape \(2,\); got"),
        ({"count": torch.ones(2)}, r"count must be integers of shape \(2,\); got 'torch.float32"),
        ({"num_values": torch.tensor([1])}, r"num_values must be integers of shape \(2,\)"),
        ({"group": torch.zeros(2, 3, dtype=torch.int64)}, r"group must be integers of shape \(2, 4\)"),
        (
            {"whole": torch.zeros(2, 4, dtype=torch.bool)},
            r"whole must be torch.bool of shape \(2, 5\), a mark",
        ),
        ({"whole": torch.ones(2, 5)}, r"whole must be torch.bool of shape \(2, 5\), a mark"),
        ({"query": torch.randn(2, 4, 64, device="meta")}, "the tensors must be on meta like the queries"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, torch.Tensor], message: str) -> None:
    inputs = vars(make_problem(5)) | change
    with pytest.raises(UserError, match=message):
        run(Problem(**inputs))


@pytest.mark.usefixtures("as_shipped")
def test_implementation_that_cannot_run_is_refused() -> None:
    problem = make_problem(5, key_bits=FLOAT, value_bits=FLOAT)
    assert isinstance(problem.key, FloatRows)
    with pytest.raises(UserError, match="impl must be one of"):
        run(problem, "fastest")  # type: ignore[arg-type]
    double = FloatRows(rows=problem.key.rows.double())
    with pytest.raises(UserError, match="the tensors of impl='cpu' must be"):
        decode_attention(problem.query, double, problem.value, problem.count, impl="cpu")
