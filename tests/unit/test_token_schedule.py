"""Schedules: what is allowed, how ratios become counts, the paper's linear rule, and the way through JSON."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from multum.attention import TokenSchedule, embedding_schedule, flat_schedule, kept_counts, linear_schedule
from multum.attention.schedule import UNPRUNED_PART
from multum.core import UserError
from multum.core.config import from_dict, load_json, save_json, to_dict


@pytest.mark.usefixtures("as_shipped")
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"keep_ratios": ()}, "keep_ratios must be one ratio per layer"),
        (
            {"keep_ratios": (1.0, 0.0)},
            r"keep_ratios\[1\] must be in \(0, 1\]; got 0.0; it is the part KEPT",
        ),
        ({"keep_ratios": (1.0, 0.5, -0.1)}, r"keep_ratios\[2\] must be in \(0, 1\]; got -0.1"),
        ({"keep_ratios": (1.0, 1.5)}, r"keep_ratios\[1\] must be in \(0, 1\]; got 1.5"),
        ({"keep_ratios": (1.0, math.nan)}, r"keep_ratios\[1\] must be finite; got nan"),
        ({"keep_ratios": (1.0, math.inf)}, r"keep_ratios\[1\] must be finite; got inf"),
        ({"keep_ratios": (1.0, "half")}, r"keep_ratios\[1\] must be a number; got 'half'"),
        ({"keep_ratios": (0.5, 0.5)}, r"keep_ratios\[0\] must be 1 without spare_tokens; got 0.5; no token"),
        ({"keep_ratios": (1.0, 0.4, 0.5)}, r"keep_ratios must be non-increasing; .* it grows after layer 1"),
        ({"min_tokens": 0}, "min_tokens must be at least 1; got 0"),
        ({"min_tokens": 1.5}, "min_tokens must be an int; got 1.5"),
        ({"keep_ratios": 0.5}, "keep_ratios must be a list; got 0.5"),
        ({"window": math.nan}, "window must be an int; got nan"),
        ({"min_tokens": -3}, "min_tokens must be at least 1; got -3"),
        ({"score": "entropy"}, "score must be one of attention, value; got 'entropy'"),
        ({"window": 1}, "window must be at least 2 tokens, or None; got 1"),
        ({"window": 0}, "window must be at least 2 tokens, or None; got 0"),
    ],
)
def test_impossible_schedule_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TokenSchedule(**({"keep_ratios": (1.0, 0.5)} | fields))


@pytest.mark.parametrize(
    ("ratio", "length", "expected"),
    [
        (0.5, 10, 5),
        (0.5, 11, 6),
        (0.1, 30, 3),
        (0.07, 100, 7),  # 0.07 * 100 is 7.000000000000001 in floating point
        (0.55, 100, 55),
        (0.7, 10, 7),
        (0.2, 384, 77),
        (0.001, 384, 1),
        (1.0, 1, 1),
        (1 / 3, 9, 3),
        (0.999999, 10, 10),
    ],
)
def test_ratio_becomes_a_count_rounded_up(ratio: float, length: int, expected: int) -> None:
    assert TokenSchedule(keep_ratios=(1.0, ratio)).num_tokens(1, length) == expected


@pytest.mark.parametrize(("length", "expected"), [(2, 2), (8, 8), (9, 8), (100, 10)])
def test_least_number_of_tokens_is_kept_but_never_more_than_there_are(length: int, expected: int) -> None:
    schedule = TokenSchedule(keep_ratios=(1.0, 0.1), min_tokens=8)
    assert schedule.num_tokens(1, length) == expected
    assert schedule.num_tokens(0, length) == length


ratios = st.lists(st.floats(1e-3, 1.0), max_size=6).map(lambda drawn: (1.0, *sorted(drawn, reverse=True)))


@given(ratios=ratios, length=st.integers(1, 600), min_tokens=st.integers(1, 20))
def test_counts_never_grow_and_never_vanish(ratios: tuple[float, ...], length: int, min_tokens: int) -> None:
    schedule = TokenSchedule(keep_ratios=ratios, min_tokens=min_tokens)
    counts = [schedule.num_tokens(layer, length) for layer in range(schedule.num_layers)]
    assert counts[0] == length
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] >= min(min_tokens, length)
    for ratio, count in zip(ratios, counts, strict=True):
        assert count >= min(length, ratio * length) - 1e-6
        assert count <= max(min_tokens, ratio * length + 1)
    changes = [i for i in range(1, len(counts)) if counts[i] < counts[i - 1]]
    assert schedule.last_pruned_layer >= max(changes, default=0)


def test_each_sentence_of_a_batch_is_counted_by_its_own_length() -> None:
    schedule = TokenSchedule(keep_ratios=(1.0, 0.5, 0.25), min_tokens=2)
    lengths = torch.tensor([1, 4, 9, 100])
    assert kept_counts(schedule, 0, lengths).tolist() == [1, 4, 9, 100]
    assert kept_counts(schedule, 1, lengths).tolist() == [1, 2, 5, 50]
    assert kept_counts(schedule, 2, lengths).tolist() == [1, 2, 3, 25]


@pytest.mark.parametrize(
    ("ratios", "last"), [((1.0,), 0), ((1.0, 1.0), 0), ((1.0, 0.5, 0.5), 1), ((1.0, 0.9, 0.9, 0.3), 3)]
)
def test_last_pruned_layer_is_the_last_that_starts_smaller(ratios: tuple[float, ...], last: int) -> None:
    assert TokenSchedule(keep_ratios=ratios).last_pruned_layer == last


@pytest.mark.parametrize(
    ("keep_ratio", "reduction"), [(1.0, 1.0), (0.5, 1 / (7 / 12)), (0.4, 2.0), (0.3, 2.4)]
)
def test_flat_schedules_reach_the_reductions_that_the_notes_name(keep_ratio: float, reduction: float) -> None:
    assert flat_schedule(6, keep_ratio).token_reduction == pytest.approx(reduction)


def test_flat_schedule_keeps_everything_in_its_dense_layers() -> None:
    assert flat_schedule(5, 0.25, num_dense_layers=3).keep_ratios == (1.0, 1.0, 1.0, 0.25, 0.25)
    assert flat_schedule(3, 0.25, num_dense_layers=3).keep_ratios == (1.0, 1.0, 1.0)
    assert flat_schedule(3, 0.25, min_tokens=7).min_tokens == 7


def test_embedding_schedule_is_flat_scored_by_value_among_neighbours() -> None:
    schedule = embedding_schedule(4, 0.5, min_tokens=3)
    assert schedule.keep_ratios == flat_schedule(4, 0.5).keep_ratios
    assert (schedule.score, schedule.min_tokens) == ("value", 3)
    assert schedule.window is not None


@pytest.mark.parametrize(("num_layers", "num_dense"), [(1, 1), (6, 1), (12, 2), (24, 4)])
def test_paper_leaves_the_first_fifteen_percent_of_layers_unpruned(num_layers: int, num_dense: int) -> None:
    ratios = linear_schedule(num_layers, 0.5, final_keep_ratio=0.25).keep_ratios
    assert len(ratios) == num_layers
    assert ratios[:num_dense] == (1.0,) * num_dense
    assert all(ratio < 1.0 for ratio in ratios[num_dense:])
    assert abs(num_dense - UNPRUNED_PART * num_layers) < 1


@given(
    num_layers=st.integers(3, 24),
    average=st.floats(0.05, 1.0),
    share=st.floats(0.0, 1.0),
)
def test_paper_rule_both_ends_average_to_the_mean(num_layers: int, average: float, share: float) -> None:
    final = average - share * (min(1.0, 2 * average - 1e-3) - average)
    ratios = linear_schedule(num_layers, average, final_keep_ratio=final, num_dense_layers=1).keep_ratios[1:]
    assert ratios[0] + ratios[-1] == pytest.approx(2 * average)
    assert math.fsum(ratios) / len(ratios) == pytest.approx(average)
    steps = [later - earlier for earlier, later in itertools.pairwise(ratios)]
    assert steps == pytest.approx([steps[0]] * len(steps), abs=1e-12)


def test_single_pruned_layer_gets_the_average() -> None:
    assert linear_schedule(2, 0.5, final_keep_ratio=0.2).keep_ratios == (1.0, 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0.5), "num_layers must be at least 1; got 0"),
        ((6, 0.0), r"keep_ratios\[1\] must be in \(0, 1\]; got 0.0"),
        ((6, 1.1), r"keep_ratios\[1\] must be in \(0, 1\]; got 1.1"),
        ((6, 0.5, 0), r"num_dense_layers must be in 1..6; got 0"),
        ((6, 0.5, 7), r"num_dense_layers must be in 1..6; got 7"),
    ],
)
def test_impossible_flat_schedule_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    num_layers, keep_ratio, *dense = arguments
    with pytest.raises(UserError, match=message):
        flat_schedule(num_layers, keep_ratio, **({"num_dense_layers": dense[0]} if dense else {}))


@pytest.mark.parametrize(("average", "final"), [(0.9, 0.5), (0.3, 0.5), (1.0, 0.9), (2.0, 0.5)])
def test_linear_rule_that_leaves_its_bounds_is_refused(average: float, final: float) -> None:
    with pytest.raises(UserError, match=r"average_keep_ratio, final_keep_ratio must be such that"):
        linear_schedule(6, average, final_keep_ratio=final)


def test_linear_rule_that_ends_at_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"keep_ratios\[5\] must be in \(0, 1\]; got 0.0"):
        linear_schedule(6, 0.4, final_keep_ratio=0.0)


@pytest.mark.parametrize(
    "schedule",
    [
        TokenSchedule(keep_ratios=(1.0,)),
        TokenSchedule(keep_ratios=(1.0, 1 / 3), min_tokens=4, protect_first=False, score="value", window=32),
        linear_schedule(12, 0.5, final_keep_ratio=0.1),
    ],
)
def test_schedule_survives_json(schedule: TokenSchedule, tmp_path: Path) -> None:
    save_json(schedule, tmp_path / "schedule.json")
    assert load_json(TokenSchedule, tmp_path / "schedule.json") == schedule


def test_schedule_of_an_unfinished_json_takes_the_defaults() -> None:
    assert from_dict(TokenSchedule, {"keep_ratios": [1, 0.5]}) == TokenSchedule(keep_ratios=(1.0, 0.5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep_ratio": 0.5}, "did you mean keep_ratios"),
        ({"keep_ratios": [1.0, 2.0]}, r"keep_ratios\[1\] must be in \(0, 1\]; got 2.0"),
        ({"score": "entropy"}, "score"),
        ({"min_tokens": "few"}, "min_tokens"),
        ({"window": 1}, "window must be at least 2"),
    ],
)
def test_wrong_json_names_the_key(change: dict[str, Any], message: str) -> None:
    data = to_dict(TokenSchedule(keep_ratios=(1.0, 0.5)))
    with pytest.raises(UserError, match=message):
        from_dict(TokenSchedule, data | change)


def test_schedule_cannot_be_changed_behind_its_back() -> None:
    schedule = TokenSchedule(keep_ratios=(1.0, 0.5))
    with pytest.raises(AttributeError):
        schedule.min_tokens = 3  # type: ignore[misc]
    assert hash(schedule) == hash(TokenSchedule(keep_ratios=(1.0, 0.5)))
