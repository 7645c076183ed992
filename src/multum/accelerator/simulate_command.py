"""`multum accelerator simulate`, as a plain function: a trace through an architecture, and everything that came out."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from multum.accelerator.architecture import Architecture
from multum.accelerator.area import area_of
from multum.accelerator.by_layer import LayerReading, read_layers
from multum.accelerator.energy import energy_of
from multum.accelerator.fields import ArchitectureName, Value, built, read_settings
from multum.accelerator.simulation import Simulation
from multum.accelerator.simulator import Impl, simulate
from multum.accelerator.timeline import chosen_rows, write_timeline
from multum.accelerator.workload import Workload
from multum.accelerator.workload_file import FIRST_ROW_LINE, parse_workload, read_workload_text
from multum.core import Run, UserError, invalid, say, to_dict

Repeated = Annotated[
    tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(help_behavior_hint="(default: none)")
]
"""An option that may be given several times, each time with one word."""


@dataclass(frozen=True, kw_only=True)
class SimulateConfig:
    """A trace, and what it runs on."""

    trace: Path
    """File in the columns of the published traces, packed with gzip or not."""

    architecture: ArchitectureName = "spatten"
    """What it runs on, before fields are set."""

    set: Repeated = ()
    """Set a field of the architecture: value_topk.parallelism=8; again for another field."""

    grow: bool = False
    """Make buffers, FIFOs and top-k engines as deep as the trace's longest row of keys needs."""

    ideal_dram: bool = False
    """Let the memory never wait, so that only its width counts."""

    serial: bool = False
    """Let each row begin when the one before is finished."""

    impl: Impl = "auto"
    """The compiled engine where there is a compiler, the one in Python, or the compiled one and nothing else."""

    timeline: Path | None = None
    """Write the run as a trace for ui.perfetto.dev or chrome://tracing to this JSON file."""

    timeline_rows: str | None = None
    """Rows that the timeline shows, A:B, the first is 0; all when left alone."""

    out: Path | None = None
    """Folder in which run.json keeps configuration, provenance and result; none when left alone."""

    overwrite: bool = False
    """Replace the run that lies in the folder."""


@dataclass(frozen=True, kw_only=True)
class DramReading:
    """What the memory did."""

    useful_bytes: int
    """Bytes of keys and values that were asked for."""
    moved_bytes: int
    """Bytes over the buses."""
    transactions: int
    """Transactions that moved them."""
    activates: int
    """Rows that were opened."""
    refreshes: int
    """Refreshes of a pseudo-channel."""
    row_hit_rate: float
    """Part of the transactions that found their row open."""
    efficiency: float
    """Bytes moved over what the buses could have carried while anything was asked for."""


@dataclass(frozen=True, kw_only=True)
class RooflineReading:
    """Where the run lies."""

    operations: float
    """Operations of Q x K and prob x V, a product and its sum counted as two."""
    operations_per_byte: float
    """Over the bytes moved."""
    flops: float
    """Operations a second that were reached."""
    roof_flops: float
    """What all multipliers could do."""
    bytes_per_second: float
    """What the memory's buses could carry."""
    bound_flops: float
    """The lower of both at so many operations a byte: the roofline above the run."""
    bound_by: Literal["memory", "multipliers"]
    """Which of them that is."""


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """What `run_simulate` found."""

    architecture: str
    """Its name."""
    settings: dict[str, Value]
    """Fields that were set."""
    rows: int
    """Rows of the trace."""
    cycles: int
    """From the first request to the last output."""
    seconds: float
    """The same at the architecture's clock."""
    utilization: dict[str, float]
    """Part of the time in which each unit was busy."""
    dram: DramReading
    """The memory."""
    joules: dict[str, float]
    """Energy by unit."""
    total_joules: float
    """Of all units."""
    watts: dict[str, float]
    """Mean power of compute, SRAM and DRAM."""
    total_watts: float
    """Of all three."""
    area_mm2: dict[str, float]
    """Area by unit of the chip."""
    total_area_mm2: float
    """Of all units."""
    roofline: RooflineReading
    """Operations against bytes."""
    layers: tuple[LayerReading, ...]
    """Layer by layer, all iterations together."""
    timeline: str | None = None
    """Where the timeline was written."""


