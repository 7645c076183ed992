"""The blocks a page is made of: sections, paragraphs, key numbers, definitions, notes, folds.

Each is a function from plain text to safe markup, so that a page reads like its own outline:

    page.add(
        section(
            "Retrieval",
            paragraph("Half the tokens find the same passages."),
            table(["Schedule", "R@1"], [["dense", "0.32"], ["flat 0.4", "0.32"]]),
        )
    )
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from multum.core.errors import invalid
from multum.report.markup import Html, element, join, slug


@dataclass(frozen=True)
class Section(Html):
    """A part of a page with a heading of its own; the page lists it in its contents."""

    title: str = ""
    """The heading."""

    identifier: str = ""
    """The address of the section within the page."""


def section(title: str, *blocks: "Html | str") -> Section:
    """Build a part of a page under a heading.

    Args:
        title: The heading; it also makes the section's address, so two sections of a page differ in it.
        blocks: What stands under it.

    Returns:
        The section.

    Raises:
        UserError: When the title or the content is empty.

    >>> section("Cost before and after", paragraph("Less.")).identifier
    'cost-before-and-after'
    """
    if not title.strip():
        raise invalid("a section's title", "some text", title)
    if not blocks:
        raise invalid("a section's content", "at least one block", blocks, f"fill or drop {title!r}")
    identifier = slug(title)
    heading = element("h2", {"id": f"{identifier}-title"}, title)
    attributes = {"id": identifier, "aria-labelledby": f"{identifier}-title"}
    return Section(element("section", attributes, heading, *blocks).markup, title, identifier)


def subsection(title: str, *blocks: "Html | str") -> Html:
    """Build a smaller part under a smaller heading, which the contents do not list."""
    return element("div", {"class": "subsection"}, element("h3", None, title), *blocks)


def paragraph(text: "Html | str", *, lead: bool = False) -> Html:
    """Build a paragraph.

    Args:
        text: What it says.
        lead: Whether it opens a section, set a little larger.

    Returns:
        The paragraph.

    >>> str(paragraph("R@1 < 0.4"))
    '<p>R@1 &lt; 0.4</p>'
    """
    return element("p", {"class": "lead" if lead else None}, text)


def small_print(text: "Html | str") -> Html:
    """Build a line in the size of a caption."""
    return element("p", {"class": "caption"}, text)


def key_numbers(numbers: Sequence[tuple[str, str, str]]) -> Html:
    """Show the few numbers that a reader should leave with.

    Args:
        numbers: For each its label, its value as text, and a note (empty for none).

    Returns:
        A definition list, set as large figures.

    Raises:
        UserError: When there are none.
    """
    if not numbers:
        raise invalid("numbers", "at least one (label, value, note)", numbers)
    cards = []
    for label, value, note in numbers:
        details_of_value = [element("dd", {"class": "value"}, value)]
        if note:
            details_of_value.append(element("dd", {"class": "note"}, note))
        cards.append(element("div", None, element("dt", None, label), *details_of_value))
    return element("dl", {"class": "key-numbers"}, *cards)


def definitions(entries: Mapping[str, object], caption: str = "") -> Html:
    """Show names and what stands behind them; a mapping inside becomes a list inside.

    Args:
        entries: Values by name. Names lose their underscores; None reads "none", True and False read "yes"
            and "no".
        caption: A line above the list; empty for none.

    Returns:
        A definition list.

    Raises:
        UserError: When there are no entries.

    >>> str(definitions({"num_threads": 1}))
    '<dl class="definitions"><dt>num threads</dt><dd>1</dd></dl>'
    """
    if not entries:
        raise invalid("entries", "at least one name and value", entries)
    rows: list[Html] = []
    for name, value in entries.items():
        rows += [element("dt", None, str(name).replace("_", " ")), element("dd", None, _definition(value))]
    listing = element("dl", {"class": "definitions"}, *rows)
    return join([small_print(caption), listing]) if caption else listing


def notes(sentences: Sequence[str]) -> Html:
    """List remarks, one line each.

    Raises:
        UserError: When there are none.
    """
    if not sentences:
        raise invalid("sentences", "at least one", sentences)
    return element("ul", {"class": "notes"}, *[element("li", None, sentence) for sentence in sentences])


def details(summary: str, *blocks: "Html | str", is_open: bool = False) -> Html:
    """Fold blocks away under one line that opens them; it works without any script, and opens for printing.

    Args:
        summary: The line.
        blocks: What it hides.
        is_open: Whether it starts unfolded.

    Returns:
        The fold.

    Raises:
        UserError: When there is nothing to hide.
    """
    if not blocks:
        raise invalid("a fold's content", "at least one block", blocks, f"fill or drop {summary!r}")
    body = element("div", {"class": "fold"}, *blocks)
    return element("details", {"open": is_open}, element("summary", None, summary), body)


def _definition(value: object) -> "Html | str":
    if isinstance(value, Html):
        return value
    if isinstance(value, Mapping):
        return definitions(value) if value else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or "none"
    return str(value)
