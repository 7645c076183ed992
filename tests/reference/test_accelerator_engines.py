"""The two engines: the compiled one agrees with the one that steps cycle by cycle, in every number."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multum.accelerator.architecture import Architecture, spatten_eighth
from multum.accelerator.hbm import HbmShape, HbmTimings
from multum.accelerator.simulator import simulate
from multum.accelerator.workload import Workload

# few channels and short refresh intervals: the reference is slow, and refreshes shall fall into short runs
SMALL = replace(spatten_eighth(), hbm_timings=HbmTimings(refi=700))
ONE_EACH = replace(
    SMALL,
    hbm=HbmShape(channels=3, pseudo_channels=1, bank_groups=2, banks_per_group=2, row_bytes=256),
    key_sram=replace(SMALL.key_sram, buffers=1),
    value_sram=replace(SMALL.value_sram, buffers=1),
    address_crossbar=replace(SMALL.address_crossbar, fifo_depth=3),
)
FAST_CLOCK = replace(SMALL, clock_ghz=2.0)


@st.composite
def counts(draw: st.DrawFn) -> dict[str, Any]:
    """Few rows of every kind: pruned or not, one query or several, all bits, flat rows, tokens chosen."""
    iterations, layers = 1, draw(st.integers(1, 2))
    shape = [(step, layer) for step in range(iterations) for layer in range(layers)]
    keys = {at: draw(st.one_of(st.integers(1, 20), st.integers(1, 70))) for at in shape}
    values = {at: draw(st.one_of(st.just(keys[at]), st.integers(1, keys[at]))) for at in shape}
    progressive = draw(st.booleans())
    queries = {at: draw(st.sampled_from([1, 1, 1, 3])) for at in shape}
    requant = {at: progressive and draw(st.booleans()) for at in shape}
    topk = {at: draw(st.one_of(st.just(-1), st.integers(1, keys[at]))) for at in shape}
    longer = draw(st.integers(0, 60))
    bits = st.sampled_from([4, 6, 8, 10, 12, None])

    def table(entries: dict) -> list:
        return [[entries[step, layer] for layer in range(layers)] for step in range(iterations)]

    return {
        "keys": table(keys),
        "heads": draw(st.integers(1, 3)),
        "values": table(values),
        "lengths": [max(row) + longer for row in table(keys)],
        "head_width": draw(st.sampled_from([64, 32, 128, 80])),
        "num_queries": table(queries),
        "query_bits": 12,
        "key_bits": draw(bits),
        "value_bits": draw(bits),
        "lsb_bits": 4 if progressive else None,
        "threshold": 0.1 if progressive else None,
        "requant": table(requant),
        "topk": table(topk),
    }


def assert_equal(workload: Workload, architecture: Architecture, **options: bool) -> None:
    slow = simulate(workload, architecture, impl="reference", **options)
    fast = simulate(workload, architecture, impl="cpu", **options)
    np.testing.assert_array_equal(slow.times, fast.times)
    assert slow.unit_busy_cycles == fast.unit_busy_cycles
    assert slow.dram == fast.dram


@pytest.mark.parametrize("overlap", [True, False], ids=["overlapping", "serial"])
@pytest.mark.parametrize("ideal_dram", [True, False], ids=["ideal", "hbm"])
@pytest.mark.parametrize(
    "architecture", [SMALL, ONE_EACH, FAST_CLOCK], ids=["small", "one_buffer", "fast_clock"]
)
@settings(max_examples=5, deadline=None)
@given(rows=counts())
def test_engines_agree_to_the_cycle(
    architecture: Architecture, ideal_dram: bool, overlap: bool, rows: dict[str, Any]
) -> None:
    assert_equal(Workload.from_counts(**rows), architecture, ideal_dram=ideal_dram, overlap=overlap)


def test_engines_agree_on_rows_that_fill_the_softmax_fifo() -> None:
    prompt = Workload.from_counts(keys=[[700]], heads=1, num_queries=5, key_bits=8, value_bits=8)
    assert_equal(prompt, SMALL, ideal_dram=True)


def test_engines_agree_on_the_whole_architecture() -> None:
    step = Workload.from_counts(
        keys=[[96, 60]], heads=2, values=[[30, 60]], lengths=[130], key_bits=12, value_bits=8, topk=[[60, -1]]
    )
    assert_equal(step, Architecture())


def test_a_flat_row_throws_back_the_one_behind_it() -> None:
    workload = Workload.from_counts(
        keys=[[120]],
        heads=4,
        values=[[40]],
        key_bits=6,
        value_bits=6,
        lsb_bits=4,
        threshold=0.1,
        requant=[[True]],
    )
    assert_equal(workload, SMALL)
    flat = simulate(workload, SMALL)
    rows = {name: getattr(workload, name) for name in workload.columns()}
    sharp = simulate(Workload(**{**rows, "if_requant": np.zeros(4, dtype=bool)}), SMALL)
    assert flat.cycles > sharp.cycles
    assert flat.dram.useful_bytes - sharp.dram.useful_bytes == 4 * 120 * 64 * 4 // 8
