"""The page as a file: one document, no network, the same bytes for the same blocks."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from multum.core.errors import UserError
from multum.report import Page, attention_page, cost_page, paragraph, section
from multum.report.page import package_file
from report_samples import attention_results, provenance, training_cost

PAGES = {
    "demo": lambda: attention_page(attention_results(), provenance()),
    "cost": lambda: cost_page(training_cost(), provenance()),
}


class TagBalance(HTMLParser):
    """Collects elements that are opened and never closed, or the other way round."""

    VOID = frozenset({"meta", "link", "br", "hr", "input", "col", "wbr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Elements like `<path/>` close themselves."""

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


@pytest.mark.parametrize("name", PAGES)
def test_every_element_is_closed(name: str) -> None:
    balance = TagBalance()
    balance.feed(PAGES[name]().to_html())
    assert balance.wrong == []
    assert balance.open == []


@pytest.mark.parametrize("name", PAGES)
def test_the_same_numbers_give_the_same_bytes(name: str) -> None:
    assert PAGES[name]().to_html() == PAGES[name]().to_html()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_names_nothing_outside_itself(name: str) -> None:
    html = PAGES[name]().to_html()
    assert re.findall(r'(?:src|href|action|poster)="(?!#|data:,")[^"]*"', html) == []
    assert re.findall(r"url\((?!#)[^)]*\)|@import|@font-face", html) == []
    assert "default-src 'none'" in html


def test_title_and_subtitle_are_escaped() -> None:
    html = Page("<b>", "a & b", {"cpu": "<i>"}).add("x < y").to_html()
    assert "<title>&lt;b&gt;</title>" in html
    assert "a &amp; b" in html
    assert "&lt;i&gt;" in html
    assert "x &lt; y" in html


def test_three_sections_make_a_table_of_contents() -> None:
    sections = [section(f"Part {number}", paragraph("text")) for number in (1, 2, 3)]
    assert 'href="#part-2"' in Page("Contents").add(*sections).to_html()
    assert "<nav" not in Page("Contents").add(*sections[:2]).to_html()


def test_two_sections_with_one_title_are_refused() -> None:
    page = Page("Twice").add(section("Same", paragraph("a")), section("Same", paragraph("b")))
    with pytest.raises(UserError, match="'same' twice"):
        page.to_html()


def test_an_empty_page_is_refused() -> None:
    with pytest.raises(UserError, match="add blocks"):
        Page("Nothing").to_html()
    with pytest.raises(UserError, match="title must be"):
        Page(" ")


def test_write_gives_the_path_of_a_whole_file(tmp_path: Path) -> None:
    target = Page("Title").add(paragraph("text")).write(tmp_path / "deep" / "page.html")
    assert target.read_text(encoding="utf-8").endswith("</html>\n")
    assert [path.name for path in target.parent.iterdir()] == ["page.html"]


def _variables(block: str) -> dict[str, str]:
    return dict(re.findall(r"(--[\w-]+):\s*(#[0-9a-f]{6});", block))


def _themes() -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    css = package_file("style.css")
    light = css[: css.index("@media")]
    by_system, by_choice = css.split("@media screen")[1:3]
    return _variables(light), _variables(by_system), _variables(by_choice.split("/* the page */")[0])


def test_dark_by_system_and_dark_by_choice_are_the_same() -> None:
    light, by_system, by_choice = _themes()
    assert by_system == by_choice
    assert by_system.keys() == light.keys()


def _luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(first: str, second: str) -> float:
    lighter, darker = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_and_series_stand_out_from_the_paper(theme: int) -> None:
    colours = _themes()[theme]
    for name in ("--ink", "--muted", "--accent", "--fade-least"):
        assert _contrast(colours[name], colours["--paper"]) >= 4.5, name
    for name in ("--ink", "--muted"):
        assert _contrast(colours[name], colours["--raised"]) >= 4.5, name
    for number in range(1, 7):  # graphics need 3
        assert _contrast(colours[f"--series-{number}"], colours["--paper"]) >= 3.0, number
