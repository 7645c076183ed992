"""`multum accelerator reproduce`, as plain functions: the paper's evaluation, and how it is told."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multum.accelerator.paper.reproduce import Reproduction, reproduce
from multum.accelerator.paper.rows import ASSUMED, Row
from multum.accelerator.paper.sensitivity import Sensitivity
from multum.accelerator.workload import Workload
from multum.core.config import to_dict

MOST_EFFECTS = 4
"""Assumptions that are told of a result, the strongest first."""
INPUT = "input"
"""What stands in the place of an error where the published number went in."""


@dataclass(frozen=True, kw_only=True)
class ReproduceConfig:
    """How much of the evaluation is run."""

    trace: Path | None = None
    """The public trace of GPT-2-Medium as a CSV file; without it the same trace is made from its counts."""

    sweeps: bool = True
    """Sweep the width of the top-k engines and the size of the memories."""

    sensitivity: bool = True
    """Vary the assumptions; takes about as long as everything else."""

    html: Path | None = None
    """Draw the figures, and write them with all tables to this HTML file."""


def reproduce_paper(config: ReproduceConfig) -> Reproduction:
    """Run the evaluation.

    Raises:
        UserError: The trace cannot be read.
    """
    trace = None if config.trace is None else Workload.read_csv(config.trace)
    return reproduce(trace, with_sweeps=config.sweeps, with_sensitivity=config.sensitivity)


def reproduction_dict(found: Reproduction) -> dict[str, Any]:
    """Everything in plain values, with what the dataclasses only work out: numbers of the paper, units, errors."""
    told = to_dict(found)
    for table, data in zip(found.tables, told["tables"], strict=True):
        data["rows"] = [row_dict(row) for row in table.rows]
    for one, data in zip(found.sensitivities, told["sensitivities"], strict=True):
        data |= {"paper": one.paper, "unit": one.unit}
    return {**told, "assumptions": dict(ASSUMED)}


def row_dict(row: Row) -> dict[str, Any]:
    """A row in plain values; no error where the published number went in."""
    return {
        "what": row.what,
        "paper": row.paper,
        "ours": row.ours,
        "unit": row.unit,
        "error": None if row.is_input else row.error,
        "depends_on": list(row.depends_on),
        "fitted_to": row.fitted_to,
        "key": row.key,
        "where": row.source.where,
    }


def letters() -> Mapping[str, str]:
    """A letter for each assumption.

    >>> letters()["lengths"], letters()["ratios"]
    ('a', 'b')
    """
    return {name: chr(ord("a") + index) for index, name in enumerate(ASSUMED)}


def dependencies(row: Row) -> str:
    """The letters of what a row depends on."""
    letter = letters()
    return "".join(sorted(letter[name] for name in row.depends_on))


def told(found: Reproduction) -> str:
    """Tell everything in lines: paper, ours, error, and letters of the assumptions that each row depends on.

    Args:
        found: What `reproduce_paper` gave.

    Returns:
        The lines.
    """
    lines: list[str] = []
    for table in found.tables:
        lines += ["", table.title, *_row_lines(table.rows)]
        lines += [f"  {table.note}"] if table.note else []
    lines += ["", *_step_lines(found)]
    for sweep in found.sweeps:
        lines += ["", f"{sweep.benchmark}, by {sweep.name}"]
        for point in sweep.points:
            mark = "  the paper's" if point.is_paper else ""
            lines.append(
                f"  {point.value:6g}  {1e3 * point.seconds:8.3f} ms  {point.area_mm2:6.3f} mm2{mark}"
            )
    if found.sensitivities:
        lines += ["", "What moves the results", *_effect_lines(found.sensitivities)]
    lines += ["", "Depends on; nothing is fitted to the row that it stands in"]
    lines += [f"  {letter}  {name}: {ASSUMED[name]}" for name, letter in letters().items()]
    return "\n".join([*lines[1:], ""])


def _row_lines(rows: tuple[Row, ...]) -> list[str]:
    cells = [
        (
            row.what,
            f"{row.paper:.4g}",
            f"{row.ours:.4g}",
            row.unit,
            INPUT if row.is_input else f"{row.error:+.0%}",
            dependencies(row),
        )
        for row in rows
    ]
    header = ("", "paper", "ours", "unit", "error", "depends on")
    widths = [max(len(line[column]) for line in (header, *cells)) for column in range(len(header))]
    right = (False, True, True, False, True, False)
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in (header, *cells)
    ]


def _step_lines(found: Reproduction) -> Iterator[str]:
    for title, steps in (
        ("GPT-2-Medium, one technique more at a time", found.generation_steps),
        ("BERT, geometric means of 22, one technique more at a time", found.sentence_steps),
    ):
        yield title
        first = steps[0]
        for step in steps:
            faster, fewer, less = (
                getattr(first, name) / getattr(step, name) for name in ("seconds", "moved_bytes", "joules")
            )
            yield (
                f"  {step.name:25s}  {1e3 * step.seconds:9.4f} ms  {faster:5.2f}x faster  "
                f"{fewer:5.2f}x fewer bytes  {less:5.2f}x less energy"
            )


def _effect_lines(sensitivities: tuple[Sensitivity, ...]) -> Iterator[str]:
    for one in sensitivities:
        yield f"  {one.what}: paper {one.paper:.4g}, ours {one.ours:.4g} {one.unit}"
        for effect in one.effects[:MOST_EFFECTS]:
            yield (
                f"    {effect.name}: {effect.low} {effect.low_value:.4g}, {effect.high} {effect.high_value:.4g}"
            )
