"""A row's cycles against the reference model's bound: its slowest unit, and the pipeline's fill where it was empty."""

import math

import numpy as np
import pytest

from multum.accelerator.architecture import Architecture, spatten_eighth
from multum.accelerator.simulation import TIMES
from multum.accelerator.simulator import simulate
from multum.accelerator.topk_engine import TopkEngine
from multum.accelerator.topk_expectation import expected_search_cycles
from multum.accelerator.workload import Workload

SOFTMAX_FIRST, SOFTMAX_SECOND, ARRAY = 7 + 21 + 23, 29 + 7, 7
BYTES_PER_CYCLE = 512


def topk_cycles(keys: int, values: int) -> float:
    """Search and filter, 16 items a cycle."""
    if values >= keys:
        return 0.0
    return expected_search_cycles(TopkEngine(), keys, values) + math.ceil(keys / 16) + 3


def bound(keys: int, values: int, key_bytes: int, value_bytes: int) -> float:
    """Steady state: nothing is faster than its slowest unit."""
    fetch = (keys * key_bytes + values * value_bytes) / BYTES_PER_CYCLE
    return max(math.ceil(keys / 8), math.ceil(values / 8), fetch, topk_cycles(keys, values))


def first_of_layer(keys: int, values: int, key_bytes: int, value_bytes: int) -> float:
    """From an empty pipeline: one unit after the other."""
    fetch_keys, fetch_values = keys * key_bytes / BYTES_PER_CYCLE, values * value_bytes / BYTES_PER_CYCLE
    words = math.ceil(keys / 8)
    chain = fetch_keys + ARRAY + words + SOFTMAX_FIRST + words + SOFTMAX_SECOND + topk_cycles(keys, values)
    ready = chain + fetch_values if values < keys else max(chain, fetch_keys + fetch_values)
    return ready + math.ceil(values / 8) + ARRAY


@pytest.mark.parametrize(
    ("keys", "values", "key_bits", "value_bits"),
    [(993, 307, 12, 8), (614, 184, 12, 8), (307, 92, 12, 8), (1024, 1024, None, None), (512, 512, 8, 8)],
)
def test_rows_of_a_layer_take_as_long_as_their_slowest_unit(
    keys: int, values: int, key_bits: int | None, value_bits: int | None
) -> None:
    workload = Workload.from_counts(
        keys=[[keys] * 2], heads=8, values=[[values] * 2], key_bits=key_bits, value_bits=value_bits
    )
    key_bytes, value_bytes = 64 * (key_bits or 32) // 8, 64 * (value_bits or 32) // 8
    found = simulate(workload, ideal_dram=True).row_cycles.reshape(2, 8)
    np.testing.assert_allclose(found[:, 0], first_of_layer(keys, values, key_bytes, value_bytes), rtol=0.01)
    np.testing.assert_allclose(found[:, 1:], bound(keys, values, key_bytes, value_bytes), rtol=0.01)


def test_queries_of_a_prompt_meet_keys_that_are_loaded_once() -> None:
    one, many = (
        simulate(
            Workload.from_counts(keys=[[200]], heads=1, num_queries=queries, key_bits=8, value_bits=8),
            ideal_dram=True,
        )
        for queries in (1, 101)
    )
    assert many.dram == one.dram
    assert many.cycles - one.cycles == 100 * math.ceil(200 / 8)


def test_long_rows_wait_for_room_among_the_exponentials() -> None:
    """1,000 scores are 125 of the FIFO's 128 words: the next row may send its own when the sum is known, not before."""
    options = {"keys": [[1000]], "heads": 1, "key_bits": 8, "value_bits": 8}
    one, many = (
        simulate(Workload.from_counts(**options, num_queries=queries), ideal_dram=True) for queries in (1, 51)
    )
    accumulate = 23
    assert many.cycles - one.cycles == 50 * (1000 // 8 + accumulate)


def test_a_layer_begins_when_the_one_before_is_finished_and_its_tokens_are_chosen() -> None:
    options = {"keys": [[900, 300]], "heads": 2, "values": [[900, 300]], "key_bits": 8, "value_bits": 8}
    found = simulate(Workload.from_counts(**options, topk=[[300, -1]]), ideal_dram=True)
    asked = found.times[:, TIMES.index("keys asked")]
    probabilities = found.times[1, TIMES.index("probabilities")]
    choice = round(expected_search_cycles(TopkEngine(), 900, 300)) + math.ceil(900 / 16) + 3
    importance = 1
    assert asked[2] == max(found.finish_cycle[1], probabilities + importance + choice)
    without = simulate(Workload.from_counts(**options), ideal_dram=True)
    assert without.times[2, 0] == without.finish_cycle[1] <= asked[2]


def test_the_serial_sum_adds_up_what_rows_take_alone() -> None:
    rows = {"heads": 1, "key_bits": 8, "value_bits": 8}
    alone = [
        simulate(Workload.from_counts(keys=[[keys]], values=[[values]], **rows), ideal_dram=True).cycles
        for keys, values in ((300, 100), (80, 80))
    ]
    both = Workload.from_counts(keys=[[300, 80]], values=[[100, 80]], **rows)
    assert simulate(both, ideal_dram=True, overlap=False).cycles == sum(alone)


def test_real_memory_is_never_faster_than_ideal_memory() -> None:
    workload = Workload.from_counts(
        keys=[[600, 300]], heads=6, values=[[200, 300]], lengths=[700], key_bits=12, value_bits=8
    )
    ideal, real = simulate(workload, ideal_dram=True), simulate(workload)
    assert (real.finish_cycle >= ideal.finish_cycle).all()
    assert real.dram.useful_bytes == ideal.dram.useful_bytes == real.dram.moved_bytes
    assert real.dram_efficiency < 1.0


def test_an_eighth_of_the_machine_takes_eight_times_as_long_where_memory_is_the_bound() -> None:
    dense = Workload.from_counts(keys=[[512] * 4], heads=4)
    whole, eighth = simulate(dense, ideal_dram=True), simulate(dense, spatten_eighth(), ideal_dram=True)
    assert eighth.cycles / whole.cycles == pytest.approx(8, rel=0.06)


def test_what_a_unit_is_busy_with_is_a_count() -> None:
    workload = Workload.from_counts(keys=[[100, 60]], heads=3, values=[[40, 60]], key_bits=8, value_bits=8)
    busy = simulate(workload, ideal_dram=True).unit_busy_cycles
    words = 3 * (math.ceil(100 / 8) + math.ceil(60 / 8))
    assert busy["Q x K"] == busy["softmax"] == words
    assert busy["prob x V"] == 3 * (40 // 8 + math.ceil(60 / 8))
    assert busy["top-k (values)"] == 3 * (round(expected_search_cycles(TopkEngine(), 100, 40)) + 7 + 3)


def test_cycles_are_seconds_at_the_clock() -> None:
    workload = Workload.from_counts(keys=[[256]], heads=4, key_bits=8, value_bits=8)
    found = simulate(workload, Architecture(clock_ghz=2.0), ideal_dram=True)
    assert found.seconds == found.cycles / 2e9
    assert found.flops == pytest.approx(2 * 2 * 256 * 64 * 4 / found.seconds)
