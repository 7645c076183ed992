"""STS-B, the Semantic Textual Similarity Benchmark, from CSV files on your disk.

8,628 English sentence pairs from news, captions and forums, each scored from 0 to 5 by people. It is the
usual yardstick of sentence encoders: the rank correlation between cosine similarity and score on the test
split. The project ships none of it, because its sentences keep their own licences; the reader takes a
folder and verifies every row, so that a broken download ends in an error and not in a slightly wrong
correlation.

A file has no header; each row is `first sentence,second sentence,score`, quoted as CSV where a comma asks
for it.
"""

import csv
import io
from pathlib import Path
from typing import Literal, get_args

from multum.core.errors import invalid
from multum.data.pairs import SentencePair, checked_pair
from multum.data.text_files import read_utf8

Split = Literal["train", "dev", "test"]
"""The names of the splits, for configurations."""

STSB_NUM_PAIRS: dict[str, int] = {"train": 5749, "dev": 1500, "test": 1379}
"""Number of pairs in each split as published."""

STSB_SOURCE = (
    "get stsb-en-train.csv, stsb-en-dev.csv and stsb-en-test.csv from the folder data of "
    "https://github.com/PhilipMay/stsb-multi-mt and put them into one folder"
)
"""Where a stranger gets the files, as the errors say it."""

_NUM_COLUMNS = 3


def read_stsb(
    folder: Path, split: str = "test", *, require_complete: bool = False
) -> tuple[SentencePair, ...]:
    r"""Read one split of STS-B.

    Args:
        folder: A folder with `test.csv` (or `stsb-en-test.csv`, the name it is published under), and
            likewise for the other splits.
        split: "train", "dev" or "test".
        require_complete: Whether to refuse a file with another number of pairs than the published split.
            Leave it False to read a part of the benchmark.

    Returns:
        The pairs, in the order of the file; never empty.

    Raises:
        UserError: The split is unknown; the folder or file is missing; the file is empty or not UTF-8; a
            row has not three columns, a blank sentence, or a score that is not a number from 0 to 5.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "test.csv"
        ...     _ = path.write_text('A dog runs.,"A dog, running.",4.8\n', encoding="utf-8")
        ...     read_stsb(Path(folder))
        (SentencePair(first='A dog runs.', second='A dog, running.', score=4.8),)
    """
    if split not in get_args(Split):
        raise invalid("split", f"one of {', '.join(get_args(Split))}", split)
    path = _split_file(folder, split)
    text = read_utf8(path, "STS-B file", STSB_SOURCE)
    pairs = tuple(_pair(row, f"row {number} of {path.name}") for number, row in _rows(text, path.name))
    if not pairs:
        raise invalid("STS-B file", "at least one row", str(path), STSB_SOURCE)
    if require_complete and len(pairs) != STSB_NUM_PAIRS[split]:
        constraint = f"the whole split, {STSB_NUM_PAIRS[split]} pairs"
        raise invalid(f"STS-B file {path.name}", constraint, len(pairs), STSB_SOURCE)
    return pairs


def _split_file(folder: Path, split: str) -> Path:
    """The file of a split under whichever of its two names is there."""
    if not folder.is_dir():
        raise invalid("STS-B folder", "an existing folder", str(folder), STSB_SOURCE)
    published = folder / f"stsb-en-{split}.csv"
    return published if published.is_file() else folder / f"{split}.csv"


def _rows(text: str, name: str) -> list[tuple[int, list[str]]]:
    """The rows of a CSV text that are not blank, numbered from 1."""
    # newline="" leaves line ends inside quotes to the csv module.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return [(number, row) for number, row in enumerate(reader, 1) if row]
    except csv.Error as error:
        raise invalid(f"STS-B file {name}", "well-formed CSV", f"line {reader.line_num}: {error}") from error


def _pair(row: list[str], where: str) -> SentencePair:
    """Check one row."""
    if len(row) != _NUM_COLUMNS:
        remedy = "the columns are first sentence, second sentence, score, without a header"
        raise invalid(where, f"a row of {_NUM_COLUMNS} columns", row, remedy)
    try:
        score: float | str = float(row[2])
    except ValueError:
        score = row[2]  # checked_pair names the text in its error
    return checked_pair(row[0], row[1], score, where)
