"""Wall-clock time that can be believed on a machine shared with others.

A single timing is worth little: the first call pays for caches, lazy initialisation and autotuning, and a
neighbour's job can steal a core at any moment. So a function is warmed up first, then called many times, and the
*median* is told together with its spread (the distance between the quartiles). Very short functions are called in
blocks, so that the clock's own cost disappears. On a CUDA device the clock is stopped only after the device has
finished.

When two functions are to be compared, time them with `interleaved_times`: it goes round robin, so that a slow minute
of the machine hits all of them alike and the ratio survives.

>>> latency = time_call(lambda: sum(range(1000)), min_run_seconds=0.01)
>>> latency.median_seconds > 0 and latency.num_runs >= 5
True
"""

import gc
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Final

import torch

from multum.core.errors import invalid

SHORTEST_BLOCK_SECONDS: Final = 1e-3
"""Calls are grouped until one reading of the clock covers this long."""

MIN_RUNS: Final = 5
"""Fewer readings than this give no quartiles worth printing."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """How long one call takes, and how it was measured."""

    median_seconds: float
    """Median time of one call."""

    spread_seconds: float
    """Distance between the first and the third quartile of the readings."""

    num_runs: int
    """Number of readings; a reading of a very short function covers several calls."""

    num_warmup: int
    """Calls made before the first reading."""

    num_threads: int
    """Threads torch was allowed to use inside one operation."""

    device: str
    """Device that was waited for, for instance `cpu` or `cuda:0`."""


def time_call(
    call: Callable[[], object],
    *,
    num_threads: int | None = None,
    min_run_seconds: float = 0.2,
    num_warmup: int = 2,
    device: str | torch.device = "cpu",
) -> Latency:
    """Time a function without arguments.

    Args:
        call: What is timed; its result is thrown away.
        num_threads: Threads torch may use meanwhile; None leaves the setting as it is.
        min_run_seconds: Readings are taken until they add up to this long (and at least five were taken).
        num_warmup: Calls before the first reading, at least one.
        device: Device that the function computes on.

    Returns:
        Median, spread and circumstances.

    Raises:
        UserError: When `min_run_seconds` is not positive, or `num_warmup` or `num_threads` is below one.
    """
    _check_counts(num_warmup=num_warmup, num_threads=num_threads)
    if not min_run_seconds > 0:
        raise invalid("min_run_seconds", "positive", min_run_seconds)
    with _quiet(num_threads):
        calls_per_reading = _calls_per_reading(call, num_warmup, device)
        readings: list[float] = []
        while len(readings) < MIN_RUNS or sum(readings) * calls_per_reading < min_run_seconds:
            readings.append(_read_clock(call, calls_per_reading, device))
        return _latency(readings, num_warmup, device)


def interleaved_times(
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 15,
    num_threads: int | None = None,
    num_warmup: int = 2,
    device: str | torch.device = "cpu",
) -> dict[str, Latency]:
    """Time several functions round robin, so that noise of the machine hits all of them alike.

    The function that begins a round changes from round to round, so that none of them always runs right after the
    same neighbour.

    Args:
        calls: Functions without arguments, by name.
        rounds: Readings of each function, at least five.
        num_threads: Threads torch may use meanwhile; None leaves the setting as it is.
        num_warmup: Calls of each function before the first reading, at least one.
        device: Device that the functions compute on.

    Returns:
        One latency by name, in the order given.

    Raises:
        UserError: When there is nothing to time, or a count is too small.

    >>> times = interleaved_times({"short": lambda: sum(range(10)), "long": lambda: sum(range(10_000))}, rounds=5)
    >>> times["short"].median_seconds < times["long"].median_seconds
    True
    """
    if not calls:
        raise invalid("calls", "at least one function by name", dict(calls))
    if rounds < MIN_RUNS:
        raise invalid("rounds", f"at least {MIN_RUNS}", rounds, "fewer readings have no quartiles")
    _check_counts(num_warmup=num_warmup, num_threads=num_threads)
    names = list(calls)
    with _quiet(num_threads):
        sizes = {name: _calls_per_reading(calls[name], num_warmup, device) for name in names}
        readings: dict[str, list[float]] = {name: [] for name in names}
        for number in range(rounds):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                readings[name].append(_read_clock(calls[name], sizes[name], device))
        return {name: _latency(readings[name], num_warmup, device) for name in names}


def _check_counts(*, num_warmup: int, num_threads: int | None) -> None:
    if num_warmup < 1:
        raise invalid(
            "num_warmup", "at least 1", num_warmup, "the first call pays for caches and lazy set-up"
        )
    if num_threads is not None and num_threads < 1:
        raise invalid("num_threads", "at least 1", num_threads)


@contextmanager
def _quiet(num_threads: int | None) -> Iterator[None]:
    """Set the number of threads and keep the garbage collector out of the readings; undo both."""
    threads_before, collecting = torch.get_num_threads(), gc.isenabled()
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
        if num_threads is not None:
            torch.set_num_threads(threads_before)


def _calls_per_reading(call: Callable[[], object], num_warmup: int, device: str | torch.device) -> int:
    """Warm up, and find how many calls one reading must cover."""
    for _ in range(num_warmup):
        call()
    shortest = _read_clock(call, 1, device)
    if (
        shortest < SHORTEST_BLOCK_SECONDS
    ):  # a neighbour's job only ever lengthens a reading: take the least of some
        shortest = min(shortest, *(_read_clock(call, 1, device) for _ in range(MIN_RUNS)))
    return max(1, round(SHORTEST_BLOCK_SECONDS / max(shortest, 1e-9)))


def _read_clock(call: Callable[[], object], num_calls: int, device: str | torch.device) -> float:
    """Seconds of one call, averaged over a block of calls; waits for the device on both sides."""
    _wait_for(device)
    start = perf_counter()
    for _ in range(num_calls):
        call()
    _wait_for(device)
    return (perf_counter() - start) / num_calls


def _wait_for(device: str | torch.device) -> None:
    place = torch.device(device)
    if place.type == "cuda":
        torch.cuda.synchronize(place)
    elif place.type == "mps":
        torch.mps.synchronize()


def _latency(readings: list[float], num_warmup: int, device: str | torch.device) -> Latency:
    first, median, third = statistics.quantiles(readings, n=4, method="inclusive")
    return Latency(
        median_seconds=median,
        spread_seconds=third - first,
        num_runs=len(readings),
        num_warmup=num_warmup,
        num_threads=torch.get_num_threads(),
        device=str(device),
    )
