"""The file of a workload, read and written exactly as SpAtten's authors publish theirs.

Comma-separated: a line of names, one line for each (iteration, layer, head), and at the end, in the published files,
one line that holds only the path of the configuration they came from. See `workload_columns` for what stands where.

NumPy reads stretches of many lines, so that a million rows are no trouble. A stretch that it refuses is read again line
by line, to find out where; so speed costs no message its line and column.
"""

import gzip
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from multum.accelerator.workload_columns import (
    FORMS,
    KINDS,
    QUERIES,
    TRACE_KINDS,
    UNSET,
    Column,
    Kind,
    find_flaw,
)
from multum.core import UserError, invalid, read_text

FIRST_ROW_LINE = 2
"""The line of the file, counted from 1, in which row 0 stands."""
GZIP_MAGIC = b"\x1f\x8b"
"""What every gzip file begins with."""
STRETCH_LINES = 20_000
"""Lines that are read at once."""
FLAGS = {"True": True, "False": False}
"""How flags are written."""
FLAG_CELL = "S6"
"""A cell in which a flag stands: one letter more than the longest, so that nothing longer looks like one."""


def read_workload_text(path: Path) -> str:
    """Read the text of a workload file, packed with gzip or not; the content says which, not the name.

    Raises:
        UserError: As `read_text`, or a packed file that is damaged.
    """
    try:
        with path.open("rb") as stream:
            is_packed = stream.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    except OSError:
        return read_text(path)  # which knows how to complain
    if not is_packed:
        return read_text(path)
    try:
        with gzip.open(path, "rt", encoding="utf-8") as packed:
            return packed.read()
    except UnicodeDecodeError as problem:
        raise UserError(f"{path} must be UTF-8 text, packed; byte {problem.start} is not") from problem
    except (EOFError, OSError, zlib.error) as problem:
        raise UserError(f"{path} must be a whole gzip file; {problem}") from problem


def parse_workload(text: str, name: str) -> tuple[dict[str, Column], str | None]:
    """Read the text of a workload file.

    Args:
        text: What the file holds.
        name: What an error calls it.

    Returns:
        All columns by name, and the path in the last line; None when the last line is a row.

    Raises:
        UserError: Another header, a line of another length, a value that cannot be; the message names line and column.
    """
    lines = text.splitlines()
    header = lines[0].split(",") if lines else []
    _check_header(header, name)
    origin = lines.pop().split(",")[0] if len(lines) > 1 and _is_origin(lines[-1].split(",")) else None
    rows = lines[1:]
    if not rows:
        raise invalid(name, "a workload of at least one row", "none", "rows follow the line of names")
    columns = _read_rows(header, rows, name)
    columns.setdefault(QUERIES, np.ones(len(rows), dtype=np.int64))
    flaw = find_flaw(columns)
    if flaw is not None:
        where = f"{name}, line {flaw.row + FIRST_ROW_LINE}, {flaw.column}"
        raise invalid(where, flaw.constraint, rows[flaw.row].split(",")[header.index(flaw.column)])
    return columns, origin


def format_workload(columns: Mapping[str, Column], origin: str | None) -> str:
    """Write the text of a workload file; the inverse of `parse_workload`.

    Args:
        columns: All columns by name; `num_queries` is left out where every row has one query.
        origin: The path of the last line; None writes none.
    """
    names = [*TRACE_KINDS] if (columns[QUERIES] == 1).all() else [*KINDS]
    cells = [_write_column(KINDS[name], columns[name]) for name in names]
    lines = [",".join(names), *(",".join(row) for row in zip(*cells, strict=True))]
    if origin is not None:
        lines.append(origin + "," * (len(names) - 1))
    return "\n".join(lines) + "\n"


def _is_origin(cells: Sequence[str]) -> bool:
    """Whether a line holds one thing only, and no number: the path of a configuration."""
    return bool(cells[0]) and not any(cells[1:]) and not cells[0].lstrip("-").isdecimal()


