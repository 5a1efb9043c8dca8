"""Every digest that an event, a manifest or HEAD names is kept by gc, and known to fsck and its repair."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.canonical_json import digest_of
from everlearn.registry.event_log import EventLog
from everlearn.registry.events import Draft, Event, EventKind
from everlearn.registry.line_keys import event_key, manifest_key
from everlearn.registry.maintenance.fsck import fsck
from everlearn.registry.maintenance.gc import collect
from everlearn.registry.maintenance.references import References, digests_in
from everlearn.registry.maintenance.restore import carry_out, plan_repair
from everlearn.settings import RetentionSettings
from everlearn.storage.immutable_objects import object_key
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import LINE, SIGNER, VERIFIER, ManualClock, open_line, publish
from tests.support.versioned_store import VersionedStore

RETENTION = RetentionSettings(versions=0, work_days=0)
NAMES = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=8)
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=5))
WITHOUT_VERSIONS = st.sampled_from(
    [EventKind.REJECTED, EventKind.INSUFFICIENT, EventKind.NO_NEW_DATA, EventKind.SUITE_CHANGED]
)


def documents(objects: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return JSON objects with digests of stored objects at any depth."""
    nested = st.recursive(
        st.one_of(PLAIN, objects),
        lambda each: st.one_of(st.lists(each, max_size=3), st.dictionaries(NAMES, each, max_size=3)),
        max_leaves=6,
    )
    return st.dictionaries(NAMES, nested, max_size=4)


OBJECTS = st.integers(0, 5).map(lambda number: digest_of(f"object {number}".encode()))


@given(st.lists(st.tuples(WITHOUT_VERSIONS, documents(OBJECTS)), max_size=4), st.booleans())
def test_gc_keeps_every_digest_that_an_event_names(
    events: list[tuple[EventKind, dict[str, Any]]],
    retires: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    clock = ManualClock()
    store = MemoryStore(clock)
    line = open_line(store)
    publish(line, "one", champion=not retires)
    for number in range(6):
        line.put_object(f"object {number}".encode())
    log = EventLog(store, LINE, clock=clock, signer=SIGNER, verifier=VERIFIER)
    for kind, detail in events:
        draft = Draft(kind=kind, actor="ada", reason="r", detail=detail)
        log.append(lambda _, draft=draft: draft)  # type: ignore[misc]
    clock.wait(400 * 86_400)
    collect(line, RETENTION, actor="ada", wait=clock.wait)
    held = {info.key for info in store.list(f"{LINE}/objects/")}
    named = {digest for event in line.state().history for digest in digests_in(event.to_content())}
    mine = {digest_of(f"object {number}".encode()) for number in range(6)}
    assert {object_key(LINE, digest) for digest in mine & named} == held & {object_key(LINE, d) for d in mine}
    for event in line.state().history:
        assert not event.snapshot or object_key(LINE, event.snapshot) in held
        if event.kind is EventKind.PUBLISHED:
            store.head(manifest_key(LINE, event.detail["manifest"]))
    findings = fsck(store, LINE, verifier=VERIFIER)
    assert (findings.is_clean, findings.unreferenced) == (True, ())


@pytest.mark.parametrize("kind", [EventKind.REJECTED, EventKind.INSUFFICIENT])
@pytest.mark.parametrize(("name", "what"), [("report", "its report"), ("evidence", "the evidence of its decision")])
def test_the_report_and_the_evidence_of_a_night_without_version_are_restored(
    kind: EventKind, name: str, what: str
) -> None:
    store = VersionedStore()
    line = open_line(store)
    publish(line, "one")
    report = line.put_object(b"<html>").digest
    line.record(kind, cycle_key="c" * 64, reason="worse", actor="night", detail={name: report})
    assert fsck(store, LINE, verifier=VERIFIER).unreferenced == ()
    store.delete(object_key(LINE, report))
    findings = fsck(store, LINE, verifier=VERIFIER)
    assert findings.is_clean, "a gc of an earlier release may have removed it: nothing depends on it"
    assert [(fault.key, fault.why) for fault in findings.lost] == [
        (object_key(LINE, report), f"event 2 ({kind}) names it as {what}")
    ]
    carry_out(store, plan_repair(store, findings, verifier=VERIFIER))
    assert fsck(store, LINE, verifier=VERIFIER).lost == ()


def test_an_event_names_the_chain_before_it_and_its_documents() -> None:
    previous, snapshot, report, suite = (digest_of(name) for name in (b"p", b"s", b"r", b"t"))
    event = Event(
        sequence=7,
        previous=previous,
        kind=EventKind.REJECTED,
        actor="night",
        reason="worse",
        at=datetime(2026, 1, 2, tzinfo=UTC),
        detail={"report": report, "suites": [{"name": "memory", suite: 1}]},
        snapshot=snapshot,
    )
    references = References(LINE)
    references.add_event(event)
    assert references.needed == {
        event_key(LINE, previous): "event 7 follows it",
        object_key(LINE, snapshot): "event 7 names it as the history before it",
    }
    assert references.reports == {object_key(LINE, report): "event 7 (rejected) names it as its report"}
    assert object_key(LINE, suite) in references.keys
