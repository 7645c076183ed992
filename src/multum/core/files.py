"""Files that are either whole or absent.

A result that was cut in half by a full disk, a crash or an impatient Ctrl-C is worse than none, because it
looks like one. So every file of this package is written beside its final place, flushed to the disk, and
then moved there in one step, which the operating system does completely or not at all. Readers turn
everything that can be wrong with a file into one sentence.
"""

import errno
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from multum.core.errors import UserError, invalid


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """Write a file completely or not at all, by whatever writes to a path.

    Args:
        path: Where to; missing parent folders are created, an existing file is replaced when the block ends well.

    Yields:
        A file beside it, empty as yet, to be written to.

    Raises:
        UserError: When the disk is full, or the place cannot be written to; no partial file is left behind.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(descriptor)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files private; a result is for everybody
        temporary.replace(path)
    except OSError as problem:
        raise cannot_write(path, problem) from problem
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write bytes completely or not at all; see `written_atomically`."""
    with written_atomically(path) as temporary:
        temporary.write_bytes(data)


def write_text_atomic(path: Path, text: str) -> None:
    """Write UTF-8 text completely or not at all; see `write_bytes_atomic`."""
    write_bytes_atomic(path, text.encode("utf-8"))


def write_json_atomic(path: Path, data: object) -> None:
    """Write indented JSON that ends with a newline, completely or not at all.

    Args:
        path: Where to.
        data: Anything that JSON can hold; NaN and infinity are refused, because JSON has no words for them.

    Raises:
        UserError: When the data cannot be told in JSON, or the file cannot be written.
    """
    write_text_atomic(path, to_json_text(data, name=str(path)))


def to_json_text(data: object, *, name: str = "data") -> str:
    r"""Tell a value as indented JSON with a final newline.

    Args:
        data: Anything that JSON can hold.
        name: What an error message calls it.

    Returns:
        The text; floats keep every digit, so that reading it back gives the same numbers.

    Raises:
        UserError: When a number is NaN or infinite, or a value has no JSON form.

    >>> to_json_text({"ratio": 0.1})
    '{\n  "ratio": 0.1\n}\n'
    """
    try:
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as problem:
        where, value = _find_unspeakable(data, name)
        raise invalid(
            where, "something that JSON can hold", value, "NaN and infinity are refused"
        ) from problem


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Args:
        path: The file.

    Returns:
        What it holds.

    Raises:
        UserError: When the file is missing, unreadable, not UTF-8, not JSON, holds a key twice, or holds
            NaN or infinity.
    """
    path = Path(path)
    text = read_text(path)
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as problem:
        where = f"line {problem.lineno}, column {problem.colno}"
        raise UserError(f"{path} must be JSON; it breaks at {where}: {problem.msg}") from problem
    except RecursionError as problem:
        raise UserError(f"{path} must be JSON of a sane depth; it is nested too deeply") from problem
    except UserError as problem:
        raise UserError(f"{path}: {problem}") from None


def read_text(path: Path) -> str:
    r"""Read a UTF-8 text file.

    Args:
        path: The file.

    Returns:
        Its text, line ends as `\n`.

    Raises:
        UserError: When it is missing, a folder, not readable, or not UTF-8.
    """
    path = Path(path)
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except UnicodeDecodeError as problem:
        raise UserError(f"{path} must be UTF-8 text; byte {problem.start} is not") from problem
    except OSError as problem:
        raise UserError(f"{path} cannot be read: {_reason(problem)}") from problem


def cannot_write(path: Path, problem: OSError) -> UserError:
    """Turn what the operating system said about a write into one sentence."""
    if problem.errno in {errno.ENOSPC, errno.EDQUOT}:
        return UserError(f"{path} could not be written: the disk is full; free some space and run again")
    return UserError(f"{path} could not be written: {_reason(problem)}")


def _reason(problem: OSError) -> str:
    return (problem.strerror or str(problem)).lower()


def _umask() -> int:
    current = os.umask(0)  # the only portable way to read it is to set it
    os.umask(current)
    return current


def _refuse_constant(word: str) -> object:
    raise invalid("a number in JSON", "finite", word)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UserError(f"the key {twice!r} appears twice")
    return result


def _find_unspeakable(data: object, name: str) -> tuple[str, object]:
    """Find the first thing in `data` that JSON has no word for, and the dotted path to it."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            if not isinstance(key, str):
                return f"a key of {name}", key
            found = _find_unspeakable(value, f"{name}.{key}")
            if found[1] is not _NOTHING:
                return found
    elif isinstance(data, list | tuple):
        for index, value in enumerate(data):
            found = _find_unspeakable(value, f"{name}[{index}]")
            if found[1] is not _NOTHING:
                return found
    elif isinstance(data, float):
        return (name, data) if not math.isfinite(data) else (name, _NOTHING)
    elif data is not None and not isinstance(data, str | int | bool):
        return name, data
    return name, _NOTHING


_NOTHING = object()
