"""Sentence pairs with a human judgement of how alike they are, on STS-B's scale.

The scale runs from 0 (unrelated) over 2 (the same subject, another statement) and 4 (the same but for
details) to 5 (the same meaning). An encoder is judged by the rank correlation between its cosine
similarities and these scores. The bundled pairs are few: enough to see that pruning keeps or breaks the
order, not to publish a score. For that, see `read_stsb`.
"""

from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from multum.core.errors import invalid
from multum.data.checks import check_text, parse_object

MAX_SCORE = 5.0
"""The score of two sentences with the same meaning; unrelated ones score 0."""

_PAIR_LENGTH = 3


@dataclass(frozen=True, kw_only=True)
class SentencePair:
    """Two sentences and how alike they are."""

    first: str
    """One sentence."""
    second: str
    """The sentence that it is compared with."""
    score: float
    """Likeness, 0 (unrelated) to 5 (the same meaning)."""


def checked_pair(first: object, second: object, score: object, where: str) -> SentencePair:
    """Build a pair from values as they come out of a file.

    Args:
        first: The first sentence.
        second: The second sentence.
        score: A finite number from 0 to 5.
        where: The place in the file, for the error.

    Returns:
        The pair, its score a float.

    Raises:
        UserError: A sentence is not text or blank, or the score is not a number from 0 to 5.

    Example:
        >>> checked_pair("A dog runs.", "A dog is running.", 5, "row 1").score
        5.0
    """
    return SentencePair(
        first=check_text(first, f"first sentence in {where}"),
        second=check_text(second, f"second sentence in {where}"),
        score=_score(score, f"score in {where}"),
    )


def load_sentence_pairs(file: Traversable | None = None) -> tuple[SentencePair, ...]:
    """Read sentence pairs, the bundled ones unless told otherwise.

    Args:
        file: A JSON file `{"pairs": [[first, second, score], ...], "provenance": ...}`; None reads the
            bundled one.

    Returns:
        The pairs, in the order of the file; never empty.

    Raises:
        UserError: The file is missing or breaks the form, or a score lies outside 0 to 5.

    Example:
        >>> pairs = load_sentence_pairs()
        >>> all(0 <= pair.score <= 5 for pair in pairs)
        True
    """
    source = resources.files("multum.data").joinpath("sentence_pairs.json") if file is None else file
    if not source.is_file():
        raise invalid("sentence pair file", "an existing file", str(source))
    data = parse_object(source.read_bytes(), f"sentence pair file {source.name}", ("pairs", "provenance"))
    rows = data["pairs"]
    if not isinstance(rows, list) or not rows:
        raise invalid(f"pairs in {source.name}", "a list with at least one pair", rows)
    return tuple(_pair(row, f"pair {place} of {source.name}") for place, row in enumerate(rows, 1))


def _pair(row: object, where: str) -> SentencePair:
    """Check one row of the file."""
    if not isinstance(row, list) or len(row) != _PAIR_LENGTH:
        raise invalid(where, "a list [first, second, score]", row)
    first, second, score = row
    return checked_pair(first, second, score, where)


def _score(value: object, name: str) -> float:
    """Return a finite number from 0 to `MAX_SCORE` as a float."""
    # bool is an int to Python, and NaN fails the comparison.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_SCORE:
        raise invalid(name, f"a number from 0 to {MAX_SCORE:g}", value)
    return float(value)