def _check_header(header: Sequence[str], name: str) -> None:
    known = [*KINDS]
    for place, (found, expected) in enumerate(zip(header, known, strict=False), start=1):
        if found != expected:
            raise invalid(f"{name}, line 1, column {place}", repr(expected), found)
    if len(header) not in (len(TRACE_KINDS), len(KINDS)):
        remedy = f"they are {', '.join(TRACE_KINDS)}"
        raise invalid(f"{name}, line 1", f"the {len(TRACE_KINDS)} names of the columns", len(header), remedy)


def _read_rows(header: Sequence[str], rows: Sequence[str], name: str) -> dict[str, Column]:
    """All columns that the header names."""
    stretches = []
    for first in range(0, len(rows), STRETCH_LINES):
        stretch = rows[first : first + STRETCH_LINES]
        columns = _read_at_once(header, stretch)
        if columns is None:
            columns = _read_line_by_line(header, stretch, name, first + FIRST_ROW_LINE)
        stretches.append(columns)
    return {column: np.concatenate([it[column] for it in stretches]) for column in header}


def _read_at_once(header: Sequence[str], rows: Sequence[str]) -> dict[str, Column] | None:
    """Read all rows in C; None where any cell is not what it should be, or not as it is usually written."""
    cells = [(name, FLAG_CELL if KINDS[name] == "flag" else FORMS[KINDS[name]].dtype) for name in header]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            table = np.loadtxt(rows, delimiter=",", dtype=np.dtype(cells), comments=None, ndmin=1)
    except (ValueError, OverflowError, Warning):
        return None
    if len(table) != len(rows):  # it leaves empty lines out
        return None
    columns: dict[str, Column] = {}
    for name in header:
        column = np.ascontiguousarray(table[name])
        if KINDS[name] == "flag":
            is_true = column == b"True"
            if not (is_true | (column == b"False")).all():
                return None
            column = is_true
        columns[name] = column
    return columns


def _read_line_by_line(
    header: Sequence[str], rows: Sequence[str], name: str, first_line: int
) -> dict[str, Column]:
    """Read cell after cell, up to the first that cannot be."""
    kinds = [KINDS[column] for column in header]
    table: list[list[Any]] = []
    for place, row in enumerate(rows, start=first_line):
        cells = row.split(",")
        if len(cells) != len(header):
            raise invalid(f"{name}, line {place}", f"of {len(header)} values", f"{len(cells)} values")
        try:
            table.append([_converted(kind, cell) for kind, cell in zip(kinds, cells, strict=True)])
        except (KeyError, ValueError, OverflowError):
            bad = next(it for it in range(len(cells)) if not _converts(kinds[it], cells[it]))
            where = f"{name}, line {place}, {header[bad]}"
            raise invalid(where, FORMS[kinds[bad]].said, cells[bad]) from None
    columns = zip(*table, strict=True)
    return {
        column: np.array(values, dtype=FORMS[kind].dtype)
        for column, kind, values in zip(header, kinds, columns, strict=True)
    }


def _converted(kind: Kind, cell: str) -> Any:
    if kind == "flag":
        return FLAGS[cell]
    return np.int64(int(cell)) if FORMS[kind].dtype is np.int64 else float(cell)


def _converts(kind: Kind, cell: str) -> bool:
    try:
        _converted(kind, cell)
    except (KeyError, ValueError, OverflowError):
        return False
    return True


def _write_column(kind: Kind, column: Column) -> list[str]:
    if kind == "threshold":
        return [str(UNSET) if value == UNSET else repr(value) for value in column.tolist()]
    return [repr(value) for value in column.tolist()]


def check_origin(origin: str | None) -> None:
    """Refuse a path that the last line could not hold.

    Raises:
        UserError: An empty one, a number, or one with a comma or a line break.
    """
    if origin is None:
        return
    if any(sign in origin for sign in ",\r\n") or not _is_origin([origin]):
        raise invalid("origin", "a path without commas and line breaks, or None", origin)
