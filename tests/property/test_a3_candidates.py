"""A3's greedy candidate search: what sorting all products gives, for any shape, any number of iterations, and ties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from multum.accelerator.rivals import greedy_candidates, rows_after_scoring, sort_channels, sorted_candidates
from multum.core import UserError

SMALL = st.integers(-2, 2)
"""Few different values: most products tie."""
WIDE = st.integers(-128, 127)
"""What eight bits hold."""


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """A query, keys, and iterations from one to more than there are products."""
    num_keys, width = draw(st.integers(1, 9)), draw(st.integers(1, 7))
    values = draw(st.sampled_from([SMALL, WIDE]))
    query = draw(arrays(np.int64, width, elements=values))
    key = draw(arrays(np.int64, (num_keys, width), elements=values))
    return query, key, draw(st.integers(1, num_keys * width + 3))


@given(problems())
def test_the_search_finds_what_sorting_all_products_finds(
    problem: tuple[np.ndarray, np.ndarray, int],
) -> None:
    greedy, wanted = greedy_candidates(*problem), sorted_candidates(*problem)
    np.testing.assert_array_equal(greedy.partial_N, wanted.partial_N)
    np.testing.assert_array_equal(greedy.rows, wanted.rows)


@given(problems())
def test_there_are_at_most_as_many_candidates_as_iterations(
    problem: tuple[np.ndarray, np.ndarray, int],
) -> None:
    found = greedy_candidates(*problem)
    assert len(found.rows) <= problem[2]
    assert found.rows.tolist() == sorted(set(found.rows.tolist()))
    assert (found.partial_N[found.rows] > 0).all()


@given(problems())
def test_with_an_iteration_for_each_product_partial_scores_are_the_scores(
    problem: tuple[np.ndarray, np.ndarray, int],
) -> None:
    query, key, _ = problem
    found = greedy_candidates(query, key, key.size)
    np.testing.assert_array_equal(found.partial_N, key @ query)


@given(problems())
def test_what_is_taken_is_worth_what_the_largest_products_are_worth(
    problem: tuple[np.ndarray, np.ndarray, int],
) -> None:
    """Ties decide which key gets a product, never how much is added up in all."""
    query, key, iterations = problem
    products = np.sort((key * query).ravel())
    largest = products[::-1][:iterations].clip(min=0).sum()
    smallest = products[:iterations].clip(max=0).sum()
    assert greedy_candidates(query, key, iterations).partial_N.sum() == largest + smallest


@given(problems())
def test_channels_are_sorted_and_equal_keys_stay_in_order(
    problem: tuple[np.ndarray, np.ndarray, int],
) -> None:
    _, key, _ = problem
    order = sort_channels(key)
    for channel in range(key.shape[1]):
        places = order[:, channel].tolist()
        assert places == sorted(range(len(key)), key=lambda row: (key[row, channel], row))


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=20), st.sampled_from([0.05, 0.1, 0.5, 1.0]))
def test_rows_stay_whose_weight_is_a_part_of_the_largest(scores: list[float], threshold: float) -> None:
    score = np.array(scores)
    kept = rows_after_scoring(score, threshold)
    assert int(score.argmax()) in kept
    weight = np.exp(score - score.max())
    assert (weight[kept] >= threshold * (1 - 1e-9)).all()
    assert (np.delete(weight, kept) <= threshold * (1 + 1e-9)).all()


def test_ties_go_to_the_lower_channel_and_to_the_key_that_a_pointer_meets_first() -> None:
    ones = np.ones((2, 2), dtype=np.int64)
    down = [greedy_candidates(np.array([2, 2]), ones, it).partial_N.tolist() for it in (1, 2, 3, 4)]
    assert down == [[0, 2], [2, 2], [2, 4], [4, 4]]
    up = [greedy_candidates(np.array([-2, -2]), -ones, it).partial_N.tolist() for it in (1, 2, 3, 4)]
    assert up == [[2, 0], [2, 2], [4, 2], [4, 4]]


@pytest.mark.parametrize(
    ("query", "key", "iterations", "message"),
    [
        ([1.5], [[1]], 1, "query_D must be integers of 1 dimension"),
        ([1], [1], 1, "key_ND must be integers of 2 dimension"),
        ([1, 2], [[1]], 1, "key_ND must be of 2 channels, as the query"),
        ([1], [[1]], 0, "num_iterations must be at least 1; got 0"),
    ],
)
def test_what_cannot_be_searched_is_refused(query: list, key: list, iterations: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        greedy_candidates(np.array(query), np.array(key), iterations)


@pytest.mark.parametrize("threshold", [0.0, 1.5])
def test_a_threshold_outside_its_range_is_refused(threshold: float) -> None:
    with pytest.raises(UserError, match=r"threshold must be in \(0, 1\]"):
        rows_after_scoring(np.array([1.0]), threshold)
