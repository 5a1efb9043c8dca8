from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from everlearn.errors import RegistryError
from everlearn.registry.publisher_heartbeat import CollectionMark, PublisherHeartbeat, mark_key, read_heartbeats
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import LINE, ManualClock, candidate, open_line

if TYPE_CHECKING:
    from everlearn.registry.versions import Registry

DAY = timedelta(days=1)


@pytest.fixture
def time() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(time: ManualClock) -> MemoryStore:
    return MemoryStore(time)


@pytest.fixture
def line(store: MemoryStore) -> Registry:
    return open_line(store)


def test_expired_heartbeat_stops_the_publication(store: MemoryStore, line: Registry, time: ManualClock) -> None:
    manifest = candidate(line, "one")
    original = store.create

    def slow(key: str, data: bytes) -> str:
        time.now += timedelta(hours=1)
        return original(key, data)

    store.create = slow  # type: ignore[method-assign]
    with pytest.raises(RegistryError, match="heartbeat has expired"):
        line.publish(manifest, make_champion=True, actor="night", reason="better")
    store.create = original  # type: ignore[method-assign]
    assert open_line(store).state().sequence == 0
    assert line.publish(manifest, make_champion=True, actor="night", reason="better").version == "v0001"


def test_publisher_stops_if_a_collection_removes_its_objects(
    store: MemoryStore, line: Registry, time: ManualClock
) -> None:
    manifest = candidate(line, "one")
    key = f"{LINE}/objects/sha256/{manifest.files['adapter_config.json'].digest}"
    store.put(mark_key(LINE), CollectionMark(stage="sweeping", until=time.now + DAY, keys=(key,)).to_bytes())
    with pytest.raises(RegistryError, match="is removing an object that this version needs"):
        line.publish(manifest, make_champion=True, actor="night", reason="better")
    time.now += DAY
    later = open_line(store)
    assert later.publish(manifest, make_champion=True, actor="night", reason="better").version == "v0001"


def test_heartbeat_is_renewed_in_use_and_deleted_at_the_end(store: MemoryStore, time: ManualClock) -> None:
    def monotonic() -> float:
        return time.now.timestamp()

    publisher = PublisherHeartbeat(store, LINE, lifetime=timedelta(seconds=30), monotonic=monotonic)
    assert publisher.fresh_after is None
    publisher.end()
    publisher.keep_alive()
    first = read_heartbeats(store, LINE)[0]
    time.wait(5)
    publisher.keep_alive()
    assert read_heartbeats(store, LINE) == (first,)
    time.wait(10)
    publisher.keep_alive()
    assert read_heartbeats(store, LINE)[0].expires == first.expires + timedelta(seconds=15)
    assert read_heartbeats(store, LINE)[0].since == first.since
    store.put(f"{LINE}/publishers/strange.json", b"?")
    assert {each.holder == "unknown" for each in read_heartbeats(store, LINE)} == {True, False}
    publisher.end()
    assert len(read_heartbeats(store, LINE)) == 1
