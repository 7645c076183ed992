"""Text that is safe to put into a page, and the one door through which all other text has to go.

A report shows text that nobody here has written: words of a passage, names of layers, the message of an
error. So this module knows two kinds of text. A plain `str` is never trusted: whoever puts it into a page
escapes it. An `Html` is markup that one of our own functions has built out of escaped pieces. Nothing turns
a `str` into an `Html` by accident, because the two only meet in `element`.

`Html` has the method `__html__`, by which Jinja2's autoescape recognises markup that is already safe; this
module itself needs nothing but the standard library.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape as _escape

from multum.core.errors import UserError, wrong_type

VOID_TAGS = frozenset({"br", "hr", "col", "img", "input", "wbr"})
"""Elements that have no end tag."""


@dataclass(frozen=True)
class Html:
    """Markup that is safe as it stands."""

    markup: str
    """The markup itself."""

    def __html__(self) -> str:
        return self.markup

    def _repr_html_(self) -> str:
        return self.markup  # what a notebook shows

    def __str__(self) -> str:
        return self.markup


def text(value: "Html | str") -> Html:
    """Let safe markup through and escape everything else.

    Args:
        value: Markup, or text in which `<`, `>`, `&` and quotes mean themselves.

    Returns:
        Safe markup.

    Raises:
        UserTypeError: When it is neither; numbers are to be formatted first (see `multum.report.number_text`).

    >>> str(text("a < b & c"))
    'a &lt; b &amp; c'
    >>> str(text(Html("<b>bold</b>")))
    '<b>bold</b>'
    """
    if isinstance(value, Html):
        return value
    if not isinstance(value, str):
        raise wrong_type("a page's content", "text or a block", value, "format numbers first")
    return Html(_escape(value, quote=True))


def join(pieces: "Iterable[Html | str]", separator: str = "") -> Html:
    """Put pieces one after the other, each through `text`.

    >>> str(join(["a", Html("<br>"), "<"]))
    'a<br>&lt;'
    """
    return Html(separator.join(text(piece).markup for piece in pieces))


def element(tag: str, attributes: Mapping[str, object] | None = None, *children: "Html | str") -> Html:
    """Build one element.

    Args:
        tag: Its name.
        attributes: Its attributes: True writes the bare name, False and None leave it out, everything else is
            escaped.
        children: What it holds; text is escaped.

    Returns:
        The element.

    >>> str(element("p", {"class": "lead", "hidden": False}, "a < b"))
    '<p class="lead">a &lt; b</p>'
    """
    words = [tag]
    for name, value in (attributes or {}).items():
        if value is True:
            words.append(name)
        elif value is not None and value is not False:
            words.append(f'{name}="{_escape(str(value), quote=True)}"')
    opening = f"<{' '.join(words)}>"
    if tag in VOID_TAGS:
        return Html(opening)
    return Html(f"{opening}{join(children).markup}</{tag}>")


def slug(title: str) -> str:
    """Make the address of a section out of its title.

    >>> slug("Cost before & after")
    'cost-before-after'
    >>> slug("?")
    'section'
    """
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"


def refuse_repeated_ids(markup: str) -> None:
    """Hold the rule that an `id` names one place of a page.

    Args:
        markup: The whole page.

    Raises:
        UserError: When two elements share an id: the browser would jump to the wrong one, or clip a plot by
            another plot's frame.
    """
    seen: set[str] = set()
    for name in re.findall(r'\sid="([^"]*)"', markup):
        if name in seen:
            raise UserError(
                f"ids on a page must be distinct; got {name!r} twice; "
                "give sections different titles, and a plot that is shown twice a name of its own"
            )
        seen.add(name)
