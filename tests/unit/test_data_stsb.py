"""STS-B is read exactly, and every way in which a copy of it can be broken ends in a clear error."""

import os
from pathlib import Path

import pytest

from multum.core.errors import UserError
from multum.data import STSB_NUM_PAIRS, SentencePair, read_stsb

REPOSITORY = Path(__file__).resolve().parents[2]
REAL = Path(os.environ.get("MULTUM_DATA", REPOSITORY / ".." / "shared" / "data")) / "stsb_en"

needs_stsb = pytest.mark.skipif(not REAL.is_dir(), reason="no folder stsb_en in MULTUM_DATA (../shared/data)")


def write_split(folder: Path, content: str | bytes, name: str = "test.csv") -> Path:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    return folder


def test_quoted_commas_quotes_and_accents_are_read(tmp_path: Path) -> None:
    folder = write_split(tmp_path, 'A cat.,"Oh, a ""cat"".",4.25\r\nA café.,A bar.,0\r\n')
    assert read_stsb(folder) == (
        SentencePair(first="A cat.", second='Oh, a "cat".', score=4.25),
        SentencePair(first="A café.", second="A bar.", score=0.0),
    )


def test_byte_order_mark_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    folder = write_split(tmp_path, b"\xef\xbb\xbfA.,B.,1\n\nC.,D.,2\n")
    assert [pair.first for pair in read_stsb(folder)] == ["A.", "C."]


def test_published_file_name_is_found(tmp_path: Path) -> None:
    folder = write_split(tmp_path, "A.,B.,1\n", name="stsb-en-dev.csv")
    assert len(read_stsb(folder, "dev")) == 1


def test_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"split must be one of train, dev, test; got 'valid"):
        read_stsb(tmp_path, "validation")


def test_missing_folder_names_where_to_get_the_data(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"existing folder.*github\.com/PhilipMay/stsb-multi-mt"):
        read_stsb(tmp_path / "nowhere")


def test_missing_file_names_where_to_get_the_data(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.csv.*github\.com/PhilipMay/stsb-multi-mt"):
        read_stsb(tmp_path, "train")


def test_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test.csv").mkdir()
    with pytest.raises(UserError, match="it is a folder"):
        read_stsb(tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("A.,B.", "row 2 of test.csv must be a row of 3 columns"),
        ("A.,B.,1,2", "3 columns"),
        ("A.,B.,5.2", r"score in row 2 of test.csv must be a number from 0 to 5; got 5\.2"),
        ("A.,B.,-1", "from 0 to 5"),
        ("A.,B.,nan", "from 0 to 5"),
        ("A.,B.,high", "got 'high'"),
        (",B.,1", "first sentence in row 2"),
        ("A., ,1", "second sentence in row 2"),
        ('A.,"B.,1', "well-formed CSV"),
    ],
)
def test_broken_row_is_refused(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_stsb(write_split(tmp_path, f"First.,Second.,3.0\n{row}\n"))


def test_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="got 'score'"):
        read_stsb(write_split(tmp_path, "sentence1,sentence2,score\nA.,B.,1\n"))


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_empty_file_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(UserError, match="at least one row"):
        read_stsb(write_split(tmp_path, content))


def test_other_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"test\.csv must be UTF-8 text; got 'byte 0xe9 at offset 3"):
        read_stsb(write_split(tmp_path, "caf\u00e9,B.,1\n".encode("latin-1")))


def test_part_of_a_split_is_refused_only_on_request(tmp_path: Path) -> None:
    folder = write_split(tmp_path, "A.,B.,1\n")
    assert len(read_stsb(folder)) == 1
    with pytest.raises(UserError, match="1379 pairs; got 1"):
        read_stsb(folder, require_complete=True)


@pytest.mark.data
@needs_stsb
@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_real_split_is_complete(split: str) -> None:
    pairs = read_stsb(REAL, split, require_complete=True)
    assert len(pairs) == STSB_NUM_PAIRS[split]
    assert (min(pair.score for pair in pairs), max(pair.score for pair in pairs)) == (0.0, 5.0)


@pytest.mark.data
@needs_stsb
def test_real_test_split_has_1379_pairs() -> None:
    pairs = read_stsb(REAL)
    assert len(pairs) == 1379
    assert pairs[0] == SentencePair(
        first="A girl is styling her hair.", second="A girl is brushing her hair.", score=2.5
    )
