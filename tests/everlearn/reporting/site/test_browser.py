"""The site in a real Chromium: on a phone and on a desk, in light and in dark, with scripts and without."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from everlearn.reporting.site.read_model import page_name
from tests.support import browser
from tests.support.site import serve_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.browser import Tab
    from tests.support.eventful import Eventful

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.program() is None, reason="Chromium is missing: infra/debian-packages chromium"),
]
BRIGHTNESS = """
(() => { const seen = getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number);
         return (seen[0] + seen[1] + seen[2]) / 3; })()
"""


@pytest.fixture(scope="module")
def url(eventful: Eventful) -> Iterator[str]:
    with serve_site(lambda: eventful.registry) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    with browser.browse(tmp_path / "profile") as fresh:
        yield fresh


@pytest.fixture(scope="module")
def paths(eventful: Eventful) -> list[str]:
    """One page of each kind, and the night with the most on it."""
    name = page_name(eventful.registry.state().history[0])
    return ["/", "/history/1.html", f"/nights/{name}.html", f"/reports/{name}.html", "/none.html"]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_page_fits_its_screen_and_asks_for_nothing_else(
    width: int, dark: bool, url: str, tab: Tab, paths: list[str]  # noqa: FBT001 - a row's column
) -> None:  # fmt: skip
    tab.see(width=width, height=844, dark=dark, phone=width < 500)
    for path in paths:
        tab.requests.clear()
        tab.open(url + path)
        assert tab.ask("document.documentElement.scrollWidth") <= width, path
        asked = [each for each in tab.requests if not each.startswith("data:")]
        assert {urlsplit(each).netloc for each in asked} == {urlsplit(url).netloc}
        assert asked == [url + path]
        assert (tab.ask(BRIGHTNESS) < 60) is dark
    assert [each for each in tab.complaints if "404" not in each] == []  # the page that is not there is told of


def test_everything_is_there_with_scripts_turned_off(url: str, tab: Tab, paths: list[str]) -> None:
    tab.forbid_scripts()
    tab.see(width=390, height=844, phone=True)
    tab.open(url + paths[0])
    assert "v0008 serves" in tab.ask("document.querySelector('h1').innerText")
    assert tab.ask("document.querySelectorAll('.narrow svg').length") == 3
    assert tab.ask("document.querySelector('.narrow svg').getBoundingClientRect().width") > 250
    tab.open(url + paths[2])
    before = tab.ask("document.body.innerText.length")
    tab.ask("document.querySelector('.tree details:not([open]) summary').click()")
    assert tab.ask("document.body.innerText.length") > before
    assert tab.complaints == []


def test_texts_can_be_told_from_what_is_behind_them_in_light_and_in_dark(url: str, tab: Tab, paths: list[str]) -> None:
    for dark in (False, True):
        tab.see(width=1280, height=844, dark=dark)
        for path in (paths[0], paths[2]):
            tab.open(url + path)
            assert tab.ask(FAINT) == []


# Every text against the first background behind it, by the contrast formula of WCAG 2: at least 4.5 to 1.
FAINT = """
(() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = (c) => c.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => { for (; e; e = e.parentElement) {
    const style = getComputedStyle(e), c = parse(style.backgroundColor);
    if (style.backgroundImage !== "none") return null;
    if (c.length === 3 || c[3] > 0) return c; } return [255, 255, 255]; };
  const found = new Set();
  for (const e of document.querySelectorAll("body *")) {
    if (e.closest("svg") || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    const back = behind(e); if (!back) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(back)].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) found.add(e.className + " " + e.textContent.trim().slice(0, 30));
  }
  return [...found];
})()
"""
