"""Which dataflow and which blocks: measured once for each kind of problem, and remembered.

What is fastest depends on the device, the type, the channels, and on how many rows there are and how many neighbours
they have. The first call with a problem of a new kind times every setting; the answer is kept in memory, and in a file
of the cache folder. Where nothing can be measured (no CUDA device, a graph being captured) or nothing may be (torch was
asked for deterministic algorithms, and settings differ in their rounding) the first setting is taken.

This module knows no Triton.
"""

import math
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch

from multum.core import UserError, warn_once
from multum.core.files import read_json, write_json_atomic
from multum.native import cache_folder

Kind = Literal["forward", "weight"]
Dataflow = Literal["implicit", "scatter", "weight"]
REPEATS = 5
"""Runs whose median counts."""
BLOCKS: Mapping[Dataflow, tuple[tuple[int, int, int, int, int], ...]] = {
    "implicit": (
        (64, 32, 64, 4, 3),
        (64, 32, 64, 4, 5),
        (64, 64, 64, 4, 3),
        (64, 16, 64, 4, 4),
        (32, 32, 64, 4, 4),
        (128, 32, 64, 4, 4),
        (128, 32, 32, 4, 4),
        (64, 32, 128, 4, 4),
        (128, 32, 128, 8, 4),
        (128, 64, 128, 8, 3),
    ),
    "scatter": ((64, 32, 64, 4, 3), (64, 64, 64, 4, 3), (128, 32, 128, 8, 3)),
    "weight": (
        (32, 64, 64, 4, 3),
        (64, 64, 64, 4, 3),
        (16, 64, 64, 4, 4),
        (32, 64, 128, 8, 3),
        (32, 128, 128, 8, 3),
    ),
}
"""Rows, inputs and outputs of a block, warps and stages; the first of each needs little room."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a kernel goes through its work."""

    dataflow: Dataflow
    """Which kernel; see `triton.py`."""
    block_rows: int
    """Targets or pairs of a block."""
    block_inputs: int
    """Inputs of a block."""
    block_outputs: int
    """Outputs of a block."""
    num_warps: int = 4
    """Groups of 32 threads for each program."""
    num_stages: int = 3
    """Blocks on their way from memory at the same time."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What the choice depends on."""

    kind: Kind
    """The convolution, also turned round for a gradient, or the gradient of a weight."""
    dtype: torch.dtype
    """Type of the rows."""
    device: torch.device
    """Where they are."""
    num_offsets: int
    """Of the kernel."""
    inputs: int
    """Channels that are read."""
    outputs: int
    """Channels that are written."""
    num_targets: int
    """Rows that are written."""
    num_pairs: int
    """Of all offsets."""
    has_table: bool = False
    """Whether there is a table of neighbours."""

    @property
    def key(self) -> str:
        """Name of the problem's kind: rows to a power of two, neighbours of a row to a root of two.

        >>> sizes = dict(num_offsets=27, inputs=64, outputs=32, num_targets=1000, num_pairs=14000)
        >>> Problem(kind="weight", dtype=torch.float16, device=torch.device("cpu"), **sizes).key
        'weight float16 ieee K27 C64 O32 rows 10 near 8 lists'
        """
        rows = round(math.log2(self.num_targets))
        near = round(2 * math.log2(self.num_pairs / self.num_targets))
        kind = f"{self.kind} {str(self.dtype).removeprefix('torch.')} {precision_of(self.dtype)}"
        sizes = f"K{self.num_offsets} C{self.inputs} O{self.outputs} rows {rows} near {near}"
        return f"{kind} {sizes} {'table' if self.has_table else 'lists'}"


def precision_of(dtype: torch.dtype) -> str:
    """How products of float32 are made: in full, unless torch's own may take TF32."""
    return "tf32" if dtype is torch.float32 and _torch_takes_tf32() else "ieee"


def settings_of(problem: Problem) -> Sequence[Setting]:
    """The settings to try, the one that is taken without a measurement first."""
    return _settings(problem.kind, problem.inputs, problem.outputs, problem.has_table)


def choose_setting(problem: Problem, seconds: Callable[[Setting], float]) -> Setting:
    """The fastest setting for such a problem.

    Args:
        problem: What is to be computed.
        seconds: Times a setting; infinity for one that the device has no room for.
    """
    if not can_measure(problem.device):
        return settings_of(problem)[0]
    return _settings_file(_path(problem.device)).choose(problem, seconds)


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
        except UserError as problem_of_disk:
            warn_once(
                f"multum: measured settings cannot be kept, the next process measures again: {problem_of_disk}"
            )
        return fastest

    def _stored(self) -> dict[str, Any]:
        with suppress(UserError):
            if isinstance(stored := read_json(self.path), dict):
                return stored
        return {}


@cache
def _settings_file(path: Path) -> SettingsFile:
    return SettingsFile(path)


def _path(device: torch.device) -> Path:
    try:
        compiler = version("triton")
    except PackageNotFoundError:  # a build of one's own
        compiler = "unknown"
    name = f"sparse_convolution {torch.cuda.get_device_name(device)} triton {compiler}"
    return cache_folder() / "settings" / f"{re.sub(r'[^A-Za-z0-9.]+', '-', name)}.json"


@cache  # asked for in every layer
def _settings(kind: Kind, inputs: int, outputs: int, has_table: bool) -> tuple[Setting, ...]:
    dataflows: tuple[Dataflow, ...] = ("weight",) if kind == "weight" else ("implicit", "scatter")
    found = [
        Setting(
            dataflow=dataflow,
            block_rows=rows,
            block_inputs=_fitting(deep, inputs),
            block_outputs=_fitting(wide, outputs),
            num_warps=warps,
            num_stages=stages,
        )
        for dataflow in dataflows
        if dataflow != "implicit" or has_table
        for rows, deep, wide, warps, stages in BLOCKS[dataflow]
    ]
    return tuple(dict.fromkeys(found))


def _fitting(block: int, channels: int) -> int:
    """A block that is not much larger than the channels; 16 at least, as the device multiplies."""
    return max(16, min(block, 1 << (channels - 1).bit_length()))


def _torch_takes_tf32() -> bool:
    return bool(torch.backends.cuda.matmul.fp32_precision == "tf32")
