"""Published numbers: complete, findable, and the same as those that the code works with."""

from dataclasses import fields, replace

import pytest

from multum.attention.schedule import UNPRUNED_PART
from multum.core import Paper, Published, UserError, UserTypeError, load_paper, paper_names, published
from multum.core.config import from_dict, to_dict
from multum.demo.main_job import PAPER_SENTENCE

EVERY_NUMBER = [(paper, key) for paper in paper_names() for key in load_paper(paper).numbers]


@pytest.mark.parametrize("name", paper_names())
def test_paper_can_be_found_in_a_library(name: str) -> None:
    paper = load_paper(name)
    assert paper.title
    assert paper.venue
    assert all(" " in author for author in paper.authors), "first and last names"
    assert 2000 < paper.year < 2100
    assert not paper.arxiv or len(paper.arxiv.split(".")) == 2
    assert (paper.arxiv or paper.doi or paper.url) in paper.link
    assert not paper.doi or paper.doi.startswith("10.")


@pytest.mark.parametrize(("paper", "key"), EVERY_NUMBER)
def test_every_number_says_what_it_is_its_unit_and_where_it_stands(paper: str, key: str) -> None:
    entry = published(paper, key)
    assert entry.about[0].isupper()
    assert entry.unit
    assert any(
        word in entry.where
        for word in ("abstract", "section", "Fig.", "Table", "Alg.", "page", "public trace", "liberty file")
    )
    if entry.unit == "text":
        assert isinstance(entry.value, str)
    else:
        assert entry.number > 0


def test_code_and_paper_agree_on_the_unpruned_layers() -> None:
    assert published("spatten", "unpruned_layers_part").number == UNPRUNED_PART


def test_demo_shows_the_sentence_of_the_figure() -> None:
    assert published("spatten", "figure_1_sentence").value == PAPER_SENTENCE


def test_tokens_of_the_figure_are_words_and_marks() -> None:
    sentence = str(published("spatten", "figure_1_sentence").value)
    tokens = sentence.replace(",", " ,").replace(".", " .").split()
    assert len(tokens) == published("spatten", "figure_1_tokens_before").value
    left = str(published("spatten", "figure_1_words_after").value).split()
    assert len(left) == published("spatten", "figure_1_tokens_after").value
    assert set(left) <= set(tokens)


@pytest.mark.parametrize(
    ("paper", "key", "message"),
    [
        ("spaten", "x", "'spaten' is not a paper of this project; did you mean spatten?"),
        ("zebra", "x", "'zebra' is not a paper of this project; known: .*spatten"),
        (
            "spatten",
            "dram_reductoin",
            "'dram_reductoin' is not a number of spatten; did you mean dram_reduct",
        ),
    ],
)
def test_unknown_paper_or_number_is_refused_with_what_comes_close(paper: str, key: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        published(paper, key)


def test_words_are_no_number() -> None:
    with pytest.raises(UserTypeError, match="must be a number; got 'film perfect'"):
        _ = published("spatten", "figure_1_words_after").number


@pytest.mark.parametrize("name", [field.name for field in fields(Published)])
def test_number_without_one_of_its_parts_is_refused(name: str) -> None:
    entry = published("spatten", "figure_1_sentence")
    with pytest.raises(UserError, match=f"{name} must be some text; got ' '"):
        replace(entry, **{name: " "})
    data = to_dict(load_paper("spatten"))
    del data["numbers"]["figure_1_sentence"][name]
    with pytest.raises(UserError, match=rf"numbers\.figure_1_sentence\.{name} is missing"):
        from_dict(Paper, data)


@pytest.mark.parametrize("name", ["title", "authors", "venue", "numbers"])
def test_paper_without_one_of_its_parts_is_refused(name: str) -> None:
    paper = load_paper("spatten")
    with pytest.raises(UserError, match=f"{name} must be filled"):
        replace(paper, **{name: type(getattr(paper, name))()})
