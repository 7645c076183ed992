"""The bundled passages keep the promises of their module; a folder that breaks the form is refused."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from multum.core.errors import UserError
from multum.data import Passage, load_passages

BUNDLED = load_passages()


def entry(number: int, **changes: object) -> dict[str, object]:
    """A passage that passes every check, with some fields replaced."""
    fields: dict[str, object] = {
        "identifier": f"moon-{number}",
        "title": f"Title {number}",
        "text": " ".join(["word"] * 150),
        "queries": [f"What is {number}?", f"Who is {number}?"],
    }
    return fields | changes


def write_topic(folder: Path, *, name: str = "moon.json", **changes: Any) -> Path:
    """Writes a topic file of three passages, the first with some fields replaced."""
    passages = [entry(1, **changes), entry(2), entry(3)]
    (folder / name).write_text(json.dumps({"topic": "moon", "passages": passages}), encoding="utf-8")
    return folder


def test_every_topic_has_siblings() -> None:
    counts = Counter(passage.topic for passage in BUNDLED)
    assert len(counts) >= 12
    assert min(counts.values()) >= 3


def test_identifiers_titles_and_texts_are_unique() -> None:
    for field in ("identifier", "title", "text"):
        values = [getattr(passage, field) for passage in BUNDLED]
        assert len(set(values)) == len(values), field


def test_queries_are_unique_across_the_corpus() -> None:
    queries = [query.casefold() for passage in BUNDLED for query in passage.queries]
    assert len(set(queries)) == len(queries) == 2 * len(BUNDLED)


@pytest.mark.parametrize("passage", BUNDLED, ids=lambda passage: passage.identifier)
def test_bundled_passage_is_one_clean_paragraph(passage: Passage) -> None:
    assert 120 <= len(passage.text.split()) <= 250
    assert passage.text == " ".join(passage.text.split()), "stray white space"
    assert passage.text.endswith("."), "the last sentence must be whole"
    assert passage.title not in passage.text


@pytest.mark.parametrize("passage", BUNDLED, ids=lambda passage: passage.identifier)
def test_bundled_queries_are_questions_in_other_words(passage: Passage) -> None:
    for query in passage.queries:
        assert query.endswith("?")
        assert 6 <= len(query.split()) <= 16
        assert query.rstrip("?").casefold() not in passage.text.casefold()


def test_passages_come_in_order_of_file_name(tmp_path: Path) -> None:
    write_topic(tmp_path, name="b.json", identifier="late-1")
    (tmp_path / "a.json").write_text(
        json.dumps({"topic": "sun", "passages": [entry(4), entry(5), entry(6)]}), encoding="utf-8"
    )
    with pytest.raises(UserError, match="used only once"):
        load_passages(write_topic(tmp_path, name="c.json"))
    (tmp_path / "c.json").unlink()
    (tmp_path / "notes.txt").write_text("ignored", encoding="utf-8")
    identifiers = [passage.identifier for passage in load_passages(tmp_path)]
    assert identifiers == ["moon-4", "moon-5", "moon-6", "late-1", "moon-2", "moon-3"]


def test_fields_arrive_unchanged(tmp_path: Path) -> None:
    first = load_passages(write_topic(tmp_path))[0]
    expected = Passage(
        identifier="moon-1",
        topic="moon",
        title="Title 1",
        text=" ".join(["word"] * 150),
        queries=("What is 1?", "Who is 1?"),
    )
    assert first == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": "too short"}, "120 to 250 words"),
        ({"text": " ".join(["word"] * 251)}, "120 to 250 words"),
        ({"text": 7}, "text of passage 1 of moon.json"),
        ({"queries": ["only one?"]}, "2 questions"),
        ({"queries": ["twice?", "twice?"]}, "used only once"),
        ({"queries": ["fine?", " "]}, "not blank"),
        ({"queries": "two"}, "2 questions"),
        ({"identifier": "moon-2"}, "used only once"),
        ({"title": ""}, "title of passage 1"),
        ({"colour": "red"}, "exactly the keys"),
    ],
)
def test_broken_passage_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_passages(write_topic(tmp_path, **changes))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "JSON"),
        (b'{"topic": "moon",', "line 1"),
        (b"[]", "exactly the keys"),
        (b'{"topic": "moon"}', "exactly the keys topic, passages"),
        (b'{"topic": "moon", "passages": []}', "at least 3"),
        (b'{"topic": "moon", "passages": 3}', "at least 3"),
        (b'{"topic": "", "passages": [1, 2, 3]}', "not blank"),
        (b'{"topic": "moon", "passages": [1, 2, 3]}', "passage 1 of moon.json"),
        (b'{"topic": "caf\xe9", "passages": []}', "0xe9 at offset 14"),
    ],
)
def test_broken_topic_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "moon.json").write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_passages(tmp_path)


def test_folder_without_topic_files_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError, match="at least one topic file"):
            load_passages(folder)