def run_simulate(config: SimulateConfig) -> Simulated:
    """Run a trace.

    Raises:
        UserError: A bad trace, field or option, or a folder that holds a run.
    """
    if config.out is not None and (config.out / "run.json").exists() and not config.overwrite:
        raise UserError(f"{config.out} holds a run; --overwrite replaces it")
    if config.overwrite and config.out is None:
        raise invalid("overwrite", "given together with out", config.overwrite)
    if config.timeline_rows is not None and config.timeline is None:
        raise invalid("timeline_rows", "given together with timeline", config.timeline_rows)
    rows = read_rows(config.timeline_rows)
    settings = read_settings(config.set, config.architecture)
    workload = read_trace(config.trace)
    if config.timeline is not None:
        chosen_rows(len(workload), rows)  # refused before the run, not after it
    architecture = built(config.architecture, settings, workload if config.grow else None)
    if config.out is None:
        return _simulated(config, workload, architecture, settings)
    kept = replace(config, out=None, overwrite=False)
    with Run.open(config.out, kept, overwrite=config.overwrite) as run:
        result = _simulated(config, workload, architecture, settings)
        run.finish(to_dict(result))
    return result


def read_trace(path: Path) -> Workload:
    """Read a workload, packed or not.

    Raises:
        UserError: The message names file, line and column.
    """
    columns, origin = parse_workload(read_workload_text(path), str(path))
    return Workload(**columns, origin=origin)


def read_rows(text: str | None) -> slice | None:
    """Read `A:B`; either may be left out.

    >>> read_rows("10:20"), read_rows("-5:"), read_rows(None)
    (slice(10, 20, None), slice(-5, None, None), None)
    """
    if text is None:
        return None
    found = re.fullmatch(r"(-?\d+)?:(-?\d+)?", text)
    if found is None:
        raise invalid("timeline_rows", "A:B, such as 0:1000", text)
    return slice(*(None if it is None else int(it) for it in found.groups()))


def simulate_trace(config: SimulateConfig, workload: Workload, architecture: Architecture) -> Simulation:
    """Simulate; what does not fit is told by the line of the file.

    Raises:
        UserError: More keys than the buffers hold, and whatever `simulate` refuses.
    """
    try:
        return simulate(
            workload,
            architecture,
            ideal_dram=config.ideal_dram,
            overlap=not config.serial,
            impl=config.impl,
        )
    except UserError as problem:
        raise UserError(of_file(str(problem), config.trace)) from problem


def of_file(message: str, trace: Path) -> str:
    """Tell a row by its file and line, and the way out by its option.

    >>> of_file("row 3, key_fetch_num must be less; take `Architecture.grown_for(workload)`", Path("a.csv"))
    'a.csv, line 5, key_fetch_num must be less; take --grow'
    """
    found = re.match(r"row (\d+)(?=, )", message)
    if found is None:
        return message
    place = f"{trace}, line {int(found[1]) + FIRST_ROW_LINE}"
    return place + message[found.end() :].replace("`Architecture.grown_for(workload)`", "--grow")


def _simulated(
    config: SimulateConfig, workload: Workload, architecture: Architecture, settings: dict[str, Value]
) -> Simulated:
    run = simulate_trace(config, workload, architecture)
    if config.timeline is not None:
        bars = write_timeline(run, config.timeline, rows=read_rows(config.timeline_rows))
        say(f"wrote {config.timeline}, {bars:,} bars; ui.perfetto.dev opens it")
    energy, area = energy_of(run.activity, run.dram, architecture, run.cycles), area_of(architecture)
    return Simulated(
        architecture=architecture.name,
        settings=settings,
        rows=len(workload),
        cycles=run.cycles,
        seconds=run.seconds,
        utilization=run.utilization,
        dram=_dram_of(run),
        joules=energy.joules,
        total_joules=energy.total,
        watts=energy.watts,
        total_watts=energy.total / energy.seconds,
        area_mm2=area.units,
        total_area_mm2=area.total,
        roofline=_roofline_of(run),
        layers=read_layers(run),
        timeline=None if config.timeline is None else str(config.timeline),
    )


def _dram_of(run: Simulation) -> DramReading:
    dram = run.dram
    return DramReading(
        useful_bytes=dram.useful_bytes,
        moved_bytes=dram.moved_bytes,
        transactions=dram.transactions,
        activates=dram.activates,
        refreshes=dram.refreshes,
        row_hit_rate=dram.row_hit_rate,
        efficiency=run.dram_efficiency,
    )


def _roofline_of(run: Simulation) -> RooflineReading:
    roof = run.architecture.roof_flops
    slope = run.operations_per_byte * run.architecture.dram_bytes_per_second
    return RooflineReading(
        operations=run.activity.operations,
        operations_per_byte=run.operations_per_byte,
        flops=run.flops,
        roof_flops=roof,
        bytes_per_second=run.architecture.dram_bytes_per_second,
        bound_flops=min(roof, slope),
        bound_by="memory" if slope < roof else "multipliers",
    )
