"""`multum accelerator sweep`, as a plain function: a trace on every combination of some fields' values."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from multum.accelerator.exploration import Conditions, Point, explore, pareto
from multum.accelerator.fields import (
    ArchitectureName,
    Value,
    built,
    fields_of,
    named,
    read_setting,
    read_settings,
)
from multum.accelerator.simulate_command import Repeated, read_trace
from multum.core import Run, from_dict, invalid, say, to_dict

POINTS_FILE = "points.json"
"""Where a run folder keeps the points that are finished."""


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """A trace, and what of the architecture is varied."""

    trace: Path
    """File in the columns of the published traces, packed with gzip or not."""

    vary: Repeated = ()
    """Vary a field: value_topk.parallelism=4,8,16; again for another field, which gives every combination."""

    architecture: ArchitectureName = "spatten"
    """What the fields are varied in."""

    set: Repeated = ()
    """Set a field for all points: hbm.channels=8; again for another field."""

    grow: bool = False
    """Make buffers, FIFOs and top-k engines as deep as the trace's longest row of keys needs."""

    ideal_dram: bool = False
    """Let the memory never wait, so that only its width counts."""

    serial: bool = False
    """Let each row begin when the one before is finished."""

    front: tuple[str, ...] = ("seconds", "joules")
    """What a point of the Pareto front is not beaten in: some of cycles, seconds, joules, watts, area_mm2."""

    processes: int | None = None
    """Points that are simulated at the same time; one for each core when left alone."""

    picture: bool = True
    """Draw the points into sweep.html in the run folder."""


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What `run_sweep` found."""

    varied: dict[str, tuple[Value, ...]]
    """The fields and their values."""
    points: tuple[Point, ...]
    """One for each combination, the last field changing fastest."""
    front: tuple[str, ...]
    """What the Pareto front is of."""
    on_front: tuple[bool, ...]
    """For each point whether nothing beats it."""


def run_sweep(config: SweepConfig, folder: Path, *, resume: bool = False, overwrite: bool = False) -> Swept:
    """Sweep, and keep every finished point in the run folder.

    Args:
        config: What to vary. Whether a picture is drawn is the caller's affair.
        folder: Run folder: `run.json` and `points.json`.
        resume: Continue the run that lies there; points that are finished are not simulated again.
        overwrite: Replace the run that lies there.

    Raises:
        UserError: A bad trace, field or option; a run lies there and neither flag was given.
    """
    vary = read_vary(config.vary, config.architecture)
    settings = read_settings(config.set, config.architecture)
    for name in vary:
        if name in settings:
            raise invalid(f"vary {name}", "of a field that is not set", settings[name])
    pareto((), config.front)  # refused before the work, not after it
    workload = read_trace(config.trace)
    architecture = built(config.architecture, settings, workload if config.grow else None)
    kept = replace(config, processes=None, picture=True)  # they change nothing that is found
    with Run.open(folder, kept, resume=resume, overwrite=overwrite) as run:
        if run.finished:
            say("this run is finished already")
            return from_dict(Swept, run.result)
        if not resume:
            run.path(POINTS_FILE).unlink(missing_ok=True)  # of the run that was replaced
        points = explore(
            workload,
            architecture,
            vary,
            conditions=Conditions(ideal_dram=config.ideal_dram, overlap=not config.serial),
            processes=num_processes(config.processes),
            kept_in=run.path(POINTS_FILE),
        )
        swept = Swept(
            varied={name: tuple(values) for name, values in vary.items()},
            points=points,
            front=config.front,
            on_front=pareto(points, config.front),
        )
        run.finish(to_dict(swept))
    return swept


def read_vary(words: tuple[str, ...], name: ArchitectureName) -> dict[str, list[Value]]:
    """Read what `--vary` was given.

    Raises:
        UserError: Nothing, no field=value,value, an unknown field, or one that is varied twice.

    >>> read_vary(("hbm.channels=8,16", "clock_ghz=1"), "spatten")
    {'hbm.channels': [8, 16], 'clock_ghz': [1]}
    """
    if not words:
        raise invalid("vary", "given at least once", "nothing", "for instance --vary hbm.channels=4,8,16")
    known, vary = fields_of(named(name)), dict[str, Any]()
    for word in words:
        field, values = read_setting(word, "vary", known)
        if field in vary:
            raise invalid(f"vary {field}", "given once, with all its values", word)
        vary[field] = values
    return vary


def num_processes(wished: int | None) -> int:
    """As many as were wished for, or one for each core that this process may use."""
    if wished is not None:
        return wished
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
