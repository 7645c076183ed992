"""Files are whole or absent, and every reader's complaint is one sentence."""

import errno
import os
from pathlib import Path

import pytest

from multum.core.errors import UserError
from multum.core.files import (
    cannot_write,
    read_json,
    read_text,
    write_bytes_atomic,
    write_json_atomic,
    write_text_atomic,
)


def test_written_text_is_read_back(tmp_path: Path) -> None:
    place = tmp_path / "new" / "folder" / "note.txt"
    write_text_atomic(place, "Zäune\n")
    assert read_text(place) == "Zäune\n"


def test_floats_survive_json_exactly(tmp_path: Path) -> None:
    numbers = [0.1, 1 / 3, 1e-308, 123456789.123456789, -0.0]
    write_json_atomic(tmp_path / "numbers.json", numbers)
    assert [repr(number) for number in read_json(tmp_path / "numbers.json")] == [repr(n) for n in numbers]


def test_failed_write_keeps_the_old_file_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "result.json"
    write_text_atomic(place, "old")

    def refuse(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(UserError, match=r"could not be written: input/output error"):
        write_text_atomic(place, "new")
    assert place.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["result.json"]


def test_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="the disk is full; free some space") as caught:
        write_bytes_atomic(tmp_path / "big", b"x")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_really_full_device_is_told_in_the_same_sentence() -> None:
    with pytest.raises(OSError, match="No space") as caught:
        Path("/dev/full").write_text("x")
    assert "the disk is full" in str(cannot_write(Path("/dev/full"), caught.value))


def test_written_files_are_readable_by_others(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        write_text_atomic(tmp_path / "page.html", "<p>")
        assert (tmp_path / "page.html").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(old)


def test_place_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="could not be written"):
        write_text_atomic(tmp_path / "file" / "below", "y")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_numbers_without_a_json_word_are_refused_by_name(tmp_path: Path, bad: float) -> None:
    with pytest.raises(UserError, match=r"out\.json\.cases\[1\]\.seconds must be .*got (nan|inf|-inf)"):
        write_json_atomic(tmp_path / "out.json", {"cases": [{"seconds": 1.0}, {"seconds": bad}]})
    assert not (tmp_path / "out.json").exists()


def test_object_without_a_json_form_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"out\.json\.place must be something that JSON can hold"):
        write_json_atomic(tmp_path / "out.json", {"place": tmp_path})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON; it breaks at line 1, column 2"),
        ("", "must be JSON"),
        ('{"a": NaN}', "must be finite; got 'NaN'"),
        ('{"a": 1, "a": 2}', "the key 'a' appears twice"),
        ("[" * 200_000, "nested too deeply"),
    ],
)
def test_broken_json_is_told_with_file_and_place(tmp_path: Path, text: str, message: str) -> None:
    place = tmp_path / "broken.json"
    place.write_text(text)
    with pytest.raises(UserError) as caught:
        read_json(place)
    assert message in str(caught.value)
    assert str(place) in str(caught.value)


def test_missing_file_folder_and_binary_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"ab\xff")
    with pytest.raises(UserError, match="does not exist"):
        read_text(tmp_path / "missing")
    with pytest.raises(UserError, match="cannot be read: is a directory"):
        read_text(tmp_path)
    with pytest.raises(UserError, match="must be UTF-8 text; byte 2 is not"):
        read_text(tmp_path / "binary")
