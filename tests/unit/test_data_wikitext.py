"""WikiText-2's paragraphs are read without its headings, and parted from their first sentence where it ends."""

from pathlib import Path

import pytest

from multum.core import UserError
from multum.data import read_wikitext2, take_first_sentence

ARTICLE = (
    " \n = Lobster = \n \n = = Life = = \n A lobster lives . It moults . \n = = = Food = = = \n 2 = 2 . \n"
)


@pytest.mark.parametrize("name", ["valid.txt", "wiki.valid.tokens"])
def test_headings_and_blank_lines_are_left_out(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(ARTICLE)
    assert read_wikitext2(tmp_path) == ("A lobster lives . It moults .", "2 = 2 .")


def test_errors_say_where_the_data_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"folder must be an existing folder.*huggingface\.co"):
        read_wikitext2(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"file must be an existing file.*huggingface\.co"):
        read_wikitext2(tmp_path, "test")
    with pytest.raises(UserError, match="split must be one of train, valid, test"):
        read_wikitext2(tmp_path, "dev")
    (tmp_path / "valid.txt").write_text(" = Only a heading = \n")
    with pytest.raises(UserError, match="at least one paragraph"):
        read_wikitext2(tmp_path)


@pytest.mark.parametrize(
    ("paragraph", "query", "rest"),
    [
        ("It rose . It fell .", "It rose .", "It fell ."),
        ('He said " no . " She left .', 'He said " no . "', "She left ."),
        ("Who ? The man .", "Who ?", "The man ."),
        ("Dr. no . lower case goes on . Then this .", "Dr. no . lower case goes on .", "Then this ."),
        ("It costs 3 @.@ 5 pounds . <unk> paid .", "It costs 3 @.@ 5 pounds .", "<unk> paid ."),
    ],
)
def test_the_first_sentence_ends_where_another_begins(paragraph: str, query: str, rest: str) -> None:
    cloze = take_first_sentence(paragraph)
    assert cloze is not None
    assert (cloze.query, cloze.rest) == (query, rest)


def test_one_sentence_leaves_nothing_to_find() -> None:
    assert take_first_sentence("Only this .") is None


@pytest.mark.data
def test_real_paragraphs_are_read(data_folder: Path) -> None:
    paragraphs = read_wikitext2(data_folder / "wikitext2", "test")
    assert len(paragraphs) == 2185
    assert sum(take_first_sentence(text) is not None for text in paragraphs) > 1700
