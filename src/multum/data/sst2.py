r"""SST-2, the Stanford Sentiment Treebank with two labels, from the GLUE files on your disk.

Phrases of film reviews, each labelled negative (0) or positive (1). A file begins with a header; each row holds a
label and a text with a tab between them, in the order that the header says (GLUE's own files have the text first).
The project ships none of it, because the data name no licence.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from multum.core.errors import invalid
from multum.data.checks import check_text
from multum.data.stsb import Split
from multum.data.text_files import read_utf8

SST2_NUM_SENTENCES: dict[str, int] = {"train": 67349, "dev": 872, "test": 1821}
"""Number of rows in each split as published."""

SST2_SOURCE = (
    "get train.tsv and dev.tsv from https://dl.fbaipublicfiles.com/glue/data/SST-2.zip and put them into one folder; "
    "a test.tsv with labels comes with https://nlp.stanford.edu/sentiment/"
)
"""Where a stranger gets the files, as the errors say it."""

LABEL_COLUMN = "label"
TEXT_COLUMNS = ("sentence", "content")


@dataclass(frozen=True, kw_only=True)
class LabelledSentence:
    """A text and its class."""

    text: str
    """The text, as in the file."""
    label: int
    """0 or 1; in SST-2 negative or positive."""


def read_sst2(
    folder: Path, split: str = "dev", *, require_complete: bool = False
) -> tuple[LabelledSentence, ...]:
    r"""Read one split of SST-2.

    Args:
        folder: A folder with `train.tsv`, `dev.tsv` and, with labels, `test.tsv`.
        split: "train", "dev" or "test".
        require_complete: Whether to refuse a file with another number of rows than the published split.

    Returns:
        The sentences, in the order of the file; never empty.

    Raises:
        UserError: The split is unknown; the folder or file is missing; there is no header with a label column
            (GLUE's own test file has none); a row has not two columns, a blank text, or another label than 0 and 1.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "dev.tsv"
        ...     _ = path.write_text("sentence\tlabel\na gripping film\t1\n", encoding="utf-8")
        ...     read_sst2(Path(folder))
        (LabelledSentence(text='a gripping film', label=1),)
    """
    if split not in get_args(Split):
        raise invalid("split", f"one of {', '.join(get_args(Split))}", split)
    if not folder.is_dir():
        raise invalid("SST-2 folder", "an existing folder", str(folder), SST2_SOURCE)
    path = folder / f"{split}.tsv"
    header, *rows = read_utf8(path, "SST-2 file", SST2_SOURCE).replace("\r\n", "\n").split("\n")
    label_column = _label_column(header, path.name)
    sentences = tuple(
        _sentence(row, label_column, f"row {number} of {path.name}")
        for number, row in enumerate(rows, 2)
        if row
    )
    if not sentences:
        raise invalid("SST-2 file", "at least one row below the header", str(path), SST2_SOURCE)
    if require_complete and len(sentences) != SST2_NUM_SENTENCES[split]:
        constraint = f"the whole split, {SST2_NUM_SENTENCES[split]} sentences"
        raise invalid(f"SST-2 file {path.name}", constraint, len(sentences), SST2_SOURCE)
    return sentences


def _label_column(header: str, name: str) -> int:
    """Which of the two columns holds the label."""
    columns = header.split("\t")
    if len(columns) != 2 or LABEL_COLUMN not in columns or not set(columns) & set(TEXT_COLUMNS):
        constraint = f"{LABEL_COLUMN} and {' or '.join(TEXT_COLUMNS)} with a tab between"
        raise invalid(f"header of {name}", constraint, header, SST2_SOURCE)
    return columns.index(LABEL_COLUMN)


def _sentence(row: str, label_column: int, where: str) -> LabelledSentence:
    """Check one row."""
    cells = row.split("\t")
    if len(cells) != 2:
        raise invalid(where, "a label and a text with a tab between", row)
    if cells[label_column] not in {"0", "1"}:
        raise invalid(f"label in {where}", "0 or 1", cells[label_column])
    text = check_text(cells[1 - label_column], f"text in {where}")
    return LabelledSentence(text=text.strip(), label=int(cells[label_column]))
