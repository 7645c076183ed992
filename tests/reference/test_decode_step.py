"""A packed step gives what its parts give one by one: attention, the sum of importance, the slot that goes."""

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from decode_attention_cases import FLOAT, Problem, make_problem
from multum.core import UserError
from multum.ops import DecodeResult, DecodeStep, FloatRows, PlaneRows, decode_attention, evict_lowest
from multum.ops.bit_planes import RowFrame
from multum.ops.decode_attention import implementations

HAS_CPU = implementations()["cpu"].available()
PROBLEMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "flat heads": {"threshold": 0.2},
    "few values": {"num_values": 5, "threshold": 0.3},
    "other groups": {"heads": 6, "groups": 3, "regroup": True},
    "floats": {"key_bits": FLOAT, "value_bits": FLOAT},
    "odd width": {"key_bits": 6, "value_bits": 12},
}


def part_of(problem: Problem, name: str) -> Any:
    return problem.options.get(name)


def step_of(problem: Problem, **ledger: Any) -> DecodeStep:
    heads = problem.query.shape[1]
    dials = {name: part_of(problem, name) for name in ("threshold", "scale")}
    return DecodeStep(problem.key, problem.value, heads, **dials, **ledger)


def ask(step: DecodeStep, problem: Problem) -> DecodeResult:
    changing = {name: part_of(problem, name) for name in ("group_BH", "num_values_B", "whole_BC")}
    return step(problem.query, problem.count, **changing)


def same(first: DecodeResult, other: DecodeResult) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("slots", [3, 16, 37])
def test_step_is_the_sum_of_its_parts(name: str, slots: int) -> None:
    width = 20 if name == "odd width" else 64
    problem = make_problem(slots, width, **PROBLEMS[name])
    parts = decode_attention(problem.query, problem.key, problem.value, problem.count, **problem.options)
    total, protected = torch.rand(parts.importance_BC.shape), torch.rand(parts.importance_BC.shape) < 0.5
    expected = total + parts.importance_BC
    step = step_of(problem, total_BC=total, protected_BC=protected)
    assert (step._packed is not None) == HAS_CPU
    assert same(ask(step, problem), parts)
    torch.testing.assert_close(total, expected)
    assert step.evicted_B is not None
    assert torch.equal(step.evicted_B, evict_lowest(total, protected, problem.count))


