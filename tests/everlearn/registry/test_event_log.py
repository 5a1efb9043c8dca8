"""A history is read from few objects at any length, and each event is stored only a few times."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.canonical_json import digest_of
from everlearn.errors import IntegrityError
from everlearn.registry import event_log
from everlearn.registry.event_log import EventLog, snapshot_span
from everlearn.registry.events import EventKind
from everlearn.registry.sealed_document import seal
from everlearn.storage.immutable_objects import object_key
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import LINE, SIGNER, VERIFIER, Clock, open_line

if TYPE_CHECKING:
    from everlearn.registry.line_state import State
    from everlearn.registry.versions import Registry
    from everlearn.storage.protocol import Blob


class Counting(MemoryStore):
    """A store that records its reads."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []

    def get(self, key: str) -> Blob:
        self.reads.append(key)
        return super().get(key)


def grow(line: Registry, *, to: int) -> None:
    """Record cycles without a version until there are `to` events."""
    for number in range(line.state().sequence, to):
        line.record(EventKind.REJECTED, cycle_key=f"c{number}", reason="r", actor="night", detail={"n": number})


def history(store: MemoryStore) -> list[int]:
    return [event.sequence for event in open_line(store).state().history]


def write_as_before(chained: EventLog, state: State, held: int) -> str:
    """Write a snapshot as earlier versions of Everlearn did: the whole history every time."""
    assert held
    content = [{"content": event.to_content(), "digest": event.digest} for event in state.history]
    data = seal({"events": content}, purpose="snapshot", line=LINE, signer=SIGNER)
    chained._store.create(object_key(LINE, digest_of(data)), data)
    return digest_of(data)


@pytest.mark.parametrize(
    ("sequence", "held"), [(1, 0), (9, 0), (10, 10), (15, 0), (90, 10), (100, 100), (1200, 100), (2000, 1000)]
)
def test_snapshot_span_grows_with_the_level(sequence: int, held: int) -> None:
    assert snapshot_span(sequence) == held


def test_long_history_is_read_from_few_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "SNAPSHOT_EVERY", 4)
    store = Counting()
    line = open_line(store)
    for count in range(1, 90):
        grow(line, to=count)
        store.reads.clear()
        assert history(store) == list(range(1, count + 1))
        assert len(store.reads) <= 2 + 3 * (1 + math.floor(math.log(count, 4)))
    log = EventLog(store, LINE, clock=Clock(), signer=None, verifier=VERIFIER)
    held = sum(len(log.snapshot(event.snapshot)[0]) for event in line.state().history if event.snapshot)
    assert held <= 90 * math.log(90, 4)


@settings(max_examples=20)
@given(first=st.integers(0, 40), jumps=st.lists(st.integers(1, 20), max_size=5))
def test_reader_state_does_not_depend_on_its_cache(first: int, jumps: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_log, "SNAPSHOT_EVERY", 3)
        store = MemoryStore()
        writer, reader = open_line(store), open_line(store)
        grow(writer, to=first)
        assert reader.state() == writer.state()
        for jump in jumps:
            grow(writer, to=writer.state().sequence + jump)
            assert reader.state() == writer.state() == open_line(store).state()


@pytest.mark.parametrize(("every", "before"), [(10, 4), (7, 3), (4, 4)])
def test_line_with_old_snapshots_continues_with_new_ones(
    every: int, before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Counting()
    with monkeypatch.context() as patch:
        patch.setattr(event_log, "SNAPSHOT_EVERY", every)
        patch.setattr(EventLog, "_write_snapshot", write_as_before)
        grow(open_line(store), to=25)
    monkeypatch.setattr(event_log, "SNAPSHOT_EVERY", before)
    for count in range(25, 70):
        grow(open_line(store), to=count)
        store.reads.clear()
        assert history(store) == list(range(1, count + 1))
    assert len(store.reads) < 20


@pytest.mark.parametrize("content", [{}, {"events": 7}, {"events": [{}]}, {"events": [], "before": 7}])
def test_invalid_snapshot_is_refused(content: dict[str, object]) -> None:
    store = MemoryStore()
    data = seal(content, purpose="snapshot", line=LINE, signer=SIGNER)
    store.create(object_key(LINE, digest_of(data)), data)
    with pytest.raises(IntegrityError, match="is not a snapshot that this version of Everlearn can read"):
        EventLog(store, LINE, clock=Clock(), signer=None, verifier=VERIFIER).snapshot(digest_of(data))


def test_state_of_any_event_can_be_read() -> None:
    store = MemoryStore()
    line = open_line(store)
    grow(line, to=25)
    chained = EventLog(store, LINE, clock=Clock(), signer=None, verifier=VERIFIER)
    for number in (1, 10, 17, 25):
        assert chained.at(str(line.state().tip_at(number))).history == line.state().history[:number]
