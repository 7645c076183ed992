"""Vertices of a PLY file: a text header that names every column, then numbers as text or binary in either byte order.

Only what a scanner writes is read: numbers of the vertices. Faces and the like may follow and are not looked at.
"""

from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np

from multum.core import UserError, invalid
from multum.pointcloud.lidar.raw_file import unreadable

_OLD_NAMES = ("char", "uchar", "short", "ushort", "int", "uint", "float", "double")
_NEW_NAMES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")
_NUMPY_NAMES = ("i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8")
_TYPES = dict(zip((*_OLD_NAMES, *_NEW_NAMES), _NUMPY_NAMES * 2, strict=True))
_BYTE_ORDER = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
_LONGEST_HEADER_BYTES = 65536
_REMEDY = "save it anew, as binary PLY, in the program that wrote it"


@dataclass(frozen=True)
class _Element:
    name: str
    count: int
    columns: list[tuple[str, str]]


def read_ply(path: Path) -> dict[str, np.ndarray]:
    r"""Read the columns of the vertices.

    Args:
        path: The file.

    Returns:
        Each column by its name, of the type that the header gives it.

    Raises:
        UserError: Not readable, no PLY file, cut short, or with lists where the vertices are or before them.

    Example:
        >>> import tempfile
        >>> header = "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty uchar red\nend_header\n"
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "two.ply"
        ...     _ = path.write_text(header + "0.5 255\n1.5 7\n")
        ...     read_ply(path)["x"]
        array([0.5, 1.5], dtype=float32)
    """
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise unreadable(path, problem) from problem
    if not data.startswith(b"ply"):
        raise _broken(path, "a PLY file", "another beginning")
    start = _header_bytes(path, data)
    order, elements = _parsed(path, data[:start].decode("ascii", errors="replace").splitlines())
    before = list(takewhile(lambda element: element.name != "vertex", elements))
    if len(before) == len(elements):
        raise _broken(path, "one with vertices", [element.name for element in elements])
    vertex = elements[len(before)]
    if any(kind not in _TYPES for element in (*before, vertex) for _, kind in element.columns):
        raise _broken(path, "free of lists up to its vertices", "a list")
    table = (_from_text if order == "=" else _from_binary)(path, data[start:], before, vertex, order)
    return {name: np.ascontiguousarray(table[name]) for name, _ in vertex.columns}


def _header_bytes(path: Path, data: bytes) -> int:
    """Where the header ends: behind the line end after `end_header`."""
    mark = data.find(b"end_header", 0, _LONGEST_HEADER_BYTES)
    line_end = data.find(b"\n", mark)
    if mark < 0 or line_end < 0:
        raise _broken(path, "of a whole header", "no end_header")
    return line_end + 1


def _parsed(path: Path, lines: list[str]) -> tuple[str, list[_Element]]:
    """Byte order and elements, as the header tells them."""
    order = ""
    elements: list[_Element] = []
    for line in lines:
        match line.split():
            case ["format", kind, "1.0"] if kind in _BYTE_ORDER:
                order = _BYTE_ORDER[kind]
            case ["element", name, count] if count.isdecimal():
                elements.append(_Element(name, int(count), []))
            case ["property", "list", _, _, name] if elements:
                elements[-1].columns.append((name, "list"))
            case ["property", kind, name] if elements and kind in _TYPES:
                elements[-1].columns.append((name, kind))
            case ["ply" | "comment" | "obj_info" | "end_header", *_] | []:
                pass
            case _:
                raise _broken(path, "of a header that PLY 1.0 knows", line)
    if not order:
        raise _broken(path, "of a known format", "none")
    for element in elements:
        if len({name for name, _ in element.columns}) < len(element.columns):
            raise _broken(path, f"of columns that differ in name, in its {element.name}", element.columns)
    return order, elements


def _row(element: _Element, order: str) -> np.dtype:
    return np.dtype([(name, order + _TYPES[kind]) for name, kind in element.columns])


def _from_binary(path: Path, body: bytes, before: list[_Element], vertex: _Element, order: str) -> np.ndarray:
    start = sum(element.count * _row(element, order).itemsize for element in before)
    row = _row(vertex, order)
    if len(body) < start + vertex.count * row.itemsize:
        raise _broken(path, f"of {vertex.count} vertices, as its header says", "fewer")
    return np.frombuffer(body, row, vertex.count, start).astype(row.newbyteorder("="))


def _from_text(path: Path, body: bytes, before: list[_Element], vertex: _Element, order: str) -> np.ndarray:
    start = sum(element.count * len(element.columns) for element in before)
    width = len(vertex.columns)
    words = body.split()[start : start + vertex.count * width]
    if len(words) < vertex.count * width:
        raise _broken(path, f"of {vertex.count} vertices, as its header says", "fewer")
    try:
        numbers = np.array(words, dtype=np.float64).reshape(vertex.count, width)
    except ValueError as problem:
        raise _broken(path, "numbers, where its vertices are", str(problem)) from problem
    table = np.zeros(vertex.count, _row(vertex, order))
    for column, (name, _) in enumerate(vertex.columns):
        table[name] = numbers[:, column]
    return table


def _broken(path: Path, constraint: str, found: object) -> UserError:
    return invalid(f"file {path}", constraint, found, _REMEDY)
