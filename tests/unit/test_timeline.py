"""The timeline: a file that viewers read, with every row in it, in which no track does two things at a time."""

import itertools
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multum.accelerator import Architecture, Simulation, Workload, simulate
from multum.accelerator.timeline import (
    EXCLUSIVE,
    MOST_EVENTS,
    MOST_ROWS,
    TRACKS,
    bars_of,
    chosen_rows,
    lanes,
    write_timeline,
)
from multum.core import UserError

FULL = {
    "heads": 3,
    "values": [[40, 20], [30, 64]],
    "key_bits": 8,
    "value_bits": 8,
    "lsb_bits": 4,
    "threshold": 0.1,
}


def run_of(**changes: Any) -> Simulation:
    clock = changes.pop("clock_ghz", 1.0)
    work = Workload.from_counts(**{"keys": [[100, 64], [101, 64]], **FULL, **changes})
    return simulate(work, Architecture(clock_ghz=clock))


RUNS = {
    "generation": {"topk": [[64, -1], [64, -1]]},
    "flat rows": {"requant": [[True, False], [False, True]]},
    "many queries": {"num_queries": [[100, 64], [1, 7]]},
    "another clock": {"clock_ghz": 1.5},
    "slow clock": {"clock_ghz": 0.5},
}


@pytest.fixture(params=RUNS)
def run(request: pytest.FixtureRequest) -> Simulation:
    return run_of(**RUNS[request.param])


def events_in(path: Path) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """Bars, and the names of the tracks."""
    trace = json.loads(path.read_text(encoding="utf-8"))
    events = trace["traceEvents"]
    names = {it["tid"]: it["args"]["name"] for it in events if it["name"] == "thread_name"}
    return [it for it in events if it["ph"] == "X"], names


def test_file_has_what_the_format_demands(run: Simulation, tmp_path: Path) -> None:
    drawn = write_timeline(run, tmp_path / "run.json")
    trace = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert trace["displayTimeUnit"] in ("ms", "ns")
    for event in trace["traceEvents"]:
        assert isinstance(event["name"], str)
        assert event["ph"] in ("X", "M")
        assert type(event["pid"]) is type(event["tid"]) is int
        assert isinstance(event["args"], dict)
    bars, names = events_in(tmp_path / "run.json")
    assert len(bars) == drawn
    for bar in bars:
        assert bar["ts"] >= 0
        assert bar["dur"] >= 0
        assert bar["cat"] in TRACKS
        assert names[bar["tid"]].startswith(bar["cat"])
    sorts = {it["args"]["sort_index"] for it in trace["traceEvents"] if it["name"] == "thread_sort_index"}
    assert len(sorts) == len(names)


def test_no_track_does_two_things_at_a_time(run: Simulation, tmp_path: Path) -> None:
    write_timeline(run, tmp_path / "run.json")
    bars, _ = events_in(tmp_path / "run.json")
    by_track = defaultdict(list)
    for bar in bars:  # viewers count whole nanoseconds
        start, length = round(bar["ts"] * 1000), round(bar["dur"] * 1000)
        by_track[bar["tid"]].append((start, start + length))
        by_track[bar["tid"], "cycles"].append(
            (bar["args"]["cycle"], bar["args"]["cycle"] + bar["args"]["cycles"])
        )
    for spans in by_track.values():
        spans.sort()
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_exclusive_units_have_one_track(run: Simulation, tmp_path: Path) -> None:
    write_timeline(run, tmp_path / "run.json")
    _, names = events_in(tmp_path / "run.json")
    for unit in EXCLUSIVE:
        assert [name for name in names.values() if name.startswith(unit)] == [unit]


