"""The pages of a line: their content, self-containment, and how they report missing data."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from posixpath import dirname, join, normpath
from typing import TYPE_CHECKING

import pytest

from everlearn.canonical_json import digest_of
from everlearn.errors import BadInputError
from everlearn.registry.versions import EventKind
from everlearn.reporting.site.history_charts import served_rate
from everlearn.reporting.site.overview import slots_of
from everlearn.reporting.site.pages import EVENTS_PER_PAGE, Site
from everlearn.reporting.site.read_model import LineReader, page_name
from everlearn.storage.in_memory import MemoryStore
from tests.support.eventful import EVIL, Eventful, fill
from tests.support.line import open_line, publish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from everlearn.registry.versions import Registry
    from everlearn.storage.protocol import Blob

EXPECTED_ON_FIRST_PAGE = (
    "v0008 serves",
    "since 2026-11-09",
    "A night is open",
    "ingest, ladder",
    "v0005 → v0004",
    "grace",
    "wrong signs in 3 of 40 tickets since this morning",
    "short sums",
    "powers",
    "CPU minutes",
    "no new data",
    'class="taken"',
    'class="dot c0 hollow"',
    "v0003 is champion from",
    "<dt>Barred</dt><dd>v0005</dd>",
)


class PageContent(HTMLParser):
    """Tags, attributes and links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name == "href" and tag == "a"]


