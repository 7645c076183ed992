"""A run as a trace that a browser shows: which row kept which unit busy, and when.

The file is in Chrome's trace event format, as a JSON object; https://ui.perfetto.dev and chrome://tracing open it. A
unit is a track, and a row of the workload leaves one bar on each:

    fetch of keys     from the first request until all keys are on the chip
    Q x K             while the row's queries enter the multipliers
    softmax           from the first score until the last probability
    top-k (values)    while the engine chooses the value rows; nothing where all are kept
    fetch of values   from the request until all values are on the chip
    prob x V          while the products enter the multipliers
    top-k (tokens)    while tokens are chosen, beside the critical path; nothing where none are

Bars of one track may not overlap in this format, and three units cannot hold two rows at a time: both multiplier arrays
and the engine that chooses values. Fetches and the softmax pipeline can, and so get a second track, or more, as needed.

A simulation knows of a row when its first query entered Q x K and when its last one left the other units. Where a row
has many queries, their bar is drawn without the gaps between them: from that first time on in Q x K, up to that last
time in top-k and prob x V. Of a row whose keys' second plane was fetched the second attempt is drawn.

Source: Trace Event Format (Google, docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from multum.accelerator.engine.plan import Plan, plan_of
from multum.accelerator.simulation import TIMES, Simulation
from multum.core import invalid, write_text_atomic

TRACKS = (
    "fetch of keys",
    "Q x K",
    "softmax",
    "top-k (values)",
    "fetch of values",
    "prob x V",
    "top-k (tokens)",
)
"""The units, in the order in which a row meets them."""
EXCLUSIVE = frozenset({"Q x K", "top-k (values)", "prob x V"})
"""Units that hold one row at a time."""
MOST_EVENTS = 200_000
"""Bars of the largest file; a browser is slow with more."""
MOST_ROWS = MOST_EVENTS // len(TRACKS)
"""Rows of the largest file."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Bars:
    """What one unit did, one entry a bar."""

    unit: str
    """Which of `TRACKS`."""
    row: Ints
    """Row of the workload."""
    start: Ints
    """Its first cycle."""
    end: Ints
    """The cycle behind its last."""


def write_timeline(simulation: Simulation, path: Path, *, rows: slice | None = None) -> int:
    """Write a run as a trace, atomically.

    Args:
        simulation: The run.
        path: Where to; best ending in `.json`.
        rows: Rows of the workload to show; None: all.

    Returns:
        How many bars were drawn.

    Raises:
        UserError: No such rows, or more than `MOST_ROWS`.
    """
    chosen = chosen_rows(len(simulation.workload), rows)
    lines = [*_head_events(simulation)]
    drawn = 0
    track = 0
    for bars in bars_of(simulation, chosen):
        lane_of_bar = lanes(bars.start, bars.end)
        num_lanes = 1 + int(lane_of_bar.max(initial=0))
        assert num_lanes == 1 or bars.unit not in EXCLUSIVE, f"two rows at a time in {bars.unit}"
        for lane in range(num_lanes):
            name = bars.unit if lane == 0 else f"{bars.unit} ({lane + 1})"
            lines += [
                _metadata("thread_name", track + lane, {"name": name}),
                _metadata("thread_sort_index", track + lane, {"sort_index": track + lane}),
            ]
        lines += _bar_events(simulation, bars, track + lane_of_bar)
        track += num_lanes
        drawn += len(bars.row)
    write_text_atomic(path, '{"displayTimeUnit":"ns","traceEvents":[\n' + ",\n".join(lines) + "\n]}\n")
    return drawn


def chosen_rows(num_rows: int, rows: slice | None) -> range:
    """The rows that a slice means.

    Raises:
        UserError: None of them is there, or they are more than a file may hold.

    >>> chosen_rows(100, slice(-3, None))
    range(97, 100)
    """
    chosen = range(num_rows)[rows or slice(None)]
    if not chosen:
        raise invalid("rows", f"some of the workload's rows, 0 to {num_rows - 1}", rows)
    if len(chosen) > MOST_ROWS:
        remedy = f"choose some with rows, for instance the first {MOST_ROWS:,}"
        raise invalid(
            "a timeline", f"of at most {MOST_ROWS:,} rows ({MOST_EVENTS:,} bars)", len(chosen), remedy
        )
    return chosen


