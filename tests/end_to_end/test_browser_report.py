"""Pages in a real browser: no error, no request, no overflow, and the comforts work by mouse, touch and keyboard."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from browser import BROWSER_MARKS, DESKTOP, PAPER, PHONE, open_browser, paper, requests, show
from multum.report import (
    Page,
    attention_page,
    cost_page,
    details,
    fading_words,
    line_plot,
    paragraph,
    plot,
    section,
    table,
)
from multum.report.picture_grid import Thumbnail, picture_data
from multum.report.transfer_page import transfer_page
from report_samples import (
    attention_results,
    film_words,
    memory_story,
    passage_words,
    provenance,
    training_cost,
    transfer_story,
)

pytestmark = BROWSER_MARKS


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    with open_browser(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    wide = table([f"column {number}" for number in range(12)], [["x" * 40] * 12], "A wide table.")
    figure = line_plot({"a": ([1, 2], [3, 4])}, x_label="x", y_label="y")
    blocks = Page("A" * 60, "unbreakable " + "b" * 90, provenance()).add(
        section("Wide", paragraph("c" * 120), wide, plot(figure, "A line.", "A rising line.")),
        section("Folded", details("More", fading_words(passage_words(24), 24))),
    )
    picture = picture_data(torch.full((3, 96, 128), 90, dtype=torch.uint8))
    thumbnails = [
        Thumbnail(label="a, taken for b", note="90 % sure", name="c" * 60, data=it) for it in (picture, None)
    ]
    story = transfer_story(40, memory=memory_story())
    return {
        "transfer": transfer_page(story, thumbnails, {"data": "birds"}, provenance()).write(
            folder / "transfer.html"
        ),
        "demo": attention_page(attention_results(), provenance()).write(folder / "demo.html"),
        "cost": cost_page(training_cost(), provenance()).write(folder / "cost.html"),
        "blocks": blocks.write(folder / "blocks.html"),
    }


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["demo", "cost", "transfer", "blocks"])
def test_page_opens_quietly_and_fits(
    browser, pages: dict[str, Path], name: str, theme: str, width: int
) -> None:
    show(browser, pages[name], theme, width)
    browser.execute_script("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
    assert paper(browser) == PAPER[theme]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script("return innerWidth") == width
    asked = [address for address in requests(browser) if not address.startswith(("file:", "data:"))]
    assert asked == []
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("name", ["demo", "cost"])
def test_one_request_is_the_page_itself(browser, pages: dict[str, Path], name: str) -> None:
    show(browser, pages[name])
    files = [address for address in requests(browser) if address.startswith("file:")]
    assert files == [pages[name].as_uri()]


def test_the_watch_would_see_an_error_and_a_request(browser, pages: dict[str, Path], tmp_path: Path) -> None:
    html = pages["blocks"].read_text(encoding="utf-8")
    bad = '<img src="http://127.0.0.1:9/x.png" alt=""><script>undefinedName()</script></body>'
    guarded, open_to_all = tmp_path / "guarded.html", tmp_path / "open.html"
    guarded.write_text(html.replace("</body>", bad), encoding="utf-8")
    open_to_all.write_text(
        html.replace("Content-Security-Policy", "X-Nothing").replace("</body>", bad), encoding="utf-8"
    )
    show(browser, guarded)
    assert any("Content Security Policy" in entry["message"] for entry in browser.get_log("browser"))
    show(browser, open_to_all)
    assert "http://127.0.0.1:9/x.png" in requests(browser)
    assert any("undefinedName" in entry["message"] for entry in browser.get_log("browser"))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_theme_switch_turns_the_page_and_is_remembered(browser, pages: dict[str, Path], theme: str) -> None:
    other = "dark" if theme == "light" else "light"
    show(browser, pages["demo"], theme)
    button = browser.find_element("css selector", "button.theme")
    line = "return getComputedStyle(document.querySelector('.plot .wide path[style*=series-1]')).stroke"
    before = browser.execute_script(line)
    assert button.text == other.capitalize()
    button.click()
    assert paper(browser) == PAPER[other]
    assert browser.execute_script(line) != before, "plots follow the page"
    assert button.text == theme.capitalize()
    browser.refresh()
    assert paper(browser) == PAPER[other]
    assert browser.get_log("browser") == []


@pytest.mark.parametrize(
    ("width", "shown", "hidden"), [(PHONE, "narrow", "wide"), (DESKTOP, "wide", "narrow")]
)
def test_one_drawing_of_a_plot_is_shown(
    browser, pages: dict[str, Path], width: int, shown: str, hidden: str
) -> None:
    show(browser, pages["demo"], width=width)
    for plot_element in browser.find_elements("css selector", "figure.plot"):
        assert plot_element.find_element("css selector", f".{shown} svg").is_displayed()
        assert not plot_element.find_element("css selector", f".{hidden} svg").is_displayed()


def note_of(browser):
    return browser.find_element("css selector", ".word-note")


def test_pointing_at_a_word_tells_its_fate(browser, pages: dict[str, Path]) -> None:
    from selenium.webdriver import ActionChains

    show(browser, pages["demo"])
    word = browser.find_element("xpath", "//p[contains(@class,'passage')]/span[text()='visual']")
    assert word.get_attribute("title") in {None, ""}, "one note is enough"
    ActionChains(browser).move_to_element(word).perform()
    assert note_of(browser).is_displayed()
    assert note_of(browser).text.startswith("visual\ngone after layer 4 of 6; cumulative importance")
    heights = browser.execute_script(
        "return [...document.querySelectorAll('.word-bars i')].map(bar => bar.getBoundingClientRect().height)"
    )
    assert len(heights) == 4
    assert heights == sorted(heights)
    ActionChains(browser).move_to_element(browser.find_element("css selector", "h1")).perform()
    assert not note_of(browser).is_displayed()


def test_pointing_at_a_token_tells_its_fate(browser, pages: dict[str, Path]) -> None:
    from selenium.webdriver import ActionChains

    show(browser, pages["demo"])
    browser.execute_script("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
    token = browser.find_element("css selector", ".passage.tokens > span:nth-child(9)")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", token)
    ActionChains(browser).move_to_element(token).perform()
    assert note_of(browser).text.startswith(token.text)
    assert "cumulative importance" in note_of(browser).text


def test_tapping_a_word_on_a_phone_tells_its_fate_inside_the_screen(browser, pages: dict[str, Path]) -> None:
    show(browser, pages["demo"], width=PHONE)
    words = browser.find_elements("css selector", ".passage:not(.short, .tokens) span[data-importance]")
    for word in (words[8], words[-2]):
        browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", word)
        box = word.rect
        scroll = browser.execute_script("return scrollY")
        point = [{"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2 - scroll}]
        browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": point})
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
        note = note_of(browser)
        assert note.is_displayed()
        assert note.text.startswith(word.text)
        assert note.rect["x"] >= 0
        assert note.rect["x"] + note.rect["width"] <= PHONE
    assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE


def test_words_are_reached_by_keyboard(browser, pages: dict[str, Path]) -> None:
    from selenium.webdriver.common.keys import Keys

    show(browser, pages["demo"])
    focused = "return document.activeElement.textContent"
    first = browser.find_element("css selector", ".passage [tabindex='0']")
    browser.execute_script("arguments[0].focus()", first)
    assert browser.execute_script(focused) == "[CLS]"
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert browser.execute_script(focused) == "As"
    assert note_of(browser).text.startswith("As\ngone after layer 1 of 6")
    assert note_of(browser).get_attribute("role") == "status", "a screen reader hears it"
    browser.switch_to.active_element.send_keys(Keys.END)
    assert browser.execute_script(focused) == "[SEP]"
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert browser.execute_script(focused) == "[SEP]", "the end is the end"
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not note_of(browser).is_displayed()
    stops = browser.find_elements("css selector", ".passage.short [tabindex='0']")
    assert len(stops) == 1, "a passage is one stop of the Tab key"


def test_words_that_are_gone_cannot_be_seen_in_the_strip_but_keep_their_place(
    browser, pages: dict[str, Path]
) -> None:
    show(browser, pages["demo"])
    colours = browser.execute_script(
        "return [...document.querySelectorAll('.strip .gone')].map(gap => getComputedStyle(gap).color)"
    )
    assert colours
    assert set(colours) == {"rgba(0, 0, 0, 0)"}
    last_words = browser.execute_script(
        "return [...document.querySelectorAll('.strip.short li')].map("
        "row => row.querySelector('p > span:last-child').getBoundingClientRect().right)"
    )
    assert len(last_words) == 5
    assert max(last_words) - min(last_words) < 2.0


def test_a_page_without_scripts_can_be_read(browser, pages: dict[str, Path]) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(pages["demo"].as_uri())
        words = browser.find_elements("css selector", ".passage.short span[title]")
        assert len(words) == len(film_words())
        assert not browser.find_element("css selector", "button.theme").is_displayed()
        assert browser.find_element("css selector", ".left").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_paper_is_light_and_unfolded(browser, pages: dict[str, Path]) -> None:
    show(browser, pages["blocks"], "dark")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert paper(browser) == PAPER["light"]
    assert browser.find_element("css selector", "details .passage").is_displayed()
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert not browser.find_element("css selector", "details .passage").is_displayed()


def test_every_landmark_and_picture_has_a_name(browser, pages: dict[str, Path]) -> None:
    show(browser, pages["demo"])
    for selector in ("main", "header", "footer", "nav"):
        assert len(browser.find_elements("css selector", selector)) == 1, selector
    unnamed = browser.execute_script(
        "return [...document.querySelectorAll('svg, nav, [role=region], [role=group], section')].filter("
        "one => !one.getAttribute('aria-label') && !one.getAttribute('aria-labelledby')).length"
    )
    assert unnamed == 0
    levels = browser.execute_script(
        "return [...document.querySelectorAll('h1, h2, h3')].map(one => +one.tagName[1])"
    )
    assert levels[0] == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
