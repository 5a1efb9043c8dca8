"""The site in Chromium: phone and desktop widths, light and dark mode, with and without scripts."""

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
    """Return one page of each kind, with the night that has the most content."""
    name = page_name(eventful.registry.state().history[0])
    return ["/", "/history/1.html", f"/nights/{name}.html", f"/reports/{name}.html", "/none.html"]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_the_screen_and_load_nothing_else(
    width: int,
    dark: bool,  # noqa: FBT001 - a parametrized column
    url: str,
    tab: Tab,
    paths: list[str],
) -> None:
    tab.set_screen(width=width, height=844, dark=dark, phone=width < 500)
    for path in paths:
        tab.requests.clear()
        tab.open(url + path)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, path
        requested = [address for address in tab.requests if not address.startswith("data:")]
        assert {urlsplit(address).netloc for address in requested} == {urlsplit(url).netloc}
        assert requested == [url + path]
        assert (tab.evaluate(BRIGHTNESS) < 60) is dark
    assert [error for error in tab.errors if "404" not in error] == []  # the missing page is reported


def test_pages_work_with_scripts_disabled(url: str, tab: Tab, paths: list[str]) -> None:
    tab.forbid_scripts()
    tab.set_screen(width=390, height=844, phone=True)
    tab.open(url + paths[0])
    assert "v0008 serves" in tab.evaluate("document.querySelector('h1').innerText")
    assert tab.evaluate("document.querySelectorAll('.narrow svg').length") == 5
    assert tab.evaluate("document.querySelector('.narrow svg').getBoundingClientRect().width") > 250
    tab.open(url + paths[2])
    before = tab.evaluate("document.body.innerText.length")
    tab.evaluate("document.querySelector('.tree details:not([open]) summary').click()")
    assert tab.evaluate("document.body.innerText.length") > before
    assert tab.errors == []


def test_text_contrast_meets_wcag_in_light_and_dark_mode(url: str, tab: Tab, paths: list[str]) -> None:
    for dark in (False, True):
        tab.set_screen(width=1280, height=844, dark=dark)
        for path in (paths[0], paths[2]):
            tab.open(url + path)
            assert tab.evaluate(LOW_CONTRAST_TEXTS) == []


# Contrast of each text against the nearest background, by the formula of WCAG 2: at least 4.5 to 1.
LOW_CONTRAST_TEXTS = """
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
