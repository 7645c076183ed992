"""A user's own text file: what is read, and what is refused."""

from pathlib import Path

import pytest

from multum.core.errors import UserError
from multum.data import read_lines


def write(folder: Path, data: bytes) -> Path:
    path = folder / "mine.txt"
    path.write_bytes(data)
    return path


def test_lines_are_stripped_and_blank_lines_skipped(tmp_path: Path) -> None:
    path = write(tmp_path, b"  One text. \r\n\r\n\t\nAnother text.")
    assert read_lines(path) == ("One text.", "Another text.")


def test_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    assert read_lines(write(tmp_path, b"\xef\xbb\xbfcaf\xc3\xa9\n")) == ("café",)


@pytest.mark.parametrize("data", [b"", b"\n \n\t\n", b"\xef\xbb\xbf"])
def test_file_without_text_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UserError, match="at least one line with text"):
        read_lines(write(tmp_path, data))


@pytest.mark.parametrize(("data", "offset"), [(b"caf\xe9\n", 3), ("wide".encode("utf-16"), 0)])
def test_other_encoding_is_refused_with_its_place(tmp_path: Path, data: bytes, offset: int) -> None:
    with pytest.raises(UserError, match=rf"mine\.txt must be UTF-8 text.*offset {offset}"):
        read_lines(write(tmp_path, data))


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"existing file; got '.*none\.txt'.*one text per line"):
        read_lines(tmp_path / "none.txt")


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it is a folder"):
        read_lines(tmp_path)


def test_unreadable_path_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, b"text")
    with pytest.raises(UserError, match="reading it failed"):
        read_lines(path / "below-a-file.txt")
