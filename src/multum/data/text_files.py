"""Reading a user's text with errors that say what to do.

Every reader of this package goes through `decode_utf8`: text that is not UTF-8 is refused with the place of
the first bad byte, because guessing an encoding turns accents into noise without anyone noticing. A
byte-order mark, which editors on Windows like to write, is accepted and dropped.
"""

from pathlib import Path

from multum.core.errors import invalid

_ENCODING_REMEDY = "save it as UTF-8, for example with `iconv -f LATIN1 -t UTF-8`"


def decode_utf8(data: bytes, name: str) -> str:
    r"""Decode UTF-8, with or without a byte-order mark.

    Args:
        data: The bytes of a whole file.
        name: What the bytes are, as the error shall call them.

    Returns:
        The text, without the byte-order mark.

    Raises:
        UserError: `data` is not UTF-8.

    Example:
        >>> decode_utf8("café".encode(), "menu.txt")
        'café'
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x} at offset {error.start}"
        raise invalid(name, "UTF-8 text", found, _ENCODING_REMEDY) from error


def read_utf8(path: Path, name: str, remedy: str) -> str:
    """Read a whole UTF-8 file.

    Args:
        path: The file.
        name: What the file is for, as the error shall call it.
        remedy: Where the user gets the file, for the error when it is missing.

    Returns:
        The text, line endings as they are in the file.

    Raises:
        UserError: The file is missing, is a folder, cannot be read, or is not UTF-8.
    """
    if path.is_dir():
        raise invalid(name, "a file", str(path), "it is a folder; name a file inside it")
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise invalid(name, "an existing file", str(path), remedy) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise invalid(name, "a readable file", str(path), f"reading it failed: {reason}") from error
    return decode_utf8(data, f"{name} {path.name}")


def read_lines(path: Path) -> tuple[str, ...]:
    r"""Read a user's own text file, one text per line.

    Blank lines are skipped and white space around a line is dropped, so a file may be laid out in groups.

    Args:
        path: A UTF-8 text file.

    Returns:
        The texts, in the order of the file; never empty.

    Raises:
        UserError: The file is missing, is not UTF-8, or holds no text.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "mine.txt"
        ...     _ = path.write_text("First text.\n\nSecond text.\n", encoding="utf-8")
        ...     read_lines(path)
        ('First text.', 'Second text.')
    """
    remedy = "give the path of a text file with one text per line"
    text = read_utf8(path, "text file", remedy)
    lines = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not lines:
        raise invalid("text file", "at least one line with text", str(path), remedy)
    return lines
