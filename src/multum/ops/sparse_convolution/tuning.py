"""Which dataflow and which blocks: measured once for each kind of problem, and remembered.

What is fastest depends on the device, the type, the channels, and on how many rows there are and how many neighbours
they have. The first call with a problem of a new kind times every setting; the answer is kept in memory, and in a file
of the cache folder. Where nothing can be measured (no CUDA device, a graph being captured) or nothing may be (torch was
asked for deterministic algorithms, and settings differ in their rounding) the first setting is taken.
"""

import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import torch

from multum.core import UserError, warn_once
from multum.core.files import read_json, write_json_atomic
from multum.native import cache_folder
from multum.ops.sparse_convolution.settings import Problem, Setting, settings_of

REPEATS = 5
"""Runs whose median counts."""


def choose_setting(problem: Problem, seconds: Callable[[Setting], float]) -> Setting:
    """The fastest setting for such a problem.

    Args:
        problem: What is to be computed.
        seconds: Times a setting; infinity for one that the device has no room for.
    """
    if not can_measure(problem.device):
        return settings_of(problem)[0]
    return file_of(problem.device).choose(problem, seconds)


def can_measure(device: torch.device) -> bool:
    """Whether a run may be timed now."""
    if device.type != "cuda" or torch.are_deterministic_algorithms_enabled():
        return False
    return not torch.cuda.is_current_stream_capturing()


def measure_seconds(run: Callable[[], object]) -> float:
    """Median time of a run on the current CUDA device; it has run once before."""
    marks = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(REPEATS)]
    for begin, end in marks:
        begin.record()
        run()
        end.record()
    torch.cuda.synchronize()
    milliseconds: list[float] = [begin.elapsed_time(end) for begin, end in marks]
    return median(milliseconds) / 1000


class SettingsFile:
    """The fastest settings of one device, in memory and in a file; a file that says nonsense is written anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._chosen: dict[str, Setting] = {}
        self._lock = threading.RLock()

    def choose(self, problem: Problem, seconds: Callable[[Setting], float]) -> Setting:
        """The setting that is known for such a problem, else the fastest by measurement."""
        key = problem.key
        if found := self._chosen.get(key):
            return found
        with self._lock:
            if key not in self._chosen:
                self._chosen[key] = self._read(key, settings_of(problem)) or self._measure(problem, seconds)
            return self._chosen[key]

    def _read(self, key: str, settings: Sequence[Setting]) -> Setting | None:
        stored = self._stored().get(key)
        return next((it for it in settings if asdict(it) == stored), None)

    def _measure(self, problem: Problem, seconds: Callable[[Setting], float]) -> Setting:
        fastest = min(settings_of(problem), key=seconds)
        try:
            write_json_atomic(self.path, {**self._stored(), problem.key: asdict(fastest)})
        except UserError as error:
            warn_once(f"multum: measured settings cannot be kept, the next process measures again: {error}")
        return fastest

    def _stored(self) -> dict[str, Any]:
        with suppress(UserError):
            if isinstance(stored := read_json(self.path), dict):
                return stored
        return {}


@cache  # asked for in every layer
def file_of(device: torch.device) -> SettingsFile:
    """The settings of a CUDA device, by its name and the version of the compiler."""
    try:
        compiler = version("triton")
    except PackageNotFoundError:  # a build of one's own
        compiler = "unknown"
    name = f"sparse_convolution {torch.cuda.get_device_name(device)} triton {compiler}"
    return SettingsFile(cache_folder() / "settings" / f"{re.sub(r'[^A-Za-z0-9.]+', '-', name)}.json")