def bars_of(simulation: Simulation, rows: range) -> Iterator[Bars]:
    """What each unit of `TRACKS` did for these rows, in cycles."""
    architecture = simulation.architecture
    plan = plan_of(simulation.workload, architecture)
    row = np.array(rows, dtype=np.int64)
    spans = _spans(plan, simulation, row)
    for unit in TRACKS:
        start, end = spans[unit]
        is_there = end > start
        yield Bars(unit=unit, row=row[is_there], start=start[is_there], end=end[is_there])


def lanes(start: Ints, end: Ints) -> Ints:
    """Share bars out among as few lanes as possible, so that none overlap in one.

    >>> lanes(np.array([0, 5, 12]), np.array([10, 15, 20])).tolist()
    [0, 1, 0]
    """
    lane = np.zeros(len(start), dtype=np.int64)
    free_from: list[int] = []
    for bar in np.argsort(start, kind="stable").tolist():
        first = int(start[bar])
        free = next((it for it, free in enumerate(free_from) if free <= first), len(free_from))
        free_from[free : free + 1] = [int(end[bar])]
        lane[bar] = free
    return lane


def _spans(plan: Plan, simulation: Simulation, row: Ints) -> dict[str, tuple[Ints, Ints]]:
    """First cycle, and the one behind the last, of every row in every unit; the same where it did nothing."""
    architecture = simulation.architecture
    at = {name: simulation.times[row, column] for column, name in enumerate(TIMES)}
    queries = plan.queries[row]
    first_score, chosen, last_product = at["first score"], at["values chosen"], at["last product"]
    products = plan.prob_value_cycles[row]
    tokens_from = at["probabilities"] + architecture.importance.latency_cycles
    return {
        "fetch of keys": (at["keys asked"], at["keys there"]),
        "Q x K": (first_score, first_score + queries * plan.query_key_cycles[row]),
        "softmax": (first_score + architecture.query_key.latency_cycles, at["probabilities"]),
        "top-k (values)": (chosen - queries * plan.topk_cycles[row], chosen),
        "fetch of values": (at["values asked"], at["values there"]),
        "prob x V": (last_product + products - queries * products, last_product + products),
        "top-k (tokens)": (tokens_from, tokens_from + plan.token_topk_cycles[row]),
    }


def _head_events(simulation: Simulation) -> Iterator[str]:
    clock = simulation.architecture.clock_ghz
    name = f"{simulation.architecture.name}, {clock:g} GHz, {simulation.cycles:,} cycles in all"
    yield _metadata("process_name", 0, {"name": name})


def _metadata(what: str, track: int, arguments: dict[str, object]) -> str:
    return _told({"name": what, "ph": "M", "pid": 1, "tid": track, "args": arguments})


def _bar_events(simulation: Simulation, bars: Bars, track: Ints) -> Iterator[str]:
    """One complete event a bar; viewers count whole nanoseconds, so both ends are rounded, and stay in order."""
    work, clock = simulation.workload, simulation.architecture.clock_ghz
    columns = (
        *(bars.row, bars.start, bars.end, track),
        *(np.rint(bars.start / clock).astype(np.int64), np.rint(bars.end / clock).astype(np.int64)),
        *(work.iteration_id[bars.row], work.layer_id[bars.row], work.head_id[bars.row]),
        *(work.key_fetch_num[bars.row], work.value_fetch_num[bars.row], work.num_queries[bars.row]),
    )
    for values in zip(*(column.tolist() for column in columns), strict=True):
        row, start, end, tid, start_ns, end_ns, iteration, layer, head, keys, kept, queries = values
        arguments = {"row": row, "cycle": start, "cycles": end - start}
        yield _told(
            {
                "name": f"iteration {iteration}, layer {layer}, head {head}",
                "cat": bars.unit,
                "ph": "X",
                "ts": start_ns / 1000,
                "dur": (end_ns - start_ns) / 1000,
                "pid": 1,
                "tid": tid,
                "args": arguments | {"keys": keys, "values": kept, "queries": queries},
            }
        )


def _told(event: dict[str, object]) -> str:
    return json.dumps(event, separators=(",", ":"), allow_nan=False)
