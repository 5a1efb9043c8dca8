from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.canonical_json import canonical, parse
from everlearn.errors import BadInputError, IntegrityError, StoreDownError
from everlearn.registry.acknowledgements import (
    Acknowledgement,
    acknowledge,
    acknowledgements,
    check_consumer_name,
    forget_consumer,
    replicas,
    wait_until_followed,
)
from everlearn.registry.events import EventKind
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import WHEN, open_line, publish

if TYPE_CHECKING:
    from everlearn.storage.protocol import Blob


def line_of_two() -> MemoryStore:
    store = MemoryStore()
    publish(open_line(store), "one")
    publish(open_line(store), "two")
    return store


def behind(store: MemoryStore) -> dict[str, bool]:
    return {each.consumer: each.behind for each in replicas(open_line(store))}


def note_version(store: MemoryStore, consumer: str, version: str | None, sequence: int = 2) -> None:
    acknowledge(open_line(store), consumer=consumer, version=version, sequence=sequence, at=WHEN)


def test_replica_of_another_version_is_behind() -> None:
    store = line_of_two()
    assert behind(store) == {}
    note_version(store, "here", "v0002")
    note_version(store, "there", "v0001", sequence=1)
    note_version(store, "nowhere", None)
    assert behind(store) == {"here": False, "nowhere": True, "there": True}
    open_line(store).rollback(reason="worse", actor="ada")
    assert behind(store) == {"here": True, "nowhere": True, "there": False}
    open_line(store).rollback("base", reason="worse", actor="ada")
    assert behind(store) == {"here": True, "nowhere": False, "there": True}


def test_replica_serves_the_acknowledged_version() -> None:
    store = line_of_two()
    note_version(store, "here", "v0001")
    store.put("integration/consumers/broken.json", b"?")
    assert {each.consumer: each.serves for each in replicas(open_line(store))} == {"broken": None, "here": "v0001"}


def test_cycle_without_a_version_leaves_no_replica_behind() -> None:
    store = line_of_two()
    note_version(store, "here", "v0002")
    open_line(store).record(EventKind.REJECTED, cycle_key="a" * 64, reason="worse", actor="night", detail={})
    assert behind(store) == {"here": False}


def test_acknowledgement_holds_the_digests() -> None:
    store = line_of_two()
    note_version(store, "here", "v0001", sequence=1)
    state = open_line(store).state()
    note = acknowledgements(store, "integration")["here"]
    assert note == Acknowledgement(
        consumer="here",
        version="v0001",
        manifest=state.versions["v0001"].manifest,
        sequence=1,
        event=state.history[0].digest,
        at=WHEN,
    )


@given(
    consumer=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True),
    version=st.none() | st.just("v0001"),
    sequence=st.integers(0, 10**9),
)
def test_acknowledgement_survives_json(consumer: str, version: str | None, sequence: int) -> None:
    note = Acknowledgement(
        consumer=check_consumer_name(consumer), version=version, manifest=None, sequence=sequence, event=None, at=WHEN
    )
    assert Acknowledgement.from_bytes(note.to_bytes(), name="x") == note


@pytest.mark.parametrize("name", ["", "a/b", "../HEAD", ".hidden", "a b", "x" * 101])
def test_consumer_name_must_not_be_a_path(name: str) -> None:
    with pytest.raises(BadInputError, match="is not a valid consumer name"):
        note_version(line_of_two(), name, "v0001")


def altered(**changes: object) -> bytes:
    note = Acknowledgement(consumer="x", version=None, manifest=None, sequence=1, event=None, at=WHEN)
    return canonical(parse(note.to_bytes(), name="x") | changes)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b'{"at":"2026-01-01"}',
        b'{"at":1}',
        b'{"at":"2026-01-01","more":1}',
        altered(sequence="9"),
        altered(event=7),
        altered(more=1),
    ],
)
def test_unreadable_acknowledgement_counts_as_behind(data: bytes) -> None:
    store = line_of_two()
    note_version(store, "here", "v0002")
    store.put("integration/consumers/broken.json", data)
    assert behind(store) == {"broken": True, "here": False}
    with pytest.raises(IntegrityError):
        Acknowledgement.from_bytes(data, name="x")
    forget_consumer(open_line(store), "broken")
    assert behind(store) == {"here": False}


def test_only_a_known_consumer_can_be_forgotten() -> None:
    store = line_of_two()
    note_version(store, "here", "v0001")
    forget_consumer(open_line(store), "here")
    assert behind(store) == {}
    with pytest.raises(BadInputError, match="no consumer of line integration is called 'here'"):
        forget_consumer(open_line(store), "here")


def test_waiting_ends_when_the_last_consumer_has_followed() -> None:
    store = line_of_two()
    note_version(store, "a", "v0001")
    note_version(store, "b", "v0001")
    follow = iter("ab")
    late = wait_until_followed(
        open_line(store), timeout_s=1e9, clock=lambda: 0.0, sleep=lambda _: note_version(store, next(follow), "v0002")
    )
    assert late == ()
    assert list(follow) == []


def test_late_consumers_are_returned_at_the_timeout() -> None:
    store = line_of_two()
    note_version(store, "a", "v0001")
    note_version(store, "b", "v0002")
    ticks = itertools.count()
    late = wait_until_followed(open_line(store), timeout_s=3, clock=lambda: float(next(ticks)), sleep=lambda _: None)
    assert [each.consumer for each in late] == ["a"]


def test_unreachable_store_is_polled_until_the_timeout() -> None:
    class Away(MemoryStore):
        misses = 3

        def get(self, key: str) -> Blob:
            self.misses -= 1
            if self.misses > 0:
                raise StoreDownError("no answer")
            return super().get(key)

    assert wait_until_followed(open_line(Away()), timeout_s=9, clock=lambda: 0.0, sleep=lambda _: None) == ()
    ticks = itertools.count()
    with pytest.raises(StoreDownError):
        wait_until_followed(open_line(Away()), timeout_s=1, clock=lambda: float(next(ticks)), sleep=lambda _: None)


def test_a_record_whose_name_no_consumer_may_have_can_be_forgotten() -> None:
    store = MemoryStore()
    publish(open_line(store), "one")
    store.put("integration/consumers/a b.json", b"?")
    assert behind(store) == {"a b": True}, "a rollback would wait for it"
    forget_consumer(open_line(store), "a b")
    assert behind(store) == {}
