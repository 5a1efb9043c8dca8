"""One contract, run against every store: memory, a real S3 server, and the server behind a proxy."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from everlearn.errors import ConflictError, NotFoundError, StoreDownError, StoreError
from everlearn.storage import conformance
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from everlearn.storage.protocol import ObjectInfo, Store


@pytest.fixture(params=["memory", "s3_store", "proxied_store"])
def store(request: pytest.FixtureRequest) -> Store:
    chosen: Store = MemoryStore() if request.param == "memory" else request.getfixturevalue(request.param)
    return chosen


def test_written_bytes_are_read_back(store: Store) -> None:
    etag = store.create("a/b", b"one")
    assert store.get("a/b").data == b"one"
    assert store.get("a/b").etag == etag


def test_an_object_may_be_empty(store: Store) -> None:
    store.create("empty", b"")
    assert store.get("empty").data == b""
    assert store.head("empty").size == 0


def test_create_never_overwrites(store: Store) -> None:
    store.create("a", b"one")
    with pytest.raises(ConflictError):
        store.create("a", b"two")
    assert store.get("a").data == b"one"


def test_replace_requires_the_current_etag(store: Store) -> None:
    first = store.create("a", b"one")
    second = store.replace("a", b"two", etag=first)
    assert second != first
    with pytest.raises(ConflictError):
        store.replace("a", b"three", etag=first)
    assert store.get("a").data == b"two"


def test_replace_never_creates(store: Store) -> None:
    etag = store.create("a", b"one")
    store.delete("a")
    with pytest.raises(ConflictError):
        store.replace("a", b"two", etag=etag)


def test_put_overwrites(store: Store) -> None:
    store.put("work", b"one")
    store.put("work", b"two")
    assert store.get("work").data == b"two"


def test_a_missing_object_raises_not_found(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.get("nothing")
    with pytest.raises(NotFoundError):
        store.head("nothing")


def test_deleting_twice_is_not_an_error(store: Store) -> None:
    store.create("a", b"one")
    store.delete("a")
    store.delete("a")
    with pytest.raises(NotFoundError):
        store.get("a")


def test_head_returns_size_and_checksum(store: Store) -> None:
    store.create("a", b"some bytes")
    info = store.head("a")
    assert (info.key, info.size) == ("a", 10)
    assert info.sha256 == hashlib.sha256(b"some bytes").hexdigest()
    assert info.etag == store.get("a").etag
    assert info.modified.tzinfo is not None


def test_list_returns_a_prefix_in_key_order(store: Store) -> None:
    for key in ("x/2", "x/1", "xy", "y/1"):
        store.create(key, b"data")
    assert [info.key for info in store.list("x/")] == ["x/1", "x/2"]
    assert [info.key for info in store.list()] == ["x/1", "x/2", "xy", "y/1"]
    assert next(store.list("y")).size == 4


def test_a_conforming_store_passes_and_keeps_no_probe(store: Store) -> None:
    store.require_conformance()
    assert list(store.list()) == []


def test_one_of_eight_concurrent_creates_succeeds(store: Store) -> None:
    assert winners(lambda name: store.create("HEAD", name)) == [store.get("HEAD").data]


def test_one_of_eight_concurrent_replaces_succeeds(store: Store) -> None:
    etag = store.create("HEAD", b"old")
    assert winners(lambda name: store.replace("HEAD", name, etag=etag)) == [store.get("HEAD").data]


def winners(write: Callable[[bytes], str]) -> list[bytes]:
    """Return the names of those of eight threads whose write succeeded."""
    won: list[bytes] = []
    start = threading.Barrier(8)

    def run(name: bytes) -> None:
        start.wait()
        try:
            write(name)
        except ConflictError:
            return
        won.append(name)

    threads = [threading.Thread(target=run, args=(f"writer {number}".encode(),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return won


class OverwritesOnCreate(MemoryStore):
    def create(self, key: str, data: bytes) -> str:
        return self.put(key, data)


class IgnoresEtags(MemoryStore):
    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        self.get(key)
        return self.put(key, data)


class CreatesOnReplace(MemoryStore):
    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        return super().replace(key, data, etag=etag) if key in self._objects else self.put(key, data)


class CorruptsOnReplace(MemoryStore):
    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        return super().replace(key, b"garbage", etag=etag)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (OverwritesOnCreate, "in spite of If-None-Match"),
        (IgnoresEtags, "overwrites newer bytes in spite of If-Match"),
        (CreatesOnReplace, "creates an object in spite of If-Match"),
        (CorruptsOnReplace, "returns other bytes than were written"),
    ],
)
def test_a_store_that_breaks_conditions_is_refused(kind: type[MemoryStore], fault: str) -> None:
    with pytest.raises(StoreError, match=fault):
        kind().require_conformance()


class FailingList(MemoryStore):
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        raise StoreError(f"no listing of {prefix}")


class Unreachable(MemoryStore):
    def now(self) -> datetime:
        raise StoreDownError("no answer")


class WithoutChecksums(MemoryStore):
    def head(self, key: str) -> ObjectInfo:
        return replace(super().head(key), sha256=None)


class EmptyList(MemoryStore):
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return iter(())


class NeverDeletes(MemoryStore):
    def delete(self, key: str) -> None:
        pass


class SlowClock(MemoryStore):
    def now(self) -> datetime:
        return super().now() - timedelta(minutes=3)


@pytest.mark.parametrize(
    ("kind", "check", "fault"),
    [
        (FailingList, conformance.LISTING, "fails: no listing"),
        (WithoutChecksums, conformance.CHECKSUMS, "cannot detect damage without reading"),
        (EmptyList, conformance.LISTING, "does not list what was just written"),
        (NeverDeletes, conformance.LISTING, "lists what was just deleted"),
        (SlowClock, conformance.CLOCK, "dates a new object"),
    ],
)
def test_a_minor_fault_is_reported_but_not_refused(kind: type[MemoryStore], check: str, fault: str) -> None:
    store = kind()
    assert fault in str(store.probe()[check])
    store.require_conformance()


def test_an_unreachable_store_is_not_reported_as_faulty() -> None:
    with pytest.raises(StoreDownError, match="no answer"):
        Unreachable().probe()


def test_a_missing_object_cannot_be_touched(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.touch("missing")


def test_memory_store_dates_objects_by_its_clock() -> None:
    clock = Clock()
    before = clock()
    store = MemoryStore(clock)
    store.create("a", b"one")
    assert (store.head("a").modified - before).total_seconds() == 1