@pytest.fixture(scope="module")
def pages(eventful: Eventful, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return all pages of the eventful line by path."""
    out = tmp_path_factory.mktemp("public") / "site"
    written = Site(eventful.registry).build(out)
    return {path: (out / path).read_text(encoding="utf-8") for path in written}


def text_of(registry: Registry, path: str = "index.html") -> str:
    site = Site(registry)
    return (site.page(path, snapshot=site.reader.snapshot()) or b"").decode()


def night_named(pages: dict[str, str], part: str) -> str:
    return next(text for path, text in pages.items() if path.startswith("nights/") and part in text)


def test_pages_load_nothing_external_and_run_no_script(pages: dict[str, str]) -> None:
    for path, text in pages.items():
        content = PageContent(text)
        assert not {"script", "img", "iframe", "object", "form"} & content.tags, path
        assert not {name for name in content.attributes if name.startswith("on")} | {"src"} & content.attributes, path
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|url\(|@import", text), path
        assert EVIL not in text, path
    assert "&lt;script&gt;" in pages["index.html"]


def test_every_link_leads_to_a_page(pages: dict[str, str]) -> None:
    for path, text in pages.items():
        for link in PageContent(text).links:
            assert normpath(join(dirname(path), link)) in pages, f"{path} links to {link}"


def test_first_page_shows_champion_charts_and_history(pages: dict[str, str]) -> None:
    text = pages["index.html"]
    for part in EXPECTED_ON_FIRST_PAGE:
        assert part in text, part


def test_first_page_draws_what_versions_kept_and_night_pages_say_it(pages: dict[str, str]) -> None:
    text = pages["index.html"]
    assert "The champion, over 4 suites and 4 nights: average accuracy" in text
    assert text.count('aria-label="Average accuracy, in percent"') == 2
    [narrow, _] = re.findall(r'aria-label="Transfer, forgetting and intransigence, in points">(.*?)</svg>', text)
    for name in ("backward transfer", "forgetting", "intransigence"):
        assert f"<title>{name}: " in narrow
    assert re.search(r"<title>backward transfer: [-+][.\d]+ points, 2026-", narrow)
    assert re.search(r"<title>average accuracy: [.\d]+ %, 2026-", text), "a share is no difference in points"
    assert "forward transfer" not in narrow, "no night of this line measured the base on its target"
    assert narrow.count('class="taken"') == 2
    assert "The candidate, over 3 suites and 1 night: " in night_named(pages, "v0001 passed")


def test_the_champion_of_an_older_release_is_measured_by_its_history() -> None:
    eventful = Eventful(MemoryStore(), items=60)
    eventful.night(target=(0.0, 0.8), skills={"short sums": (0.95, 1.0)}, metrics=False)
    text = text_of(eventful.registry)
    assert "The champion, over 2 suites and 1 night: average accuracy 90.0 %, backward transfer +5.0" in text
    assert "Average accuracy, in percent" not in text


def test_night_page_shows_gate_ladder_and_later_events(pages: dict[str, str]) -> None:
    text = night_named(pages, "v0005 passed")
    assert "wrong signs in 3 of 40 tickets" in text
    assert text.count("<details") > 6
    assert 'class="strip pass"' in text
    assert "Missing data" not in text
    assert "reports/" in text


def test_unpublished_nights_have_pages(pages: dict[str, str]) -> None:
    assert "got worse" in night_named(pages, "The candidate was rejected")
    assert "<details" in night_named(pages, "could not be decided")
    assert "The night ended without a decision of the gate." in night_named(pages, "The night ended as NO_NEW_DATA")


def test_night_with_collected_work_lists_missing_data(pages: dict[str, str]) -> None:
    text = night_named(pages, "v0008 passed")
    assert "Missing data" in text
    assert "Not available; see “Missing data” above." in text
    assert 'class="strip pass"' in text
    assert "<h2>Ingest</h2>" not in text
    assert "train" in text


def test_the_line_of_what_served_follows_the_targets_of_later_nights() -> None:
    eventful = Eventful(MemoryStore(), items=60)
    eventful.night(target=(0.2, 0.6), skills={"sums": (0.9, 0.9)})
    eventful.night(target=(0.7, 0.6), skills={"sums": (0.9, 0.9)})
    eventful.quiet()
    reader = LineReader(eventful.registry)
    state = reader.snapshot().state
    assert state.champion == "v0001"
    first, second, quiet = slots_of(state, reader)
    for slot, row in ((first, "after"), (second, "before")):
        assert slot.night
        assert slot.night.decision
        measured = next(each for each in slot.night.decision.rows if each.suite == "target")
        assert served_rate(slot, "target", rates={}) == getattr(measured, row)
    began = replace(second.event, detail={**second.event.detail, "parent": "v0001"})
    other = replace(second, event=began, champion="v0009")
    assert served_rate(other, "target", rates={}) is None, "neither its parent nor its candidate serves"
    assert served_rate(quiet, "target", rates={"v0001": {"sums": 0.9}}) is None, "it measured no target"
    assert served_rate(quiet, "sums", rates={"v0001": {"sums": 0.9}}) == 0.9


def test_stored_report_is_served_byte_for_byte(eventful: Eventful, pages: dict[str, str]) -> None:
    registry = eventful.registry
    state = registry.state()
    page = registry.manifest("v0001").report
    assert page
    kept = registry.get_object(page).decode()
    assert pages[f"reports/{page_name(state.history[0])}.html"] == kept


def test_empty_line_says_how_to_start() -> None:
    text = text_of(open_line(MemoryStore()))
    assert "The base model serves" in text
    assert "everlearn cycle" in text
    assert "No version has been champion yet." in text


def test_rollback_to_the_base_model_shows_actor_and_reason() -> None:
    registry = open_line(MemoryStore())
    publish(registry, "one")
    registry.rollback(reason="everything is wrong", actor="ada")
    text = text_of(registry)
    assert "The base model serves" in text
    assert "v0001 → the base model" in text
    assert "base is champion from" in text


def test_unreadable_decision_and_missing_report_are_reported() -> None:
    registry = open_line(MemoryStore())
    publish(registry, "one")
    name = page_name(registry.state().history[0])
    assert "the gate decision cannot be read" in text_of(registry)
    assert "the gate decision cannot be read" in text_of(registry, f"nights/{name}.html")
    assert text_of(registry, f"reports/{name}.html") == ""


def test_retired_version_without_files_is_reported() -> None:
    store = MemoryStore()
    registry = open_line(store)
    publish(registry, "one")
    publish(registry, "two", champion=False)
    registry.retire(lambda _: ("v0002",), reason="older than ten versions", actor="gc")
    store.delete(f"integration/manifests/{registry.state().versions['v0002'].manifest}.json")
    fresh = open_line(store)
    name = page_name(fresh.state().history[1])
    assert "the manifest of v0002 cannot be read" in text_of(fresh)
    page = text_of(fresh, f"nights/{name}.html")
    assert "the manifest of v0002 cannot be read" in page
    assert "older than ten versions" in page


def test_page_name_of_invalid_cycle_key_is_hashed() -> None:
    registry = open_line(MemoryStore())
    registry.record(EventKind.NO_NEW_DATA, cycle_key="../../etc", reason="nothing", actor="night", detail={})
    event = registry.state().history[0]
    assert page_name(event) == digest_of(b"../../etc")[:12]
    assert "NO_NEW_DATA" in text_of(registry, f"nights/{page_name(event)}.html")


@pytest.mark.parametrize(
    "path",
    ["nights/ffffffffffff.html", "history/0.html", "history/2.html", "history/a.html", "../HEAD", "x", "reports/.html"],
)
def test_unknown_page_paths_give_none(path: str, eventful: Eventful) -> None:
    site = Site(eventful.registry)
    assert site.page(path, snapshot=site.reader.snapshot()) is None


def test_long_history_is_paged_and_read_sparingly() -> None:
    class Counting(MemoryStore):
        manifests = 0

        def get(self, key: str) -> Blob:
            self.manifests += "/manifests/" in key
            return super().get(key)

        def read(self, key: str, *, start: int = 0) -> Iterator[bytes]:
            self.manifests += "/manifests/" in key
            return super().read(key, start=start)

    store = Counting()
    registry = open_line(store)
    for number in range(130):
        publish(registry, f"night {number}")
    fresh, store.manifests = open_line(store), 0
    site = Site(fresh)
    snapshot = site.reader.snapshot()
    text = (site.page("index.html", snapshot=snapshot) or b"").decode()
    assert 60 <= store.manifests <= 62
    assert "the newest 60 events" in text
    assert 'href="history/2.html">All 130 events' in text
    older = (site.page("history/1.html", snapshot=snapshot) or b"").decode()
    assert older.count("<li>") == EVENTS_PER_PAGE
    assert 'href="2.html">Newer' in older
    assert "page 2 of 2" in (site.page("history/2.html", snapshot=snapshot) or b"").decode()
    assert sum(path.startswith("nights/") for path in Site(fresh, nights=5).paths(snapshot)) == 5


def test_rebuild_replaces_the_whole_site_only(tmp_path: Path) -> None:
    made = fill(MemoryStore(), items=100)
    out = tmp_path / "deep" / "site"
    before = Site(made.registry, nights=3).build(out)
    made.registry.rollback(reason="again", actor="ada")
    after = Site(made.registry, nights=2).build(out)
    assert len(after) < len(before)
    found = {path.relative_to(out).as_posix() for path in out.rglob("*.html")}
    assert found == set(after)
    assert "again" in (out / "index.html").read_text(encoding="utf-8")
    assert [path.name for path in out.parent.iterdir()] == ["site"]


def test_missing_report_is_left_out(tmp_path: Path) -> None:
    store = MemoryStore()
    made = fill(store, items=100)
    page = made.registry.manifest("v0001").report
    assert page
    name = page_name(made.registry.state().history[0])
    assert f"reports/{name}.html" in text_of(made.registry, f"nights/{name}.html")
    store.delete(f"integration/objects/sha256/{page.digest}")
    written = Site(made.registry).build(tmp_path / "site")
    assert f"nights/{name}.html" in written
    assert f"reports/{name}.html" not in written
    assert f"reports/{name}.html" not in text_of(made.registry, f"nights/{name}.html")


def test_damaged_report_is_not_served(tmp_path: Path) -> None:
    store = MemoryStore()
    made = fill(store, items=100)
    page = made.registry.manifest("v0001").report
    assert page
    store.put(f"integration/objects/sha256/{page.digest}", b"<html>something else")
    name = page_name(made.registry.state().history[0])
    assert f"reports/{name}.html" not in Site(made.registry).build(tmp_path / "site")
    assert text_of(made.registry, f"reports/{name}.html") == ""


def test_directory_with_other_files_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear", encoding="utf-8")
    site = Site(open_line(MemoryStore()))
    with pytest.raises(BadInputError, match="not a site"):
        site.build(tmp_path / "mine")
    with pytest.raises(BadInputError, match="not a directory"):
        site.build(tmp_path / "mine" / "letter.txt")
    (tmp_path / "empty").mkdir()
    assert site.build(tmp_path / "empty") == ["index.html"]


def test_a_night_of_which_nothing_was_kept_claims_no_counts() -> None:
    registry = open_line(MemoryStore())
    reason = "given up after its candidate was measured, which counts as a test: gave_up"
    registry.record(EventKind.INSUFFICIENT, cycle_key="c" * 64, reason=reason, actor="ada", detail={"abandoned": True})
    event = registry.state().history[0]
    page = text_of(registry, f"nights/{page_name(event)}.html")
    assert reason in page
    assert f'<dt>Ended</dt><dd><time datetime="{event.at.isoformat()}">{event.at:%Y-%m-%d %H:%M} UTC' in page
    for claim in ("nothing was measured", "New problems", "<h2>Ingest</h2>", "Started", "Duration", "CPU time"):
        assert claim not in page


def test_every_time_of_the_history_names_its_zone(pages: dict[str, str]) -> None:
    for text in pages.values():
        assert not re.search(
            r"\d\d:\d\d(?! UTC|:\d\d|\d)", re.sub(r'datetime="[^"]*"|<style>.*?</style>', "", text, flags=re.DOTALL)
        )
