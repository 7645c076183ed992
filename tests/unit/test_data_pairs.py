"""Sentence pairs: the bundled ones are usable, and a file that breaks the form is refused."""

import json
from pathlib import Path

import pytest

from multum.core.errors import UserError
from multum.data import SentencePair, load_sentence_pairs


def write_pairs(folder: Path, pairs: object, **more: object) -> Path:
    path = folder / "pairs.json"
    data = {"pairs": pairs, "provenance": "made up for a test"} | more
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def test_bundled_pairs_are_many_and_spread_over_the_scale() -> None:
    pairs = load_sentence_pairs()
    assert len(pairs) >= 60
    assert {round(pair.score) for pair in pairs} == {0, 1, 2, 3, 4, 5}


def test_bundled_pairs_are_distinct() -> None:
    pairs = load_sentence_pairs()
    assert len({frozenset((pair.first, pair.second)) for pair in pairs}) == len(pairs)


def test_pairs_keep_order_and_scores(tmp_path: Path) -> None:
    path = write_pairs(tmp_path, [["A.", "B.", 0], ["C.", "D.", 4.5]])
    assert load_sentence_pairs(path) == (
        SentencePair(first="A.", second="B.", score=0.0),
        SentencePair(first="C.", second="D.", score=4.5),
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["A.", "B.", 5.01], "from 0 to 5"),
        (["A.", "B.", -0.1], "score in pair 2"),
        (["A.", "B.", float("nan")], "from 0 to 5"),
        (["A.", "B.", True], "from 0 to 5"),
        (["A.", "B.", "3"], "from 0 to 5"),
        (["A.", " ", 3], "second sentence in pair 2 of pairs.json"),
        ([None, "B.", 3], "first sentence"),
        (["A.", "B."], "first, second, score"),
        ("A. B. 3", "first, second, score"),
    ],
)
def test_broken_pair_is_refused(tmp_path: Path, row: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_sentence_pairs(write_pairs(tmp_path, [["A.", "B.", 1], row]))


@pytest.mark.parametrize("pairs", [[], {}, None])
def test_file_without_pairs_is_refused(tmp_path: Path, pairs: object) -> None:
    with pytest.raises(UserError, match="at least one pair"):
        load_sentence_pairs(write_pairs(tmp_path, pairs))


def test_unknown_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exactly the keys pairs, provenance"):
        load_sentence_pairs(write_pairs(tmp_path, [["A.", "B.", 1]], licence="MIT"))


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="existing file"):
        load_sentence_pairs(tmp_path / "none.json")