def test_every_row_appears_in_every_unit_that_it_uses(run: Simulation, tmp_path: Path) -> None:
    write_timeline(run, tmp_path / "run.json")
    bars, _ = events_in(tmp_path / "run.json")
    work = run.workload
    rows = defaultdict(set)
    for bar in bars:
        row, told = bar["args"]["row"], bar["args"]
        rows[bar["cat"]].add(row)
        assert (
            bar["name"]
            == f"iteration {work.iteration_id[row]}, layer {work.layer_id[row]}, head {work.head_id[row]}"
        )
        counts = work.key_fetch_num[row], work.value_fetch_num[row], work.num_queries[row]
        assert (told["keys"], told["values"], told["queries"]) == counts
    everything = set(range(len(work)))
    chooses = work.value_fetch_num < work.key_fetch_num
    for unit in TRACKS:
        expected = {
            "top-k (values)": set(np.flatnonzero(chooses).tolist()),
            "top-k (tokens)": set(np.flatnonzero(work.if_topk).tolist()),
        }.get(unit, everything)
        assert rows[unit] == expected, unit


@pytest.mark.parametrize("name", [it for it in RUNS if it != "flat rows"])
def test_bars_of_exclusive_units_add_up_to_what_the_engine_counted(name: str) -> None:
    run = run_of(**RUNS[name])
    for bars in bars_of(run, range(len(run.workload))):
        assert int(bars.end.max(initial=0)) <= run.cycles
        if bars.unit in EXCLUSIVE:
            assert int((bars.end - bars.start).sum()) == run.unit_busy_cycles[bars.unit], bars.unit


def test_a_flat_row_is_drawn_once_and_counted_twice() -> None:
    run = run_of(**RUNS["flat rows"])
    drawn = {it.unit: int((it.end - it.start).sum()) for it in bars_of(run, range(len(run.workload)))}
    assert drawn["Q x K"] < run.unit_busy_cycles["Q x K"]
    assert drawn["prob x V"] == run.unit_busy_cycles["prob x V"]


@given(
    keys=st.lists(st.integers(1, 200), min_size=1, max_size=4),
    part=st.floats(0.05, 1),
    heads=st.integers(1, 4),
    flat=st.booleans(),
    num_queries=st.sampled_from([1, 1, 3]),
)
def test_any_run_has_a_timeline(
    keys: list[int], part: float, heads: int, flat: bool, num_queries: int
) -> None:
    values = [[max(1, int(part * it)) for it in keys]]
    work = Workload.from_counts(
        keys=[keys],
        values=values,
        heads=heads,
        key_bits=8,
        lsb_bits=4,
        threshold=0.1,
        requant=flat,
        num_queries=num_queries,
    )
    run = simulate(work)
    for bars in bars_of(run, range(len(work))):
        if bars.unit in EXCLUSIVE and len(bars.row):
            assert lanes(bars.start, bars.end).max() == 0
        assert (bars.start >= 0).all()


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=30))
def test_lanes_keep_bars_apart_and_are_as_few_as_can_be(spans: list[tuple[int, int]]) -> None:
    start = np.array([first for first, _ in spans], dtype=np.int64)
    end = np.array([first + length for first, length in spans], dtype=np.int64)
    lane = lanes(start, end)
    for one in range(len(spans)):
        for other in range(one):
            if lane[one] == lane[other]:
                assert end[one] <= start[other] or end[other] <= start[one]
    at_once = max((int(((start <= time) & (time < end)).sum()) for time in start), default=0)
    assert len(set(lane.tolist())) == at_once


def test_chosen_rows_alone_are_drawn(tmp_path: Path) -> None:
    write_timeline(run_of(), tmp_path / "run.json", rows=slice(2, 5))
    bars, _ = events_in(tmp_path / "run.json")
    assert {bar["args"]["row"] for bar in bars} == {2, 3, 4}


def test_rows_that_are_not_there_are_refused() -> None:
    with pytest.raises(UserError, match="rows must be some of the workload's rows, 0 to 11"):
        chosen_rows(12, slice(12, None))


def test_a_file_that_no_browser_could_show_is_refused_with_a_way_out() -> None:
    assert len(chosen_rows(MOST_ROWS, None)) * len(TRACKS) <= MOST_EVENTS
    with pytest.raises(
        UserError, match=r"at most 28,571 rows \(200,000 bars\); got 28572; choose some with rows"
    ):
        chosen_rows(MOST_ROWS + 1, None)
    assert len(chosen_rows(10**6, slice(5, 10))) == 5
