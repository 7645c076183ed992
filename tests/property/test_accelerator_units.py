"""The units' functions on anything: exact where integers are, near real numbers where they are not, nothing lost."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from multum.accelerator.bitwidth_converter import join_planes, numbers_per_transaction, widen
from multum.accelerator.crossbar import Crossbar
from multum.accelerator.importance import add_head, add_tokens
from multum.accelerator.prob_value import probabilities_times_values
from multum.accelerator.query_key import query_times_keys
from multum.accelerator.requantization import wants_lsbs
from multum.accelerator.softmax import LARGEST, softmax_probabilities, taylor_exponential
from multum.accelerator.sram import DoubleBuffer

NUMBERS = st.integers(-2048, 2047)


@given(st.lists(NUMBERS, min_size=1, max_size=20), st.sampled_from([4, 6, 8]))
def test_planes_cut_apart_and_joined_are_what_they_were(numbers: list[int], msb_bits: int) -> None:
    whole = np.array(numbers)
    short = 12 - msb_bits - 4
    most, least = whole >> (12 - msb_bits), (whole >> short) & 15
    assert join_planes(most, least, msb_bits).tolist() == ((whole >> short) << short).tolist()
    assert np.abs(widen(most, msb_bits) - whole).max() < 1 << (12 - msb_bits)
    assert (
        numbers_per_transaction(msb_bits) * msb_bits
        <= 256
        < (numbers_per_transaction(msb_bits) + 1) * msb_bits
    )


@given(st.data(), st.integers(1, 70), st.integers(1, 9))
def test_products_are_exact(data: st.DataObject, width: int, rows: int) -> None:
    query = data.draw(st.lists(NUMBERS, min_size=width, max_size=width))
    keys = data.draw(
        st.lists(st.lists(NUMBERS, min_size=width, max_size=width), min_size=rows, max_size=rows)
    )
    found = query_times_keys(np.array(query), np.array(keys))
    assert found.tolist() == [sum(q * k for q, k in zip(query, key, strict=True)) for key in keys]
    prob = data.draw(st.lists(st.integers(0, LARGEST), min_size=rows, max_size=rows))
    output = probabilities_times_values(np.array(prob), np.array(keys))
    assert output.tolist() == [
        sum(p * row[channel] for p, row in zip(prob, keys, strict=True)) for channel in range(width)
    ]


@given(st.lists(st.integers(-(2**29), 2**29), min_size=1, max_size=60), st.floats(1e-9, 1e-2))
def test_probabilities_are_those_of_a_softmax(scores: list[int], scale: float) -> None:
    found = softmax_probabilities(np.array(scores), scale)
    largest = max(scores)
    weights = [math.exp(max(-700.0, scale * (score - largest))) for score in scores]
    wanted = [weight / sum(weights) * LARGEST for weight in weights]
    assert np.abs(found - np.array(wanted)).max() <= 0.55
    assert found.min() >= 0
    assert wants_lsbs(found, 1.0) == bool(found.max() < LARGEST)
    assert not wants_lsbs(found, 0.0)


@given(st.floats(-80, 1))
def test_the_polynomial_is_as_near_as_it_says(x: float) -> None:
    found = float(taylor_exponential(np.array([x], dtype=np.float32))[0])
    exact = math.exp(float(np.float32(x)))
    assert abs(found - exact) <= 3.4e-6 * exact + 1e-7 * abs(x) * exact


@given(st.data(), st.integers(1, 8), st.integers(1, 6))
def test_a_crossbar_loses_nothing_and_never_collides(data: st.DataObject, inputs: int, outputs: int) -> None:
    crossbar = Crossbar(inputs=inputs, outputs=outputs)
    wanted = st.lists(st.integers(0, outputs - 1), max_size=12)
    requests = data.draw(st.lists(wanted, min_size=inputs, max_size=inputs))
    grants = crossbar.route(requests)
    assert sorted((it.source, it.order, it.output) for it in grants) == [
        (source, order, output) for source, queue in enumerate(requests) for order, output in enumerate(queue)
    ]
    assert len({(it.cycle, it.output) for it in grants}) == len(grants)
    assert len({(it.cycle, it.source) for it in grants}) == len(grants)
    for source in range(inputs):
        cycles = [it.cycle for it in sorted(grants, key=lambda it: it.order) if it.source == source]
        assert cycles == sorted(cycles)
    total = max((it.cycle for it in grants), default=-1) + 1
    assert crossbar.least_cycles(requests) <= total <= sum(map(len, requests))
    left = {(it.source, it.order): it.cycle for it in grants}
    for it in grants:
        first = left.get((it.source, it.order - 1), -1) + 1  # from here on it was the oldest of its input
        overtaken = sum(other.output == it.output and first <= other.cycle < it.cycle for other in grants)
        assert overtaken <= inputs - 1


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=15))
def test_two_buffers_are_never_slower_than_one_nor_faster_than_the_longer_part(
    loads: list[tuple[int, int]],
) -> None:
    fetch, read = [it for it, _ in loads], [it for _, it in loads]
    one, two, many = (DoubleBuffer(buffers=count).finish_cycles(fetch, read)[-1] for count in (1, 2, 99))
    assert sum(fetch) + sum(read) == one
    assert max(sum(fetch) + read[-1], fetch[0] + sum(read)) <= many <= two <= one


@given(st.lists(st.integers(0, LARGEST), min_size=3, max_size=3), st.lists(NUMBERS, max_size=5))
def test_counters_add_up(prob: list[int], output: list[int]) -> None:
    counter = add_tokens(np.zeros(6, dtype=np.int64), np.array([5, 0, 2]), np.array(prob))
    assert counter.tolist() == [prob[1], 0, prob[2], 0, 0, prob[0]]
    assert add_head(7, np.array(output, dtype=np.int64)) == 7 + sum(map(abs, output))
