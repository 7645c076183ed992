"""Design-space exploration: a workload on every combination of some fields' values, and which of them nothing beats.

Fields are named by their dotted paths, and what must follow them does: see `fields`. A combination that cannot be is a
point too, with the reason in the place of numbers.

>>> work = Workload.from_counts(keys=[[512, 512]], heads=4, values=[[128, 128]])
>>> points = explore(work, Architecture(), {"value_topk.parallelism": [4, 16], "hbm.channels": [2, 16]})
>>> [point.values["hbm.channels"] for point in points], points[0].cycles > points[3].cycles
([2, 16, 2, 16], True)
"""

import hashlib
import itertools
import json
import math
import multiprocessing
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from multum.accelerator.architecture import Architecture
from multum.accelerator.area import area_of
from multum.accelerator.energy import energy_of
from multum.accelerator.fields import Value, check_field, fields_of, with_fields
from multum.accelerator.simulator import simulate
from multum.accelerator.workload import Workload
from multum.core import (
    UserError,
    UserTypeError,
    did_you_mean,
    from_dict,
    invalid,
    read_json,
    to_dict,
    track,
    write_json_atomic,
)

OBJECTIVES = ("cycles", "seconds", "joules", "watts", "area_mm2")
"""Numbers of a point of which less is better."""
MOST_POINTS = 10_000
"""Combinations of the largest grid."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One combination, and what came out."""

    values: dict[str, Value]
    """The fields that were varied, by dotted path."""
    cycles: int | None = None
    """From the first request to the last output; None, as all below, where the combination cannot be."""
    seconds: float | None = None
    """The same at the architecture's clock."""
    joules: float | None = None
    """Energy of all units and of the memory."""
    watts: float | None = None
    """Mean power."""
    area_mm2: float | None = None
    """Area of the chip."""
    flops: float | None = None
    """Operations a second that Q x K and prob x V reached."""
    error: str | None = None
    """Why the combination cannot be."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """How every point is simulated."""

    ideal_dram: bool = False
    """Whether the memory never waits."""
    overlap: bool = True
    """Whether rows of a layer overlap in time."""


def grid(vary: Mapping[str, Sequence[Value]]) -> tuple[dict[str, Value], ...]:
    """All combinations, the last field changing fastest.

    Raises:
        UserError: No field, a field without values or with one twice, or more than `MOST_POINTS` combinations.

    >>> grid({"clock_ghz": [1.0, 2.0], "hbm.channels": [16]})
    ({'clock_ghz': 1.0, 'hbm.channels': 16}, {'clock_ghz': 2.0, 'hbm.channels': 16})
    """
    if not vary:
        raise invalid("vary", "at least one field with its values", dict(vary))
    for name, values in vary.items():
        if not values or len(set(values)) < len(values):
            raise invalid(f"the values of {name}", "at least one, each once", list(values))
    count = math.prod(len(values) for values in vary.values())
    if count > MOST_POINTS:
        raise invalid("a sweep", f"of at most {MOST_POINTS:,} points", count, "vary fewer fields, or less")
    return tuple(dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values()))


def evaluate(
    workload: Workload,
    architecture: Architecture,
    values: Mapping[str, Value],
    conditions: Conditions | None = None,
) -> Point:
    """Simulate one combination.

    Args:
        workload: What to run.
        architecture: What the fields are changed in.
        values: The fields' values by dotted path.
        conditions: How.

    Raises:
        UserError: An unknown field, or a value of another type.

    >>> work = Workload.from_counts(keys=[[512]], heads=4, values=[[128]])
    >>> evaluate(work, Architecture(), {"clock_ghz": -1.0}).error
    'clock_ghz must be positive; got -1.0'
    """
    how = conditions or Conditions()
    for name in values:
        check_field(name, fields_of(architecture))
    try:
        changed = with_fields(architecture, values)
        run = simulate(workload, changed, ideal_dram=how.ideal_dram, overlap=how.overlap)
    except UserTypeError:
        raise
    except UserError as problem:
        return Point(values=dict(values), error=str(problem))
    energy = energy_of(run.activity, run.dram, changed, run.cycles)
    return Point(
        values=dict(values),
        cycles=run.cycles,
        seconds=run.seconds,
        joules=energy.total,
        watts=energy.total / energy.seconds,
        area_mm2=area_of(changed).total,
        flops=run.flops,
    )


def explore(
    workload: Workload,
    architecture: Architecture,
    vary: Mapping[str, Sequence[Value]],
    *,
    conditions: Conditions | None = None,
    processes: int = 1,
    kept_in: Path | None = None,
) -> tuple[Point, ...]:
    """Simulate every combination.

    Args:
        workload: What to run.
        architecture: What the fields are changed in.
        vary: For each field its values.
        conditions: How to simulate.
        processes: How many points are simulated at the same time. More than 1 starts processes anew, so that a script
            must do its work under `if __name__ == "__main__":`.
        kept_in: JSON file in which finished points are kept; those that it holds already are not simulated again.

    Returns:
        The points, in the order of `grid`.

    Raises:
        UserError: An unknown field, a value of another type, an empty grid, a file of other points, or a process that
            died.
    """
    combinations, how = grid(vary), conditions or Conditions()
    _check_vary(vary, architecture)
    if processes < 1:
        raise invalid("processes", "at least 1", processes)
    identity = _identity(workload, architecture, how)
    done = {_key(it.values): it for it in _read_kept(kept_in, identity)}
    left = [it for it in combinations if _key(it) not in done]
    if min(processes, len(left)) < 2:
        found: Iterator[Point] = (evaluate(workload, architecture, values, how) for values in left)
    else:
        found = _at_once(left, (workload, architecture, how), processes)
    for point in track(found, "simulating points", total=len(left)):
        done[_key(point.values)] = point
        if kept_in is not None:
            write_json_atomic(kept_in, {**identity, "points": [to_dict(it) for it in done.values()]})
    return tuple(done[_key(it)] for it in combinations)


def pareto(points: Sequence[Point], of: Sequence[str] = ("seconds", "joules")) -> tuple[bool, ...]:
    """Mark the points that nothing beats: no other is at least as good in everything and better in something.

    Args:
        points: The points; one that cannot be is never marked, and beats nothing.
        of: What counts, among `OBJECTIVES`.

    Returns:
        For each point whether it is on the front; equal points are all on it or none is.

    Raises:
        UserError: Nothing counts, or something that a point does not have.

    >>> fast, slow, frugal = (Point(values={}, seconds=s, joules=j) for s, j in ((1.0, 9.0), (2.0, 9.0), (3.0, 5.0)))
    >>> pareto([fast, slow, frugal])
    (True, False, True)
    """
    if not of:
        raise invalid("of", f"some of {', '.join(OBJECTIVES)}", list(of))
    for name in of:
        if name not in OBJECTIVES:
            raise UserError(f"{name!r} is not an objective; {did_you_mean(name, OBJECTIVES)}")
    costs = [tuple(getattr(point, name) for name in of) for point in points]
    possible = sorted({cost for cost in costs if None not in cost})
    front: list[tuple[Any, ...]] = []
    for cost in possible:  # whatever beats it comes before it, and so does one of the front that does
        if not any(all(a <= b for a, b in zip(other, cost, strict=True)) for other in front):
            front.append(cost)
    best = set(front)
    return tuple(cost in best for cost in costs)


def _check_vary(vary: Mapping[str, Sequence[Value]], architecture: Architecture) -> None:
    """Refuse unknown fields and values of another type before anything is simulated; all else will be a point."""
    known = fields_of(architecture)
    for name, values in vary.items():
        check_field(name, known)
        for value in values:
            try:
                with_fields(architecture, {name: value})
            except UserTypeError:
                raise
            except UserError:
                continue


Task = tuple[Workload, Architecture, Conditions]

_worker: list[Task] = []
"""In a process of a pool: what all its points have in common, sent once and not with every point."""


def _at_once(left: Sequence[dict[str, Value]], task: Task, processes: int) -> Iterator[Point]:
    """Points in processes of their own, as they are finished."""
    pool = ProcessPoolExecutor(
        max_workers=min(processes, len(left)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(task,),
    )
    try:
        for future in as_completed([pool.submit(_evaluate_in_worker, values) for values in left]):
            yield future.result()
    except BrokenProcessPool as problem:
        raise UserError(
            "a process that simulated points has died, perhaps for want of memory; take fewer processes"
        ) from problem
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(task: Task) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's affair
    _worker[:] = [task]


def _evaluate_in_worker(values: dict[str, Value]) -> Point:
    workload, architecture, how = _worker[0]
    return evaluate(workload, architecture, values, how)


def _identity(workload: Workload, architecture: Architecture, how: Conditions) -> dict[str, Any]:
    """What all points of a file have in common."""
    digest = hashlib.sha256()
    for column in workload.columns().values():
        digest.update(np.ascontiguousarray(column).tobytes())
    return {
        "workload": digest.hexdigest(),
        "architecture": to_dict(architecture),
        "conditions": to_dict(how),
    }


def _key(values: Mapping[str, Value]) -> str:
    return json.dumps(values, sort_keys=True)


def _read_kept(path: Path | None, identity: Mapping[str, Any]) -> list[Point]:
    if path is None or not path.exists():
        return []
    kept = read_json(path)
    for name, value in identity.items():
        if not isinstance(kept, dict) or kept.get(name) != value:
            raise UserError(f"{path} holds points of another {name}; choose another file, or remove it")
    try:
        return [from_dict(Point, it) for it in kept["points"]]
    except (KeyError, TypeError, UserError) as problem:
        raise UserError(f"{path} must hold points; {problem}; remove it") from problem
