"""The file of a workload, read and written exactly as SpAtten's authors publish theirs.

Comma-separated: a line of names, one line for each (iteration, layer, head), and at the end, in the published files,
one line that holds only the path of the configuration they came from. See `workload_columns` for what stands where.
"""

from collections.abc import Mapping, Sequence

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
from multum.core import invalid

FIRST_ROW_LINE = 2
"""The line of the file, counted from 1, in which row 0 stands."""


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
    rows = [line.split(",") for line in lines[1:]]
    origin = rows.pop()[0] if rows and _is_origin(rows[-1]) else None
    if not rows:
        raise invalid(name, "a workload of at least one row", "none", "rows follow the line of names")
    for place, row in enumerate(rows, start=FIRST_ROW_LINE):
        if len(row) != len(header):
            raise invalid(f"{name}, line {place}", f"of {len(header)} values", f"{len(row)} values")
    cells = dict(zip(header, zip(*rows, strict=True), strict=True))
    cells.setdefault(QUERIES, ("1",) * len(rows))
    columns = {key: _read_column(key, values, name) for key, values in cells.items()}
    flaw = find_flaw(columns)
    if flaw is not None:
        where = f"{name}, line {flaw.row + FIRST_ROW_LINE}, {flaw.column}"
        raise invalid(where, flaw.constraint, cells[flaw.column][flaw.row])
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


def _read_column(name: str, cells: Sequence[str], file: str) -> Column:
    kind = KINDS[name]
    try:
        return _converted(kind, cells)
    except (KeyError, ValueError, OverflowError):
        bad = next(place for place, cell in enumerate(cells) if not _converts(kind, cell))
    where = f"{file}, line {bad + FIRST_ROW_LINE}, {name}"
    raise invalid(where, FORMS[kind].said, cells[bad])


def _converted(kind: Kind, cells: Sequence[str]) -> Column:
    if kind == "flag":
        flags = {"True": True, "False": False}
        return np.array([flags[cell] for cell in cells], dtype=np.bool_)
    number = int if FORMS[kind].dtype is np.int64 else float
    return np.array([number(cell) for cell in cells], dtype=FORMS[kind].dtype)


def _converts(kind: Kind, cell: str) -> bool:
    try:
        _converted(kind, [cell])
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
