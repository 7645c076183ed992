"""The top-k engine's times against closed forms, and against the means that the authors' description gives."""

import math

import numpy as np
import pytest

from multum.accelerator.lfsr import Lfsr
from multum.accelerator.odd_even_sorter import exchanges, num_exchanges, sorter_cycles
from multum.accelerator.topk_engine import TopkEngine, mean_search_cycles
from multum.core import UserError, published

NUM_DRAWS = 400
REFERENCE = [(128, 64, 16), (512, 64, 16), (1024, 512, 16), (1024, 204, 16), (307, 92, 16), (1024, 512, 1)]


def mean_and_error(num_items: int, k: int, parallelism: int) -> tuple[float, float]:
    """Mean cycles of the search over random orders, and the standard error of that mean."""
    generator = np.random.default_rng(0)
    engine = TopkEngine(parallelism=parallelism, fifo_depth=1024)
    cycles = [engine.select(generator.permutation(num_items), k).search_cycles for _ in range(NUM_DRAWS)]
    return float(np.mean(cycles)), float(np.std(cycles) / math.sqrt(NUM_DRAWS))


@pytest.mark.parametrize(("num_items", "k", "parallelism"), REFERENCE)
def test_mean_searches_are_those_of_the_reference(num_items: int, k: int, parallelism: int) -> None:
    mean, error = mean_and_error(num_items, k, parallelism)
    reference = published("spatten", f"topk_mean_cycles_{num_items}_{k}_{parallelism}").number
    assert abs(mean - reference) <= 0.05 * reference + 2 * error


@pytest.mark.parametrize(("num_items", "k"), [(1, 1), (2, 1), (50, 7), (300, 150), (1024, 512)])
def test_one_item_a_cycle_takes_what_knuth_expects(num_items: int, k: int) -> None:
    mean, error = mean_and_error(num_items, k, 1)
    expected = mean_search_cycles(num_items, k) if k < num_items else 0.0
    assert abs(mean - expected) <= 4 * error + 0.02 * expected


def test_the_shift_register_repeats_only_after_all_its_states() -> None:
    register, seen = Lfsr(), set()
    while register.state not in seen:
        seen.add(register.state)
        register.step()
    assert len(seen) == 2**16 - 1
    assert register.state == Lfsr().state
    assert min(Lfsr(state).below(7) for state in (1, 40_000)) == 0
    assert Lfsr(65535).below(7) == 6


@pytest.mark.parametrize("num_inputs", [2, 4, 8, 16, 64, 1024])
def test_the_sorter_has_as_many_exchanges_as_its_formula(num_inputs: int) -> None:
    pairs = list(exchanges(num_inputs))
    assert len(pairs) == num_exchanges(num_inputs)
    assert all(0 <= low < high < num_inputs for low, high in pairs)
    assert sorter_cycles(num_inputs, 1) == len(pairs)


def test_a_stream_of_ties_is_done_in_one_pass() -> None:
    run = TopkEngine().select(np.full(100, 7), 33)
    assert run.kept.tolist() == list(range(33))
    assert [it.num_equal for it in run.passes] == [100]
    assert run.cycles == 2 * (math.ceil(100 / 16) + 3)


def test_the_boundary_that_the_published_pseudocode_misses() -> None:
    """Two above the pivot and two equal to it: with k = 4 the search is over, not in need of smaller ones."""
    scores = np.array([9, 5, 8, 5, 1])
    for seed in range(1, 200):
        run = TopkEngine(seed=seed).select(scores, 4)
        assert run.kept.tolist() == [0, 1, 2, 3]
        if run.passes[0].pivot == 5:
            assert len(run.passes) == 1


@pytest.mark.parametrize(
    ("scores", "k", "message"),
    [
        ([], 1, "scores must be a vector of at least one"),
        ([[1.0]], 1, "scores must be a vector"),
        ([math.nan, 1.0], 1, "scores must be numbers; got 'NaN'"),
        ([1.0], 0, "k must be at least 1; got 0"),
        (range(2000), 5, "scores must be at most 1024, what the FIFOs hold; got 2000"),
    ],
)
def test_what_the_engine_cannot_take_is_refused(scores: object, k: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        TopkEngine().select(np.array(scores), k)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parallelism": 12}, "lanes must be a power of two; got 12"),
        ({"fifo_depth": 0}, "fifo_depth must be at least 1; got 0"),
        ({"seed": 0}, "the seed of the pivots must be in 1..65535; got 0"),
    ],
)
def test_engines_that_cannot_be_are_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TopkEngine(**changes)