FRAMES: dict[str, Callable[[int, int, int], RowFrame]] = {
    "turned": lambda *_: RowFrame(turned=True),
    "centred": lambda *sizes: RowFrame(mean_BG1D=torch.randn(*sizes).bfloat16()[:, :, None]),
    "both": lambda *sizes: RowFrame(mean_BG1D=torch.randn(*sizes).bfloat16()[:, :, None], turned=True),
    "the same mean for all": lambda *sizes: RowFrame(
        mean_BG1D=torch.randn(sizes[2]).bfloat16().expand(*sizes)[:, :, None]
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("frame", FRAMES)
def test_framed_step_is_attention_over_rows_as_they_were(name: str, frame: str) -> None:
    width = 20 if name == "odd width" else 64
    problem = make_problem(37, width, **PROBLEMS[name])
    way = FRAMES[frame](len(problem.count), PROBLEMS[name].get("groups", 2), width)
    step = step_of(problem, frame=way)
    assert (step._packed is not None) == HAS_CPU
    turned = way.turn(problem.query)
    parts = decode_attention(turned, problem.key, problem.value, problem.count, **problem.options)
    expected = way.context_out_of(parts.context_BHD, part_of(problem, "group_BH"))
    found = ask(step, problem)
    torch.testing.assert_close(found.context_BHD, expected, rtol=0, atol=2e-5)
    torch.testing.assert_close(found.importance_BC, parts.importance_BC, rtol=0, atol=1e-5)
    assert torch.equal(found.flat_BH, parts.flat_BH)
    assert same(ask(copy.deepcopy(step), problem), found)


def test_a_copied_frame_reads_its_own_mean() -> None:
    frame = RowFrame(mean_BG1D=torch.zeros(1, 2, 1, 64).bfloat16(), turned=True)
    assert frame.place is not None
    for other in (copy.deepcopy(frame), pickle.loads(pickle.dumps(frame))):
        assert other.place is not None
        assert other.place != frame.place
        assert torch.equal(other.mean_BG1D, frame.mean_BG1D)


def test_rows_written_between_two_calls_are_read() -> None:
    problem = make_problem(20)
    step, before = (
        step_of(problem),
        decode_attention(problem.query, problem.key, problem.value, problem.count),
    )
    assert same(ask(step, problem), before)
    assert step.evicted_B is None
    row = torch.randn(problem.count.shape[0], problem.key.msb.shape[1], 64)
    problem.key.write(torch.zeros_like(problem.count), row)
    after = decode_attention(problem.query, problem.key, problem.value, problem.count)
    assert not same(after, before)
    assert same(ask(step, problem), after)


def test_context_outlives_the_next_call() -> None:
    problem = make_problem(20)
    step = step_of(problem)
    first = ask(step, problem).context_BHD
    kept = first.clone()
    step(2 * problem.query, problem.count)
    assert torch.equal(first, kept)


def test_copy_reads_its_own_rows() -> None:
    problem = make_problem(20)
    step = step_of(problem, total_BC=torch.zeros(2, 20))
    twin = copy.deepcopy(step)
    before = ask(twin, problem).context_BHD
    for plane in (problem.key.msb, problem.value.msb):
        plane.fill_(1)
    assert torch.equal(ask(twin, problem).context_BHD, before)
    assert step.total_BC is not None
    assert not step.total_BC.any()


@pytest.mark.parametrize(
    "how", ["bfloat16 queries", "strided queries", "int32 counts", "strided rows", "watched"]
)
def test_what_cannot_be_packed_is_computed_all_the_same(how: str) -> None:
    problem = make_problem(20)
    query, count, key = problem.query, problem.count, problem.key
    assert isinstance(key, PlaneRows)
    if how == "bfloat16 queries":
        query = query.bfloat16()
    elif how == "strided queries":
        query = query.repeat_interleave(2, dim=2)[..., ::2]
    elif how == "int32 counts":
        count = count.int()
    elif how == "strided rows":
        msb = key.msb.repeat_interleave(2, dim=3)[..., ::2]
        key = PlaneRows(msb=msb, lsb=key.lsb, scale=key.scale, msb_bits=key.msb_bits, width=key.width)
        assert key.place is None
    expected = decode_attention(query, key, problem.value, count)
    total = torch.zeros_like(expected.importance_BC)
    step = DecodeStep(key, problem.value, query.shape[1], total_BC=total)
    with FlopCounterMode(display=False) as flops:
        result = step(query, count) if how == "watched" else expected
    result = step(query, count) if how != "watched" else result
    assert same(result, expected)
    assert torch.equal(total, expected.importance_BC)
    assert (flops.get_total_flops() > 0) == (how == "watched")


def test_bad_input_is_named() -> None:
    problem = make_problem(20)
    key, value, heads = problem.key, problem.value, problem.query.shape[1]
    with pytest.raises(UserError, match=r"total must be torch.float32 of shape \(2, 20\)"):
        DecodeStep(key, value, heads, total_BC=torch.zeros(2, 19))
    with pytest.raises(UserError, match=r"protected must be torch.bool"):
        DecodeStep(key, value, heads, protected_BC=torch.zeros(2, 19, dtype=torch.bool))
    with pytest.raises(UserError, match="keys without a plane of LSBs"):
        DecodeStep(FloatRows(rows=torch.zeros(2, 2, 20, 64)), value, heads, threshold=0.1)
    step = DecodeStep(key, value, heads, total_BC=torch.zeros(2, 20))
    with pytest.raises(UserError, match="count"):
        step(problem.query, problem.count + 20)
    with pytest.raises(UserError, match="without gradients"):
        step(problem.query.clone().requires_grad_(), problem.count)
    with pytest.raises(UserError, match="importance must be free of NaN"):
        step(problem.query * math.nan, problem.count)


@pytest.mark.skipif(not HAS_CPU, reason="there is no compiled kernel here")
def test_number_of_threads_is_asked_for_at_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make_problem(20)
    step = step_of(problem)
    asked: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: asked.append(1) or 2)
    ask(step, problem)
    ask(step, problem)
    assert len(asked) == 2
    assert step._packed is not None
    assert int.from_bytes(step._packed._memory.raw[41 * 8 : 42 * 8], "little") == 2
