"""All views of a line say the same: status, history, show, the site and the dashboard's table."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from everlearn.canonical_json import digest_of
from everlearn.cli import app
from everlearn.cli.context import Installation
from everlearn.errors import BadInputError, RegistryError, StoreDownError
from everlearn.registry.events import EventKind
from everlearn.registry.known_lines import known_lines
from everlearn.registry.line_summary import summarize
from everlearn.registry.versions import Registry
from everlearn.reporting.history_table import history_markdown, list_markdown
from everlearn.reporting.site.pages import Site
from everlearn.serving.rollout_status import read_rollout_status
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import LINE, SIGNER, VERIFIER, Clock, candidate, open_line, publish
from tests.support.manifests import DECISION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everlearn.storage.protocol import ObjectInfo

VERSIONS = st.sampled_from(["v0001", "v0002", "v0003"])
EVENTS = st.one_of(
    st.tuples(st.just("publish"), st.booleans()),
    st.tuples(st.just("reject"), st.none()),
    st.tuples(st.just("roll back"), st.one_of(st.none(), st.just("base"), VERSIONS)),
    st.tuples(st.just("keep"), st.one_of(st.none(), st.just("base"), VERSIONS)),
    st.tuples(st.just("promote"), VERSIONS),
    st.tuples(st.just("refuse"), VERSIONS),
    st.tuples(st.just("unbar"), VERSIONS),
)


def apply(line: Registry, *, number: int, event: tuple[str, Any]) -> None:
    """Append an event with a reason of its own, where the history allows it."""
    name, value = event
    by: dict[str, str] = {"reason": f"reason {number}.", "actor": "ada"}
    with contextlib.suppress(RegistryError):
        match name:
            case "publish":
                made = replace(candidate(line, str(number), parent=line.state().champion), decision=DECISION.to_dict())
                line.publish(made, make_champion=value, **by)
            case "reject":
                line.record(EventKind.REJECTED, cycle_key=digest_of(b"%d" % number), detail={}, **by)
            case "promote":
                line.promote(value, reason=by["reason"], actor="ada")
            case "unbar":
                line.unbar(value, **by)
            case "refuse":
                line.refuse(value, **by)
            case _:
                line.rollback(value, keep=name == "keep", reason=by["reason"], actor="ada")


def named(store: MemoryStore, name: str) -> Registry:
    return Registry(store, name, clock=Clock(), signer=SIGNER, verifier=VERIFIER)


def run(line: Registry, *words: str) -> Any:
    """Return the result of a command about a line in memory."""
    with patch.object(Installation, "registry", lambda _: line):
        return CliRunner().invoke(app, list(words))


def shown(line: Registry, *words: str) -> Any:
    """Return the JSON of a command about a line in memory."""
    done = run(line, *words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


@settings(max_examples=25, deadline=None)
@given(st.lists(EVENTS, max_size=12))
def test_all_views_name_the_same_champion_and_reason(events: list[tuple[str, Any]]) -> None:
    store = MemoryStore()
    line = open_line(store)
    for number, event in enumerate(events):
        apply(line, number=number, event=event)
    state, site = line.state(), Site(open_line(store))
    summary = summarize(state)
    page = (site.page("index.html", snapshot=site.reader.snapshot()) or b"").decode()
    markdown = history_markdown(state, line=LINE)
    status, history = shown(line, "status"), shown(line, "history", "--limit", "99")

    served = state.champion or "The base model"
    assert (status["champion"], status["serves"].lower()) == (state.champion, served.lower())
    assert f"<h1>{served} serves" in page
    assert markdown.startswith(f"**{served}** serves line {LINE}: ")
    since = status["since"]
    assert since == (history[-summary.since.sequence] if summary.since else None)
    assert (since["reason"] if since else "No version has been champion yet") in page
    assert (since["reason"] if since else summary.reason).rstrip(".") in markdown.splitlines()[0]
    barred = [version for version in status["versions"] if shown(line, "show", version)["barred"]]
    assert barred == status["barred"]
    assert f"<dt>Barred</dt><dd>{', '.join(barred) or 'none'}</dd>" in page
    numbers = [row.split("|")[1].strip() for row in markdown.splitlines() if row.startswith("| ")]
    assert [str(row["sequence"]) for row in history] == [number for number in numbers if number.isdigit()]


def test_status_after_a_rollback_to_the_base_says_why() -> None:
    line = open_line(MemoryStore())
    publish(line, "one")
    line.rollback("base", reason="wrong signs", actor="ada")
    text = run(line, "status").output
    assert "none: the base model serves" in text
    assert "rolled back v0001 to the base model: wrong signs" in text
    assert "yet" not in text


@pytest.mark.parametrize("words", [("status",), ("history",), ("show", "v0001"), ("report", "v0001")])
def test_a_mistyped_line_is_refused_with_the_lines_that_exist(words: tuple[str, ...]) -> None:
    store = MemoryStore()
    publish(open_line(store), "one")
    assert known_lines(store) == [LINE]
    done = run(named(store, "intergation"), *words)
    assert isinstance(done.exception, BadInputError)
    assert "nothing of line 'intergation'; its lines are: integration" in str(done.exception)


def test_credentials_for_one_line_need_no_list_of_the_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    publish(open_line(store), "one")
    every = store.list

    def restricted(prefix: str = "") -> Iterator[ObjectInfo]:
        if not prefix:
            raise StoreDownError("access denied")
        return every(prefix)

    monkeypatch.setattr(store, "list", restricted)
    assert shown(named(store, "new"), "status")["events"] == 0


def test_a_new_line_is_known_from_its_first_object_on() -> None:
    store = MemoryStore()
    assert shown(named(store, "new"), "status")["events"] == 0, "an empty bucket: nothing can be mistyped"
    publish(open_line(store), "one")
    store.create("new/inbox/a.jsonl", b"{}")
    assert shown(named(store, "new"), "status")["serves"] == "the base model"


def test_a_consumer_is_no_markup_in_the_dashboard() -> None:
    line = open_line(MemoryStore())
    publish(line, "one")
    line.store.put(f"{LINE}/consumers/<img src=x>_a_.json", b"?")
    shown_there = list_markdown(read_rollout_status(line).sentences())
    assert r"\<img src=x\>\_a\_ serves an unknown version" in shown_there


def test_a_retired_version_is_shown_although_its_documents_are_gone() -> None:
    line = open_line(MemoryStore())
    provenance, page = line.put_object(b"provenance"), line.put_object(b"report")
    made = replace(candidate(line, "one"), decision=DECISION.to_dict(), provenance=provenance, report=page)
    line.publish(made, make_champion=False, actor="night", reason="better")
    line.retire(lambda _: ("v0001",), reason="retention", actor="gc")
    for ref in (provenance, page):
        line.store.delete(f"{LINE}/objects/sha256/{ref.digest}")
    assert shown(line, "show", "v0001")["retired"]
    text = run(line, "show", "v0001").output
    assert "v0001 (retired)" in text
    assert "its provenance was removed" in text
    assert "v0001 is retired" in str(run(line, "show", "v0001", "--provenance").exception)
    assert "v0001 is retired, so its report was removed" in str(run(line, "report", "v0001").exception)
