"""Guarded suites of a line: the history says which they are, and their items stay in the bucket."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.errors import IntegrityError
from everlearn.registry.events import Draft, Event, EventKind
from everlearn.registry.guarded_suites import GuardedSuite, SuiteContent, after_event, describe_change, detail_of
from everlearn.registry.maintenance.fsck import fsck
from everlearn.storage.immutable_objects import object_key
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import LINE, VERIFIER, WHEN, open_line, publish
from tests.support.versioned_store import erase

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.registry.guarded_suites import Suites
    from everlearn.registry.line_state import State
    from everlearn.registry.versions import Registry

SHORT = SuiteContent(kind="skill", items=2, data=b"one\ntwo\n")
MEMORY = SuiteContent(kind="memory", items=3, data=b"a\nb\nc\n")
SUITES = st.dictionaries(
    st.sampled_from(string.ascii_lowercase[:6]),
    st.builds(SuiteContent, kind=st.just("memory"), items=st.integers(1, 3), data=st.binary(max_size=1)),
)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def line(store: MemoryStore) -> Registry:
    return open_line(store)


def guarded(contents: dict[str, SuiteContent]) -> Suites:
    return {name: content.describe() for name, content in contents.items()}


def changing(**detail: Any) -> Event:
    kind = EventKind.SUITE_CHANGED
    return Event(sequence=1, previous=None, kind=kind, actor="ada", reason="r", at=WHEN, detail=detail)


@given(SUITES, SUITES)
def test_an_event_leads_from_the_suites_before_it_to_those_after_it(
    before: dict[str, SuiteContent], after: dict[str, SuiteContent]
) -> None:
    assert after_event(guarded(before), changing(**detail_of(guarded(before), guarded(after)))) == guarded(after)


def test_adding_thinning_and_retiring_a_suite_is_an_event_each_night_that_does_it(line: Registry) -> None:
    line.guard_suites({"short": SHORT, "memory-v0001": MEMORY}, actor="night")
    thinned = SuiteContent(kind="memory", items=1, data=b"a\n")
    line.guard_suites({"short": SHORT, "memory-v0001": thinned}, actor="night")
    line.guard_suites({"short": SHORT}, actor="night")
    line.guard_suites({"short": SuiteContent(kind="skill", items=2, data=b"one\nsix\n")}, actor="night")
    assert [(event.kind, event.reason) for event in line.state().history] == [
        (EventKind.SUITE_CHANGED, "memory-v0001 added (3 items); short added (2 items)"),
        (EventKind.SUITE_CHANGED, "memory-v0001 from 3 to 1 items"),
        (EventKind.SUITE_CHANGED, "memory-v0001 retired"),
        (EventKind.SUITE_CHANGED, "short has other items"),
    ]
    assert list(open_line(line.store).state().suites) == ["short"], "as another process reads it"


def test_a_night_with_the_suites_of_the_night_before_adds_no_event(line: Registry) -> None:
    line.guard_suites({}, actor="night")
    assert line.state().history == ()
    line.guard_suites({"short": SHORT}, actor="night")
    publish(line, "one")
    line.guard_suites({"short": SHORT}, actor="night")
    assert [event.kind for event in line.state().history] == [EventKind.SUITE_CHANGED, EventKind.PUBLISHED]


def test_of_two_runs_that_guard_the_same_suites_the_slower_one_adds_no_event(
    line: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(line, "one")
    append = line._log.append

    def after_another_run(propose: Callable[[State], Draft | Event]) -> Event:
        open_line(line.store).guard_suites({"short": SHORT}, actor="night")
        return append(propose)

    monkeypatch.setattr(line._log, "append", after_another_run)
    line.guard_suites({"short": SHORT}, actor="night")
    assert [event.kind for event in line.state().history] == [EventKind.PUBLISHED, EventKind.SUITE_CHANGED]


def test_the_items_of_every_suite_ever_guarded_are_kept_and_checked(store: MemoryStore, line: Registry) -> None:
    line.guard_suites({"short": SHORT}, actor="night")
    suite = line.state().suites["short"]
    line.guard_suites({}, actor="night")
    assert line.get_object(suite.ref) == SHORT.data
    assert fsck(store, LINE, verifier=VERIFIER).unreferenced == ()
    erase(store, object_key(LINE, suite.digest))
    [missing] = fsck(store, LINE, verifier=VERIFIER).missing
    assert missing.why == "event 1 (suite_changed) names it as the suite short"


def test_a_history_that_retires_an_unknown_suite_is_damaged(line: Registry) -> None:
    known = {"short": GuardedSuite(kind="skill", items=1, digest="a" * 64, size=1)}
    with pytest.raises(KeyError):
        after_event(known, changing(retired=["long"]))
    assert describe_change(known, {}) == "short retired"
    with pytest.raises(IntegrityError, match="lacks 'long'"):
        line._log.append(
            lambda _: Draft(kind=EventKind.SUITE_CHANGED, actor="ada", reason="r", detail={"retired": ["long"]})
        )
