"""Blocks, tables and numbers of a report: what is text stays text."""

import pytest

from multum.core.errors import UserError
from multum.report import (
    Html,
    bar_cell,
    comparison_table,
    definitions,
    details,
    key_numbers,
    notes,
    paragraph,
    section,
    table,
)
from multum.report.markup import element, refuse_repeated_ids
from multum.report.number_text import format_fixed, format_percent, format_signed, tell_bytes
from report_samples import inference_cost

EVIL = "<script>alert('x')</script> & \"quotes\""


@pytest.mark.parametrize(
    "block",
    [
        paragraph(EVIL),
        section(EVIL, paragraph("inside")),
        table([EVIL, "b"], [["a", EVIL]], caption=EVIL),
        definitions({EVIL: EVIL, "inside": {EVIL: EVIL}, "list": [EVIL]}),
        key_numbers([(EVIL, EVIL, EVIL)]),
        notes([EVIL]),
        details(EVIL, EVIL),
        element("p", {"title": EVIL}),
        bar_cell(EVIL, 0.5),
    ],
    ids=["paragraph", "section", "table", "definitions", "key", "notes", "details", "attribute", "bar"],
)
def test_foreign_text_is_escaped_in_every_block(block: Html) -> None:
    assert "<script" not in block.markup
    assert "&lt;script&gt;" in block.markup
    assert '"quotes"' not in block.markup


def test_safe_markup_is_not_escaped_twice() -> None:
    assert str(paragraph(element("em", None, "a < b"))) == "<p><em>a &lt; b</em></p>"


def test_a_number_that_is_not_formatted_is_refused() -> None:
    with pytest.raises(TypeError):  # the type checker of the tests may be quicker than our own sentence
        element("p", None, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "build",
    [
        lambda: section(" ", paragraph("x")),
        lambda: section("Empty"),
        lambda: table([], []),
        lambda: table(["a"], []),
        lambda: definitions({}),
        lambda: key_numbers([]),
        lambda: notes([]),
        lambda: details("Nothing"),
        lambda: bar_cell("1", 1.5),
    ],
    ids=["title", "section", "header", "rows", "definitions", "key", "notes", "details", "share"],
)
def test_blocks_without_content_are_refused(build) -> None:
    with pytest.raises(UserError, match="must be"):
        build()


def test_a_row_of_the_wrong_length_is_named() -> None:
    with pytest.raises(UserError, match="row 1 of the table must be 2 cells long"):
        table(["a", "b"], [["1", "2"], ["3"]])


def test_comparison_table_holds_every_row_of_the_comparison() -> None:
    comparison = inference_cost("dense", 1.0) / inference_cost("keep 0.5", 0.5)
    markup = comparison_table(comparison).markup
    for row in comparison.rows():
        for cell in row:
            assert f">{cell}<" in markup
    assert ">2.00\u00d7<" in markup


def test_ids_that_repeat_are_refused() -> None:
    with pytest.raises(UserError, match="'same' twice"):
        refuse_repeated_ids('<p id="same"></p><p id="same"></p>')


def test_numbers_are_written_alike_everywhere() -> None:
    assert format_signed(0.04) == "0.0"
    assert format_signed(-2.06) == "\u22122.1"
    assert format_percent(1.0) == "100\u202f%"
    assert format_fixed(1234.5, 0) == "1,234"
    assert format_percent(float("inf")) == "\u2013"
    assert " " not in tell_bytes(5_000_000)
