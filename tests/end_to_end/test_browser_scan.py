"""A scan in a real browser: it is drawn, it turns by mouse, touch and keyboard, and without WebGL a picture stays."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import browser as browser_module
from browser import BROWSER_MARKS, DESKTOP, PAPER, PHONE, open_browser, requests, show
from multum.pointcloud.lidar import SYNTHETIC_CLASSES, SyntheticSensor, synthetic_street
from multum.report import Page, paragraph, scan_view, section

pytestmark = BROWSER_MARKS

DRIVER_NOTE = "GL Driver Message"
"""Chromium tells how slow its own drawing without a GPU is; that is no fault of the page."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scan = synthetic_street(1, sensor=SyntheticSensor(num_beams=32, num_azimuths=512))
    assert scan.label_N is not None
    wrong_N = torch.arange(len(scan)) % 7 == 0
    told_N = torch.where(wrong_N, (scan.label_N + 1) % len(SYNTHETIC_CLASSES), scan.label_N)
    view = scan_view(scan, SYNTHETIC_CLASSES, {"net": told_N}, caption="A street.")
    path = tmp_path_factory.mktemp("pages") / "scan.html"
    return Page("A scan").add(section("Seeing", view), section("After", paragraph("text"))).write(path)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    with open_browser(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


def num_drawn(browser) -> int:
    return int(browser.execute_script("return document.querySelector('.scan').dataset.drawn || 0"))


def settled(browser) -> None:
    """Wait until everything that was asked for is drawn."""
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, 30).until(num_drawn)
    browser.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))"
    )


def picture(browser) -> np.ndarray:
    """What the canvas shows, as bytes [height, width, 3]."""
    settled(browser)
    shot = base64.b64decode(browser.find_element("css selector", ".scan canvas").screenshot_as_base64)
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def share_that_differs(first: np.ndarray, second: np.ndarray) -> float:
    return float((np.abs(first - second).max(axis=-1) > 24).mean())


def press(browser, label: str) -> None:
    browser.find_element("xpath", f"//figure//button[normalize-space()='{label}']").click()


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_scan_is_drawn_quietly_and_fits(browser, page: Path, theme: str, width: int) -> None:
    show(browser, page, theme, width)
    shown = picture(browser)
    paper = np.array([int(part) for part in PAPER[theme][4:-1].split(", ")])
    covered = (np.abs(shown - paper).max(axis=-1) > 24).mean()
    assert 0.1 < covered < 0.95, "points on paper"
    assert len(np.unique(shown.reshape(-1, 3) // 32, axis=0)) > 12, "many colours"
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert not browser.find_element("css selector", ".scan-still").is_displayed()
    asked = [address for address in requests(browser) if not address.startswith(("file:", "data:", "blob:"))]
    assert asked == []
    assert [it for it in browser.get_log("browser") if DRIVER_NOTE not in it["message"]] == []


def test_dragging_turns_keys_turn_and_reset_brings_it_back(browser, page: Path) -> None:
    from selenium.webdriver import ActionChains, Keys

    show(browser, page)
    first = picture(browser)
    canvas = browser.find_element("css selector", ".scan canvas")
    ActionChains(browser).drag_and_drop_by_offset(canvas, 120, 30).perform()
    turned = picture(browser)
    assert share_that_differs(first, turned) > 0.1
    canvas.send_keys(Keys.ARROW_LEFT)
    assert share_that_differs(turned, picture(browser)) > 0.05
    press(browser, "Reset")
    assert share_that_differs(first, picture(browser)) < 0.01


def test_shift_moves_and_the_wheel_comes_nearer_once_the_scan_was_clicked(browser, page: Path) -> None:
    from selenium.webdriver import ActionChains, Keys

    show(browser, page)
    canvas = browser.find_element("css selector", ".scan canvas")
    first = picture(browser)
    wheel = "arguments[0].dispatchEvent(new WheelEvent('wheel', { deltaY: -40, cancelable: true }))"
    assert browser.execute_script(f"return {wheel}", canvas), "whoever scrolls by is not held"
    assert share_that_differs(first, picture(browser)) < 0.01
    browser.execute_script("arguments[0].focus()", canvas)
    assert not browser.execute_script(f"return {wheel}", canvas)
    nearer = picture(browser)
    assert share_that_differs(first, nearer) > 0.05
    keys = ActionChains(browser).key_down(Keys.SHIFT).drag_and_drop_by_offset(canvas, 60, 40)
    keys.key_up(Keys.SHIFT).perform()
    assert share_that_differs(nearer, picture(browser)) > 0.05


def test_two_fingers_come_nearer(browser, page: Path) -> None:
    show(browser, page, width=PHONE)
    first = picture(browser)
    box = browser.find_element("css selector", ".scan canvas").rect
    x, y = (
        box["x"] + box["width"] / 2,
        box["y"] + box["height"] / 2 - browser.execute_script("return scrollY"),
    )

    def touch(kind: str, apart: float) -> None:
        points = [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}]
        told = {"type": kind, "touchPoints": points if kind != "touchEnd" else []}
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", told)

    touch("touchStart", 30)
    for apart in (40, 60, 80):
        touch("touchMove", apart)
    touch("touchEnd", 0)
    assert share_that_differs(first, picture(browser)) > 0.05


def test_views_stand_beside_each_other_and_the_last_one_stays(browser, page: Path) -> None:
    show(browser, page)
    settled(browser)
    names = "return [...document.querySelectorAll('.scan-names span')].map((it) => it.textContent)"
    assert browser.execute_script(names) == ["Truth", "Mistakes, net"]
    press(browser, "Truth")
    press(browser, "Mistakes, net")
    settled(browser)
    assert browser.execute_script(names) == ["Mistakes, net"]
    shown = picture(browser)
    red = (shown[..., 0] > 190) & (shown[..., 1] < 80) & (shown[..., 2] < 90)
    assert red.mean() > 0.005, "wrong ones are red"
    for label in ("Truth", "Net", "Height"):
        press(browser, label)
    settled(browser)
    assert browser.execute_script(names) == ["Truth", "Net", "Mistakes, net", "Height"]


def test_a_click_on_a_class_hides_its_points_and_another_shows_them(browser, page: Path) -> None:
    show(browser, page)
    first = picture(browser)
    road = browser.find_element("xpath", "//button[normalize-space()='road']")
    browser.execute_script("arguments[0].click()", road)
    assert road.get_attribute("aria-pressed") == "false"
    assert share_that_differs(first, picture(browser)) > 0.05
    browser.execute_script("arguments[0].click()", road)
    assert share_that_differs(first, picture(browser)) < 0.01


def test_it_follows_the_page_from_light_to_dark(browser, page: Path) -> None:
    show(browser, page)
    light = picture(browser)
    browser.find_element("css selector", "button.theme").click()
    assert np.median(picture(browser)) < np.median(light)


def test_on_paper_stand_pictures_from_above(browser, page: Path) -> None:
    show(browser, page)
    settled(browser)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert browser.find_element("css selector", ".scan-still").is_displayed()
        assert not browser.find_element("css selector", ".scan canvas").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_without_webgl_pictures_from_above_stay(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser_module, "ARGUMENTS", (*browser_module.ARGUMENTS, "--disable-3d-apis"))
    with open_browser(tmp_path / "profile") as plain:
        show(plain, page)
        assert plain.find_element("css selector", ".scan-still image").is_displayed()
        assert not plain.find_element("css selector", ".scan canvas").is_displayed()
        assert plain.find_element("xpath", "//button[normalize-space()='road']").is_displayed()
        assert plain.get_log("browser") == []
