"""One contract, and every store that keeps it."""

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
    found: Store = MemoryStore() if request.param == "memory" else request.getfixturevalue(request.param)
    return found


def test_what_was_written_is_read_back(store: Store) -> None:
    etag = store.create("a/b", b"one")
    assert store.get("a/b").data == b"one"
    assert store.get("a/b").etag == etag


def test_an_empty_object_is_an_object(store: Store) -> None:
    store.create("empty", b"")
    assert store.get("empty").data == b""
    assert store.head("empty").size == 0


def test_nothing_is_created_over_something(store: Store) -> None:
    store.create("a", b"one")
    with pytest.raises(ConflictError):
        store.create("a", b"two")
    assert store.get("a").data == b"one"


def test_only_the_bytes_that_were_read_are_replaced(store: Store) -> None:
    first = store.create("a", b"one")
    second = store.replace("a", b"two", etag=first)
    assert second != first
    with pytest.raises(ConflictError):
        store.replace("a", b"three", etag=first)
    assert store.get("a").data == b"two"


def test_nothing_is_replaced_where_nothing_is(store: Store) -> None:
    etag = store.create("a", b"one")
    store.delete("a")
    with pytest.raises(ConflictError):
        store.replace("a", b"two", etag=etag)


def test_a_work_file_is_written_over(store: Store) -> None:
    store.put("work", b"one")
    store.put("work", b"two")
    assert store.get("work").data == b"two"


def test_what_is_not_there_is_said_so(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.get("nothing")
    with pytest.raises(NotFoundError):
        store.head("nothing")


def test_deleting_twice_is_no_error(store: Store) -> None:
    store.create("a", b"one")
    store.delete("a")
    store.delete("a")
    with pytest.raises(NotFoundError):
        store.get("a")


def test_the_store_knows_size_and_checksum_without_a_download(store: Store) -> None:
    store.create("a", b"some bytes")
    info = store.head("a")
    assert (info.key, info.size) == ("a", 10)
    assert info.sha256 == hashlib.sha256(b"some bytes").hexdigest()
    assert info.etag == store.get("a").etag
    assert info.modified.tzinfo is not None


def test_a_prefix_lists_what_begins_with_it_in_order(store: Store) -> None:
    for key in ("x/2", "x/1", "xy", "y/1"):
        store.create(key, b"data")
    assert [info.key for info in store.list("x/")] == ["x/1", "x/2"]
    assert [info.key for info in store.list()] == ["x/1", "x/2", "xy", "y/1"]
    assert next(store.list("y")).size == 4


def test_the_canary_is_content_and_leaves_nothing_behind(store: Store) -> None:
    store.require_conformance()
    assert list(store.list()) == []


def test_of_many_that_create_at_once_one_wins(store: Store) -> None:
    assert winners(lambda name: store.create("HEAD", name)) == [store.get("HEAD").data]


def test_of_many_that_replace_at_once_one_wins(store: Store) -> None:
    etag = store.create("HEAD", b"old")
    assert winners(lambda name: store.replace("HEAD", name, etag=etag)) == [store.get("HEAD").data]


def winners(write: Callable[[bytes], str]) -> list[bytes]:
    """Who of eight threads has seen its write succeed."""
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


class ForgetsWhatItReplaced(MemoryStore):
    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        return super().replace(key, b"garbage", etag=etag)


@pytest.mark.parametrize(
    ("careless", "fault"),
    [
        (OverwritesOnCreate, "in spite of If-None-Match"),
        (IgnoresEtags, "overwrites newer bytes in spite of If-Match"),
        (CreatesOnReplace, "creates an object in spite of If-Match"),
        (ForgetsWhatItReplaced, "returns other bytes than were written"),
    ],
)
def test_the_canary_refuses_a_careless_store(careless: type[MemoryStore], fault: str) -> None:
    with pytest.raises(StoreError, match=fault):
        careless().require_conformance()


class Broken(MemoryStore):
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        raise StoreError(f"no listing of {prefix}")


class Down(MemoryStore):
    def now(self) -> datetime:
        raise StoreDownError("no answer")


class Forgetful(MemoryStore):
    def head(self, key: str) -> ObjectInfo:
        return replace(super().head(key), sha256=None)


class Blind(MemoryStore):
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return iter(())


class Lingering(MemoryStore):
    def delete(self, key: str) -> None:
        pass


class Slow(MemoryStore):
    def now(self) -> datetime:
        return super().now() - timedelta(minutes=3)


@pytest.mark.parametrize(
    ("careless", "promise", "fault"),
    [
        (Broken, conformance.LISTING, "fails: no listing"),
        (Forgetful, conformance.CHECKSUMS, "cannot detect damage without reading"),
        (Blind, conformance.LISTING, "does not list what was just written"),
        (Lingering, conformance.LISTING, "lists what was just deleted"),
        (Slow, conformance.CLOCK, "dates a new object"),
    ],
)
def test_a_smaller_promise_that_is_broken_is_told_and_does_not_stop_a_publisher(
    careless: type[MemoryStore], promise: str, fault: str
) -> None:
    store = careless()
    assert fault in str(store.probe()[promise])
    store.require_conformance()


def test_a_store_that_does_not_answer_is_not_taken_for_a_broken_promise() -> None:
    with pytest.raises(StoreDownError, match="no answer"):
        Down().probe()


def test_what_is_not_there_cannot_be_made_newer(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.touch("missing")


def test_memory_dates_by_the_clock_it_is_given() -> None:
    clock = Clock()
    began = clock()
    store = MemoryStore(clock)
    store.create("a", b"one")
    assert (store.head("a").modified - began).total_seconds() == 1
