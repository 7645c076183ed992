r"""WikiText-2, good articles of Wikipedia, from the word-level files on your disk.

A file is plain text, a paragraph on a line, with headings set between equal signs and rare words replaced by `<unk>`;
words and punctuation have spaces between them. The project ships none of it: it is under CC BY-SA.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from multum.core.errors import invalid
from multum.data.text_files import read_utf8

WikiSplit = Literal["train", "valid", "test"]
"""The names of the splits, for configurations."""

WIKITEXT2_SOURCE = (
    "get WikiText-2 at word level (train.txt, valid.txt and test.txt, also called wiki.train.tokens and so on), for "
    "instance from https://huggingface.co/datasets/Salesforce/wikitext, and put it into one folder"
)
"""Where a stranger gets the files, as the errors say it."""

_HEADING = re.compile(r"=( =)* .* =( =)*")
_SENTENCE_END = re.compile(r" [.!?](?: ['\"])* (?=[A-Z\"'<])")


@dataclass(frozen=True, kw_only=True)
class Cloze:
    """A paragraph whose first sentence was taken out, to be found again by it."""

    query: str
    """The first sentence."""
    rest: str
    """The paragraph without it."""


def read_wikitext2(folder: Path, split: str = "valid") -> tuple[str, ...]:
    r"""Read the paragraphs of one split, headings left out.

    Args:
        folder: A folder with `valid.txt` (or `wiki.valid.tokens`), and likewise for the other splits.
        split: "train", "valid" or "test".

    Returns:
        The paragraphs as they lie in the file, in its order; never empty.

    Raises:
        UserError: The split is unknown; the folder or file is missing, is not UTF-8, or holds no paragraph.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "test.txt"
        ...     _ = path.write_text(" = Tides = \n \n The sea rises . It falls . \n", encoding="utf-8")
        ...     read_wikitext2(Path(folder), "test")
        ('The sea rises . It falls .',)
    """
    if split not in get_args(WikiSplit):
        raise invalid("split", f"one of {', '.join(get_args(WikiSplit))}", split)
    if not folder.is_dir():
        raise invalid("WikiText-2 folder", "an existing folder", str(folder), WIKITEXT2_SOURCE)
    published = folder / f"wiki.{split}.tokens"
    path = published if published.is_file() else folder / f"{split}.txt"
    lines = [line.strip() for line in read_utf8(path, "WikiText-2 file", WIKITEXT2_SOURCE).split("\n")]
    paragraphs = tuple(line for line in lines if line and not _HEADING.fullmatch(line))
    if not paragraphs:
        raise invalid("WikiText-2 file", "at least one paragraph", str(path), WIKITEXT2_SOURCE)
    return paragraphs


def take_first_sentence(paragraph: str) -> Cloze | None:
    """Part a paragraph of tokenized text after its first sentence; None when it has only one.

    >>> take_first_sentence("The sea rises . It falls .")
    Cloze(query='The sea rises .', rest='It falls .')
    >>> take_first_sentence("The sea rises .") is None
    True
    """
    end = _SENTENCE_END.search(paragraph)
    if end is None:
        return None
    return Cloze(query=paragraph[: end.end()].strip(), rest=paragraph[end.end() :].strip())
