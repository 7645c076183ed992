"""`multum accelerator simulate TRACE`, `sweep TRACE` and `verilog FOLDER`."""

from pathlib import Path
from typing import TYPE_CHECKING

from multum.accelerator.simulate_command import SimulateConfig, Simulated, run_simulate
from multum.accelerator.sweep_command import SweepConfig, Swept, run_sweep
from multum.accelerator.verilog_command import VerilogConfig, write_verilog
from multum.cli.verb import Outcome, RunFolder, RunVerb, Verb
from multum.core import read_json, require_module, say, to_dict
from multum.cost.table import rich_table
from multum.cost.units import format_bytes, format_count, format_joules, format_seconds

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

PAGE_FILE = "sweep.html"


def _simulate(config: SimulateConfig) -> Outcome:
    found = run_simulate(config)
    return Outcome(result=to_dict(found), text=told(found))


def told(found: Simulated) -> "RenderableType":
    """Tell a simulation in tables.

    Args:
        found: What `run_simulate` found.

    Returns:
        Something that rich can draw.
    """
    from rich.columns import Columns
    from rich.console import Group

    settings = "".join(f", {name} = {value}" for name, value in found.settings.items())
    busy = [(unit, f"{part:.1%}") for unit, part in found.utilization.items()]
    energy = [
        (unit, format_joules(joules), f"{joules / found.total_joules:.1%}")
        for unit, joules in found.joules.items()
    ]
    area = [
        (unit, f"{mm2:.2f} mm2", f"{mm2 / found.total_area_mm2:.1%}") for unit, mm2 in found.area_mm2.items()
    ]
    layers = [
        (
            str(it.layer),
            f"{it.rows:,}",
            f"{it.cycles:,}",
            format_bytes(it.dram_bytes),
            format_joules(it.joules),
        )
        for it in found.layers
    ]
    return Group(
        rich_table(("", ""), _summary(found), title=f"{found.architecture}{settings}: {found.rows:,} rows"),
        Columns(
            [
                rich_table(("Unit", "Busy"), busy),
                rich_table(("Unit", "Energy", ""), energy),
                rich_table(("Unit", "Area", ""), area),
            ]
        ),
        rich_table(("Layer", "Rows", "Cycles", "DRAM", "Energy"), layers),
    )


def _summary(found: Simulated) -> list[tuple[str, str]]:
    dram, roofline = found.dram, found.roofline
    power = ", ".join(f"{group} {watts:.2f}" for group, watts in found.watts.items())
    reached = roofline.flops / roofline.bound_flops
    allowed = f"{format_count(roofline.bound_flops)}/s that the {roofline.bound_by} would allow"
    hits = f"{dram.row_hit_rate:.1%} of " if dram.activates else ""  # an ideal memory has no rows
    return [
        ("Cycles", f"{found.cycles:,}"),
        ("Time", format_seconds(found.seconds)),
        ("DRAM", f"{format_bytes(dram.moved_bytes)} moved, {format_bytes(dram.useful_bytes)} asked for"),
        ("Row hits" if hits else "Transactions", f"{hits}{dram.transactions:,} transactions"),
        ("DRAM efficiency", f"{dram.efficiency:.1%} of the buses while busy"),
        ("Energy", format_joules(found.total_joules)),
        ("Power", f"{found.total_watts:.2f} W ({power})"),
        ("Area", f"{found.total_area_mm2:.2f} mm2"),
        ("Operations", f"{format_count(roofline.operations)}, {roofline.operations_per_byte:.3g} a byte"),
        ("Roofline", f"{format_count(roofline.flops)}/s, {reached:.1%} of the {allowed}"),
    ]


def _sweep(config: SweepConfig, folder: RunFolder) -> Outcome:
    from rich.console import Group

    from multum.cli.sweep_page import objectives

    if config.picture:
        require_module("matplotlib", "report")  # told before the sweep, not after it
        require_module("jinja2", "report")
    swept = run_sweep(config, folder.out, resume=folder.resume, overwrite=folder.overwrite)
    page = _draw(swept, config.trace.name, folder.out) if config.picture else None
    lines = [f"Nothing beats the points of the front in {objectives(swept)}."]
    lines += [f"picture: {page}"] if page else []
    result = to_dict(swept) | {"picture": str(page) if page else None}
    return Outcome(result=result, text=Group(*_points(swept), "\n".join(lines)))


def _points(swept: Swept) -> "list[Table | str]":
    from multum.cli.sweep_page import POINT_HEADER, point_rows, refused

    return [rich_table([*swept.varied, *POINT_HEADER], point_rows(swept)), *refused(swept)]


def _draw(swept: Swept, trace: str, folder: Path) -> Path:
    from multum.cli.sweep_page import sweep_page

    page = sweep_page(swept, trace, read_json(folder / "run.json")["provenance"])
    path = page.write(folder / PAGE_FILE)
    say(f"wrote {path}")
    return path


def _verilog(config: VerilogConfig) -> Outcome:
    written = write_verilog(config)
    text = (
        f"{written.top}: {written.parallelism} scores of {written.score_bits} bits a cycle, "
        f"rows of up to {written.longest_input:,}"
    )
    return Outcome(result=to_dict(written), text="\n".join([text, *written.files]))


SIMULATE = Verb(options=SimulateConfig, execute=_simulate, recipes="accelerator")
SWEEP = RunVerb(options=SweepConfig, execute=_sweep, out=Path("runs/sweep"), recipes="accelerator")
VERILOG = Verb(options=VerilogConfig, execute=_verilog)
