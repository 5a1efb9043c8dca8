from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from everlearn.cycle.inputs import CycleInputs, cycle_key
from everlearn.cycle.lease import Holder, Lease
from everlearn.cycle.record import End, abandon_cycle, close_cycle, current_cycle, open_cycle
from everlearn.errors import ConflictError, CycleBusyError, CycleError
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import LINE, Clock

if TYPE_CHECKING:
    from everlearn.storage.s3 import S3Store

INPUTS = CycleInputs(data_digest="d", config_digest="c", parent="v0001", base_fingerprint="b", code_version="0.1.0")
OTHER = replace(INPUTS, data_digest="more")
OPEN = open_cycle(MemoryStore(), LINE, INPUTS, clock=Clock())


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def test_a_rerun_resumes_the_open_cycle(store: MemoryStore) -> None:
    opened = open_cycle(store, LINE, INPUTS, notes={"snapshot": "s"}, clock=Clock())
    assert (opened.key, opened.notes) == (cycle_key(INPUTS), {"snapshot": "s"})
    again = open_cycle(store, LINE, OTHER, notes={"snapshot": "other"})
    assert again == opened == current_cycle(store, LINE)


def test_the_next_cycle_can_open_after_the_last_ended(store: MemoryStore) -> None:
    opened = open_cycle(store, LINE, INPUTS)
    close_cycle(store, opened, end=End.REJECTED)
    close_cycle(store, opened, end=End.REJECTED)
    assert current_cycle(store, LINE) is None
    assert open_cycle(store, LINE, OTHER).key == cycle_key(OTHER)


def test_an_open_cycle_can_be_abandoned(store: MemoryStore) -> None:
    opened = open_cycle(store, LINE, INPUTS)
    assert abandon_cycle(store, LINE) == opened
    assert abandon_cycle(store, LINE) is None
    assert open_cycle(store, LINE, OTHER).key == cycle_key(OTHER)


def test_a_running_cycle_is_not_abandoned(store: MemoryStore) -> None:
    open_cycle(store, LINE, INPUTS)
    elsewhere = replace(Holder.this_process(), host="another machine")
    with Lease(store, LINE, holder=elsewhere), pytest.raises(CycleBusyError):
        abandon_cycle(store, LINE)
    assert current_cycle(store, LINE) is not None


def test_an_abandoned_cycle_can_be_opened_again(store: MemoryStore) -> None:
    opened = open_cycle(store, LINE, INPUTS, clock=Clock())
    close_cycle(store, opened, end=None)
    assert b"ABANDONED" in store.get(f"{LINE}/work/open.json").data
    assert open_cycle(store, LINE, INPUTS).is_open


def test_no_cycle_is_open_on_a_new_line(store: MemoryStore) -> None:
    assert current_cycle(store, LINE) is None
    with pytest.raises(CycleError, match="is not the open one"):
        close_cycle(store, OPEN, end=None)


def test_a_late_worker_cannot_close_another_cycle(store: MemoryStore) -> None:
    late = open_cycle(store, LINE, INPUTS)
    close_cycle(store, late, end=End.PUBLISHED)
    open_cycle(store, LINE, OTHER)
    with pytest.raises(CycleError, match=r"is not the open one of line integration"):
        close_cycle(store, late, end=None)


def test_two_simultaneous_openers_get_the_same_cycle() -> None:
    class Raced(MemoryStore):
        def create(self, key: str, data: bytes) -> str:
            if key.endswith("open.json") and not list(self.list(key)):
                super().create(key, replace(OPEN, inputs=OTHER, key=cycle_key(OTHER)).to_bytes())
            return super().create(key, data)

    assert open_cycle(Raced(), LINE, INPUTS).key == cycle_key(OTHER)


def test_one_of_two_simultaneous_closers_is_refused() -> None:
    class Raced(MemoryStore):
        def replace(self, key: str, data: bytes, *, etag: str) -> str:
            raise ConflictError("another writer")

    store = Raced()
    opened = open_cycle(store, LINE, INPUTS)
    with pytest.raises(CycleBusyError, match="was closed by another run"):
        close_cycle(store, opened, end=End.PUBLISHED)


def test_a_cycle_whose_closing_was_not_answered_is_closed() -> None:
    class Lossy(MemoryStore):
        def replace(self, key: str, data: bytes, *, etag: str) -> str:
            super().replace(key, data, etag=etag)
            raise ConflictError("there are other bytes")

    store = Lossy()
    close_cycle(store, open_cycle(store, LINE, INPUTS), end=End.PUBLISHED)
    assert current_cycle(store, LINE) is None


def test_it_works_on_a_real_server(s3_store: S3Store) -> None:
    opened = open_cycle(s3_store, LINE, INPUTS)
    assert open_cycle(s3_store, LINE, OTHER) == opened
    close_cycle(s3_store, opened, end=End.NO_NEW_DATA)
    assert current_cycle(s3_store, LINE) is None


def test_a_record_with_unknown_fields_is_refused(store: MemoryStore) -> None:
    store.put(f"{LINE}/work/open.json", b'{"colour":"red"}')
    with pytest.raises(CycleError, match="started by another version of Everlearn"):
        open_cycle(store, LINE, INPUTS)
