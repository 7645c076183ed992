"""Tiny scans in the layouts of the real data sets."""

from pathlib import Path

import numpy as np


def some_points(num_points: int = 6, num_columns: int = 4, *, seed: int = 0) -> np.ndarray:
    """Points within 20 m, and whatever else a row holds in [0, 1)."""
    draw = np.random.default_rng(seed)
    rows = draw.random((num_points, num_columns), dtype=np.float32)
    rows[:, :3] = rows[:, :3] * 40 - 20
    return rows


def write(path: Path, data: np.ndarray) -> np.ndarray:
    """Write an array as bare numbers, and hand it back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.tobytes())
    return data


def write_ply(path: Path, kind: str, columns: dict[str, np.ndarray], *, more: str = "") -> None:
    """Write the vertices of a PLY file; `kind` is the word in its header, `more` other lines of it."""
    names = {"f4": "float", "f8": "double", "u1": "uchar", "u2": "ushort", "i4": "int32"}
    count = len(next(iter(columns.values())))
    header = ["ply", f"format {kind} 1.0", "comment made for a test", f"element vertex {count}"]
    header += [f"property {names[column.dtype.str[1:]]} {name}" for name, column in columns.items()]
    text = "\n".join([*header, *([more] if more else []), "end_header"]) + "\n"
    if kind == "ascii":
        rows = [" ".join(str(column[row]) for column in columns.values()) for row in range(count)]
        body = ("\n".join(rows) + "\n").encode()
    else:
        order = "<" if "little" in kind else ">"
        dtype = np.dtype([(name, order + column.dtype.str[1:]) for name, column in columns.items()])
        table = np.array(list(zip(*columns.values(), strict=True)), dtype=dtype)
        body = table.tobytes()
    path.write_bytes(text.encode() + body)
