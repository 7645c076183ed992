"""How fast the accelerator's simulator is: against reading its workload's file, and with ten times the rows."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.places import data_folder
from benchmarks.registry import Case, Figure, Setting, Suite
from benchmarks.schema import Check, Results
from benchmarks.trace_problem import MEDIUM
from multum.accelerator import Workload
from multum.accelerator.simulator import simulate
from multum.cost import Latency

STEPS = 3
"""Generated tokens of the shorter workload, from the second on, which is the first that is pruned."""
TIMES = 10


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A file, what it holds, and a part of it once and ten times."""

    path: Path
    """The public trace of GPT-2-Medium."""
    trace: Workload
    """It, read."""
    short: Workload
    """A few of its steps."""
    long: Workload
    """The same steps ten times over."""


def _prepare(_setting: Setting) -> Problem:
    folder = data_folder("spatten_traces")
    trace = MEDIUM.read(folder)
    chosen = (trace.iteration_id >= 1) & (trace.iteration_id <= STEPS)
    once: dict[str, Any] = {name: column[chosen] for name, column in trace.columns().items()}
    again: dict[str, Any] = {name: np.tile(column, TIMES) for name, column in once.items()}
    again["iteration_id"] += np.repeat(np.arange(TIMES) * STEPS, int(chosen.sum()))
    short, long = Workload(**once), Workload(**again)
    return Problem(path=folder / MEDIUM.file, trace=trace, short=short, long=long)


def _read(path: Path) -> int:
    with path.open(newline="") as file:
        return sum(1 for _ in csv.reader(file))


def _check(problem: Problem) -> Check:
    rows = (len(problem.trace), len(problem.short), len(problem.long))
    first, again = simulate(problem.trace, impl="cpu").cycles, simulate(problem.trace, impl="cpu").cycles
    return Check.holds(
        first == again and rows[2] == TIMES * rows[1] and _read(problem.path) >= rows[0],
        f"{rows[0]:,} rows take {first:,} cycles, every time",
    )


def _over_csv(problem: Problem, setting: Setting) -> Mapping[str, Latency | float]:
    times = setting.times(
        {
            "simulate": lambda: simulate(problem.trace, impl="cpu"),
            "read_csv": lambda: _read(problem.path),
        }
    )
    return {**times, "rows": float(len(problem.trace))}


def _growth(problem: Problem, setting: Setting) -> Mapping[str, Latency | float]:
    times = setting.times(
        {
            "rows": lambda: simulate(problem.short, impl="cpu"),
            "ten_times_the_rows": lambda: simulate(problem.long, impl="cpu"),
        }
    )
    return {**times, "num_rows": float(len(problem.short))}


def _ratio(results: Results, case: str, over: str, under: str) -> float:
    return results.number(case, over) / results.number(case, under)


SUITE = Suite(
    name="accelerator_speed",
    about="How fast the accelerator's compiled engine is, and whether its cost grows with the rows",
    cases=(
        Case(
            name="over_csv",
            about="the public trace of GPT-2-Medium, 11,328 rows, simulated with HBM2, and its file read by csv.reader",
            prepare=_prepare,
            check=_check,
            run=_over_csv,
        ),
        Case(
            name="growth",
            about=f"{STEPS} generated tokens of that trace, and the same steps {TIMES} times over",
            prepare=_prepare,
            check=_check,
            run=_growth,
        ),
    ),
    figures=(
        Figure(
            id="accelerator.fast_engine_time_over_csv_read",
            unit="x",
            goal_max=50,
            peer="reading the file with Python's csv module in the same run",
            how="medians of interleaved runs, one core; the workload is already read when it is simulated",
            value=lambda results: _ratio(results, "over_csv", "simulate", "read_csv"),
        ),
        Figure(
            id="accelerator.cost_growth_10x_rows",
            unit="x",
            goal_max=11,
            peer="the same steps once, in the same run",
            how="medians of interleaved runs, one core",
            value=lambda results: _ratio(results, "growth", "ten_times_the_rows", "rows"),
        ),
    ),
)
