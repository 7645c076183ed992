"""What a result file looks like, and how it is read: strictly, or with a clear complaint.

A committed number is only worth something with its story. A result file therefore tells the command, the
commit, the versions, the machine, the device, the threads and the seed; for each case whether its answer
was right, the median and the spread of every reading, the ratios to the peers *of the same run*, and the
published value; and for each figure its goal.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from multum.core.config import from_dict, to_dict
from multum.core.errors import UserError, did_you_mean, invalid
from multum.core.files import read_json, write_json_atomic
from multum.cost import Latency

SCHEMA = "multum.benchmark/1"
"""Name and version of the form of a result file."""

Reading = Latency | float
"""What a case measures: a time with its spread, or a plain number."""

Value = TypeVar("Value")

CHECK_FAILED = "check failed"
NOT_MEASURED = "not measured"


class NoNumberError(Exception):
    """There is no number, and this is why."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """Whether an answer was right."""

    passed: bool
    """The verdict."""

    detail: str
    """What was compared, how far apart it was and how far it may be."""

    @classmethod
    def close(cls, actual: torch.Tensor, expected: torch.Tensor, *, allowed: float) -> "Check":
        """Compare two tensors by their largest difference.

        Args:
            actual: What ours computes.
            expected: What it must be, of the same shape.
            allowed: The largest difference that is still right.

        >>> Check.close(torch.ones(2), torch.ones(2), allowed=1e-6).passed
        True
        """
        if actual.shape != expected.shape:
            shapes = f"{tuple(actual.shape)} instead of {tuple(expected.shape)}"
            return cls(passed=False, detail=f"the answer has shape {shapes}")
        distance = (actual.double() - expected.double()).abs().max().item() if actual.numel() else 0.0
        detail = f"largest difference {distance:.1e}, allowed {allowed:.1e}"
        return cls(passed=distance <= allowed, detail=detail)  # NaN is not: it compares false

    @classmethod
    def holds(cls, condition: bool, detail: str) -> "Check":
        """Tell the verdict of a comparison made elsewhere."""
        return cls(passed=bool(condition), detail=detail)


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A published number."""

    value: float
    """As printed."""

    unit: str
    """Its unit."""

    where: str
    """Paper, and page, table or figure."""


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """What was measured in one case."""

    name: str
    about: str
    check: Check
    readings: dict[str, Latency | float] = field(default_factory=dict)
    """By name; empty when the check failed."""

    ours: str | None = None
    peers: tuple[str, ...] = ()
    ratios: dict[str, float] = field(default_factory=dict)
    """Each peer's reading divided by ours: how many times less ours needs."""

    paper: Paper | None = None
    measured: str = ""
    """When, in UTC."""

    commit: str = ""
    """At which commit; empty in files of before this was written down."""

    machine: str = ""
    """On which device; likewise."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What was asked for; both None means: only reported."""

    min: float | None = None
    max: float | None = None


@dataclass(frozen=True, kw_only=True)
class FigureResult:
    """A number that was asked for."""

    value: float | None
    unit: str
    goal: Goal
    peer: str
    how: str
    reason: str | None = None
    """Why there is no value."""

    @property
    def holds(self) -> bool | None:
        """Whether the goal is met; None for a figure without a goal. No value never meets one."""
        if self.goal.min is None and self.goal.max is None:
            return None
        if self.value is None:
            return False
        above = self.goal.min is None or self.value >= self.goal.min
        below = self.goal.max is None or self.value <= self.goal.max
        return above and below


@dataclass(frozen=True, kw_only=True)
class Results:
    """A whole result file."""

    schema: str = SCHEMA
    suite: str
    about: str
    command: str
    """How to measure it again."""

    device: str
    num_threads: int
    seed: int
    quick: bool = False
    """A rehearsal; never committed."""

    provenance: dict[str, Any]
    """Commit, versions and machine, as `multum.core.provenance` tells them."""

    cases: tuple[CaseResult, ...] = ()
    figures: dict[str, FigureResult] = field(default_factory=dict)

    def case(self, name: str) -> CaseResult:
        """Find a case that was measured and right.

        Raises:
            NoNumberError: When it was not measured, or its check failed.
        """
        for case in self.cases:
            if case.name == name:
                if not case.check.passed:
                    raise NoNumberError(CHECK_FAILED)
                return case
        raise NoNumberError(NOT_MEASURED)

    def ratio(self, case: str, peer: str) -> float:
        """Tell how many times less ours needs than a peer; raises like `case`."""
        return _pick(self.case(case).ratios, peer, f"ratio of {case}")

    def number(self, case: str, reading: str) -> float:
        """Tell a reading, in seconds if it is a latency; raises like `case`."""
        found = _pick(self.case(case).readings, reading, f"reading of {case}")
        return found.median_seconds if isinstance(found, Latency) else found


def read_results(path: Path) -> Results:
    """Read a result file.

    Raises:
        UserError: When it cannot be read, has an unknown schema, or does not fit the schema; the message
            names file and key.
    """
    data = read_json(path)
    found = data.get("schema") if isinstance(data, dict) else None
    if found != SCHEMA:
        raise invalid(
            f"the schema of {path}", repr(SCHEMA), found, "measure the suite again with this version"
        )
    try:
        return from_dict(Results, data)
    except UserError as problem:
        raise UserError(f"{path}: {problem}") from problem


def write_results(results: Results, path: Path) -> None:
    """Write a result file, atomically."""
    write_json_atomic(path, to_dict(results))


def _pick(values: Mapping[str, Value], name: str, kind: str) -> Value:
    if name not in values:
        raise UserError(f"{name!r} is not a {kind}; {did_you_mean(name, values)}")
    return values[name]
