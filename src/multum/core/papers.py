"""Published numbers, each with its unit and the place in the paper that it was read from.

A number that came out of a paper lives in one file, `multum/papers/NAME.toml`, and everything that stands beside it
(reports, benchmark tables, tests that hold a constant of the code against its source) asks here. So no number is typed
twice, and each can be looked up by a reader who doubts it.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from multum.core.config import from_dict
from multum.core.errors import UserError, did_you_mean, invalid, wrong_type

SUFFIX = ".toml"


@dataclass(frozen=True, kw_only=True)
class Published:
    """One published number, or a sentence that a figure shows.

    Raises:
        UserError: A text that is empty.
    """

    about: str
    """What it is a number of."""
    value: int | float | str
    """The number as printed; a string where the paper shows words."""
    unit: str
    """Its unit; "text" for words."""
    where: str
    """Section, figure or table."""

    def __post_init__(self) -> None:
        for name in ("about", "value", "unit", "where"):
            text = getattr(self, name)
            if isinstance(text, str) and not text.strip():
                raise invalid(name, "some text", text)

    @property
    def number(self) -> float:
        """The value as a number.

        Raises:
            UserTypeError: It is words.
        """
        if isinstance(self.value, str):
            raise wrong_type(self.about, "a number", self.value, "read .value for words")
        return float(self.value)


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A paper, and the numbers of it that this project uses.

    Raises:
        UserError: A text that is empty, no author, or no number.
    """

    title: str
    """Its title."""
    authors: tuple[str, ...]
    """Its authors, in the order of the paper."""
    venue: str
    """Where it appeared."""
    year: int
    """When."""
    arxiv: str = ""
    """Its number on arXiv; empty where it is not there."""
    doi: str = ""
    """Its digital object identifier; empty where it has none."""
    url: str = ""
    """Where it can be read, if neither of these says it."""
    numbers: Mapping[str, Published]
    """What was taken from it."""

    def __post_init__(self) -> None:
        for name in ("title", "authors", "venue", "link", "numbers"):
            if not getattr(self, name):
                raise invalid(name, "filled", getattr(self, name))

    @property
    def link(self) -> str:
        """Where it can be read."""
        if self.arxiv:
            return f"https://arxiv.org/abs/{self.arxiv}"
        return f"https://doi.org/{self.doi}" if self.doi else self.url


def paper_names() -> tuple[str, ...]:
    """The papers that have a file, in alphabetical order.

    >>> "spatten" in paper_names()
    True
    """
    files = (entry.name for entry in _folder().iterdir())
    return tuple(sorted(name.removesuffix(SUFFIX) for name in files if name.endswith(SUFFIX)))


def load_paper(paper: str) -> Paper:
    """Read a paper's file.

    Args:
        paper: Its short name, one of `paper_names()`.

    Raises:
        UserError: There is no such paper, or its file is incomplete; the message names the key.

    >>> load_paper("spatten").link
    'https://arxiv.org/abs/2012.09852'
    """
    if paper not in paper_names():
        raise UserError(f"{paper!r} is not a paper of this project; {did_you_mean(paper, paper_names())}")
    text = _folder().joinpath(paper + SUFFIX).read_text(encoding="utf-8")
    return from_dict(Paper, tomllib.loads(text), name=paper)


def published(paper: str, key: str) -> Published:
    """Look a published number up.

    Args:
        paper: Short name of the paper, one of `paper_names()`.
        key: Which of its numbers.

    Raises:
        UserError: There is no such paper or number; the message names those that come close.

    >>> ratio = published("spatten", "unpruned_layers_part")
    >>> ratio.value, ratio.unit, ratio.where
    (0.15, 'of the layers', 'section III-A')
    """
    numbers = load_paper(paper).numbers
    if key not in numbers:
        raise UserError(f"{key!r} is not a number of {paper}; {did_you_mean(key, numbers)}")
    return numbers[key]


def _folder() -> Traversable:
    return resources.files("multum").joinpath("papers")
