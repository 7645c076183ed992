"""What a suite is made of. A suite is data: cases that measure, and figures that are read off the cases.

    SUITE = Suite(
        name="sorting",
        about="Sorting a million numbers",
        cases=(
            Case(
                name="random",
                about="numbers in random order",
                prepare=lambda setting: torch.rand(10**6, generator=setting.generator()),
                check=lambda numbers: Check.close(fast_sort(numbers), numbers.sort().values, allowed=0),
                run=lambda numbers, setting: setting.times({
                    "torch": lambda: numbers.sort(),
                    "ours": lambda: fast_sort(numbers),
                }),
                ours="ours",
                peers=("torch",),
            ),
        ),
        figures=(
            Figure(
                id="sorting.random_vs_torch", unit="x", goal_min=2, peer="torch.sort of the same run",
                how="median of 15 interleaved runs, one thread", value=lambda results:
                results.ratio("random", "torch"),
            ),
        ),
    )

The order inside a case is fixed: prepare, check, run. A case whose check is red is not run at all: a wrong
answer has no speed.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from benchmarks.schema import Check, Paper, Reading, Results
from multum.core.errors import UserError, invalid
from multum.cost import Latency, interleaved_times

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

Device = Literal["cpu", "cuda"]

FULL_ROUNDS = 15
QUICK_ROUNDS = 5

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_.-]*")
"""What suites, cases and readings may be called: names that are also file names."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a case is to be measured."""

    device: Device = "cpu"
    """Where it computes."""

    num_threads: int = 1
    """Threads of torch, unless a case asks for others."""

    seed: int = 0
    """Seed of everything random."""

    quick: bool = False
    """Whether this is only a rehearsal: fewer rounds, and the case may choose a smaller size."""

    @property
    def rounds(self) -> int:
        """How often each peer is timed."""
        return QUICK_ROUNDS if self.quick else FULL_ROUNDS

    def generator(self) -> torch.Generator:
        """Give a fresh generator of random numbers on the CPU, seeded."""
        return torch.Generator().manual_seed(self.seed)

    def times(
        self, calls: Mapping[str, Callable[[], object]], *, num_threads: int | None = None
    ) -> dict[str, Latency]:
        """Time several functions round robin, so that noise of the machine hits all of them alike.

        Args:
            calls: Functions without arguments, by the name of their reading.
            num_threads: Threads of torch meanwhile; the setting's own when None.
        """
        threads = self.num_threads if num_threads is None else num_threads
        return interleaved_times(calls, rounds=self.rounds, num_threads=threads, device=self.device)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing that is measured."""

    name: str
    """Short, and a file name: letters, digits, `_`, `-`, `.`."""

    about: str
    """One line: what is measured, with sizes."""

    prepare: Callable[[Setting], Any] = lambda setting: setting
    """Builds what `check` and `run` work on; its time is not measured."""

    check: Callable[[Any], Check]
    """Holds what ours computes against something that is known to be right."""

    run: Callable[[Any, Setting], Mapping[str, Latency | float]]
    """Measures. Readings are latencies or plain numbers, by name."""

    ours: str | None = None
    """Reading that stands for this project; None for a case without a comparison."""

    peers: tuple[str, ...] = ()
    """Readings that ours is compared with: each peer's reading divided by ours is a ratio of the case."""

    paper: Paper | None = None
    """The published number for the same thing, where there is one."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number that somebody asked for, read off the results, with its goal."""

    id: str
    """As whoever asked spells it: `system.what_it_says`; it contains `gpu_` when it is measured on a GPU."""

    unit: str
    """`x` for a ratio, `points`, `s`, ...; empty for a plain share."""

    value: Callable[[Results], float]
    """Reads it off the results."""

    how: str
    """How it was measured, for a reader who wants to believe it."""

    peer: str = ""
    """What it is compared with; empty when with nothing."""

    goal_min: float | None = None
    """The least that was asked for."""

    goal_max: float | None = None
    """The most that was asked for. Without either goal the figure is only reported."""

    @property
    def device(self) -> Device:
        """Where it is measured."""
        return "cuda" if "gpu_" in self.id else "cpu"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table for the README, beside the one of all cases that every suite has."""

    name: str
    """Its block is called `SUITE.NAME`."""

    render: Callable[[Results], str]
    """Makes Markdown of the results."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A picture for the README or the docs."""

    path: Path
    """Where it goes, from the root of the repository; an `.svg` file."""

    draw: Callable[[Results], "Drawing"]
    """Draws the results."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Cases that belong together, in one result file."""

    name: str
    """As its module is called."""

    about: str
    """One line for `python -m benchmarks list`."""

    cases: tuple[Case, ...]
    """In the order in which they run."""

    figures: tuple[Figure, ...] = ()
    """What is read off them."""

    tables: tuple[Table, ...] = ()
    """Tables of its own for the README."""

    plots: tuple[Plot, ...] = ()
    """Pictures of its own."""

    devices: tuple[Device, ...] = ("cpu",)
    """Where it can be measured; the first is the usual one."""

    peers: tuple[str, ...] = ()
    """Environments of `benchmarks.peers` that its cases use; their versions stand in the results."""

    counts_only: bool = False
    """Whether it measures no time, only counts and scores, which are the same on any machine: a case measured on
    another one may stay in the file. A case of such a suite that reads a clock is refused."""

    num_threads: int = 1
    """Threads of torch."""

    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what would only fail after an hour of measuring."""
        names = [case.name for case in self.cases]
        for name in [self.name, *names]:
            if not NAME_PATTERN.fullmatch(name):
                raise invalid(
                    "the name of a suite or case", "made of small letters, digits, '_', '-' and '.'", name
                )
        for kind, used in (("case", names), ("figure", [figure.id for figure in self.figures])):
            twice = {name for name in used if used.count(name) > 1}
            if twice:
                raise UserError(f"suite {self.name} has more than one {kind} called {min(twice)}")

    def choose(self, names: tuple[str, ...]) -> tuple[Case, ...]:
        """Give the cases of these names, in the suite's own order; all when no name is given.

        Raises:
            UserError: When a name is not there.
        """
        from multum.core.errors import did_you_mean

        known = [case.name for case in self.cases]
        for name in names:
            if name not in known:
                raise UserError(f"{name!r} is not a case of {self.name}; {did_you_mean(name, known)}")
        return tuple(case for case in self.cases if not names or case.name in names)


Readings = Mapping[str, Reading]
