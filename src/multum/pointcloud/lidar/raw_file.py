"""Files that are nothing but numbers in rows: no header says what is in them, and only their size can be checked."""

from pathlib import Path

import numpy as np

from multum.core import UserError, invalid


def read_rows(path: Path, dtype: str, *, num_columns: int = 1) -> np.ndarray:
    """Read a file of numbers without a header.

    Args:
        path: The file.
        dtype: Type of a number as numpy spells it, byte order included: "<f4".
        num_columns: Numbers in a row.

    Returns:
        The numbers, of shape (rows, `num_columns`).

    Raises:
        UserError: No such file, not readable, empty, or its size is not a whole number of rows.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "two.bin"
        ...     _ = path.write_bytes(np.arange(8, dtype="<f4").tobytes())
        ...     read_rows(path, "<f4", num_columns=4).shape
        (2, 4)
    """
    row_bytes = np.dtype(dtype).itemsize * num_columns
    try:
        size_bytes = path.stat().st_size
        numbers = np.fromfile(path, dtype=dtype)
    except OSError as problem:
        raise unreadable(path, problem) from problem
    if size_bytes == 0:
        raise invalid(f"file {path}", "one with data in it", "0 bytes", "copy it again")
    if size_bytes % row_bytes:
        remedy = (
            f"a row is {num_columns} of {np.dtype(dtype).name}; the file is cut short, or of another kind"
        )
        raise invalid(f"size of {path}", f"a multiple of {row_bytes} bytes", size_bytes, remedy)
    return numbers.reshape(-1, num_columns)


def unreadable(path: Path, problem: OSError) -> UserError:
    """Turn what the operating system said about a file into one sentence."""
    return invalid(f"file {path}", "an existing, readable file", (problem.strerror or str(problem)).lower())
