"""Whoever changes a byte is found out before anything is delivered, and the message says where."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from everlearn import chain
from everlearn.document import canonical, parse
from everlearn.errors import IntegrityError
from everlearn.registry import Kind, Registry
from everlearn.signing import Ed25519Signer
from everlearn.stores.memory import MemoryStore
from tests.line import LINE, Clock, open_line, publish

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.stores import Blob


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """Three versions; the second event carries a snapshot."""
    monkeypatch.setattr(chain, "SNAPSHOT_EVERY", 2)
    store = MemoryStore()
    line = open_line(store)
    for name in ("one", "two", "three"):
        publish(line, name)
    return store


def needed(store: MemoryStore) -> list[str]:
    """Every key that delivering the champion rests on."""
    keys: list[str] = []

    class Watching(MemoryStore):
        def get(self, key: str) -> Blob:
            keys.append(key)
            return store.get(key)

    line = open_line(Watching())
    for ref in line.manifest("champion").files.values():
        line.get_object(ref)
    return list(dict.fromkeys(keys))


def refused(store: MemoryStore, to: Path) -> str:
    with pytest.raises(IntegrityError) as caught:
        open_line(store).pull("champion", to=to)
    assert not to.exists()
    return str(caught.value)


def test_a_delivery_rests_on_head_events_a_snapshot_a_manifest_and_objects(store: MemoryStore) -> None:
    kinds = [key.split("/")[1] for key in needed(store)]
    assert kinds == ["HEAD", "events", "events", "objects", "manifests", "objects", "objects"]


def test_any_flipped_byte_is_found_out(store: MemoryStore, tmp_path: Path) -> None:
    for key in needed(store):
        good = store.get(key).data
        for position in range(0, len(good), max(1, len(good) // 40)):
            bad = bytearray(good)
            bad[position] ^= 1
            store.put(key, bytes(bad))
            refused(store, tmp_path / "adapter")
        store.put(key, good[:-1])
        refused(store, tmp_path / "adapter")
        store.put(key, good)
    open_line(store).pull("champion", to=tmp_path / "adapter")


def test_anything_missing_is_named(store: MemoryStore, tmp_path: Path) -> None:
    for key in needed(store)[1:]:
        good = store.get(key).data
        store.delete(key)
        assert key in refused(store, tmp_path / "adapter")
        store.put(key, good)


@pytest.mark.parametrize(
    "change",
    [{"champion": "v0001"}, {"champion": None}, {"sequence": 2}, {"snapshot": None}, {"line": "x"}, {"more": 1}],
)
def test_a_head_that_says_something_else_than_its_history_is_refused(
    store: MemoryStore, tmp_path: Path, change: dict[str, object]
) -> None:
    head = parse(store.get(f"{LINE}/HEAD").data, name="HEAD")
    store.put(f"{LINE}/HEAD", canonical(head | change))
    assert "HEAD contradicts its own history" in refused(store, tmp_path / "adapter")


@pytest.mark.parametrize("event", [None, 7, "../../secret"])
def test_a_head_that_points_to_no_event_is_refused(store: MemoryStore, tmp_path: Path, event: object) -> None:
    head = parse(store.get(f"{LINE}/HEAD").data, name="HEAD")
    store.put(f"{LINE}/HEAD", canonical(head | {"event": event}))
    refused(store, tmp_path / "adapter")


def test_two_adapters_cannot_be_swapped(store: MemoryStore, tmp_path: Path) -> None:
    line = open_line(store)
    name = "adapter_model.safetensors"
    one, three = (f"{LINE}/objects/sha256/{line.manifest(each).files[name].digest}" for each in ("v0001", "v0003"))
    first, third = store.get(one).data, store.get(three).data
    store.put(one, third)
    store.put(three, first)
    assert "its bytes have another digest" in refused(store, tmp_path / "adapter")


def test_an_event_by_a_stranger_is_refused(store: MemoryStore, tmp_path: Path) -> None:
    stranger = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(b"s" * 32))

    class Credulous:
        def check(self, message: bytes, signature: dict[str, str] | None, *, name: str) -> None:
            pass

    forger = Registry(store, LINE, clock=Clock(), signer=stranger, verifier=Credulous())
    publish(forger, "forged")
    assert "signed with a key that is not trusted here" in refused(store, tmp_path / "adapter")


def test_a_reader_that_saw_more_refuses_an_older_head(store: MemoryStore) -> None:
    old = store.get(f"{LINE}/HEAD").data
    line = open_line(store)
    line.rollback(reason="worse", actor="ada")
    store.put(f"{LINE}/HEAD", old)
    with pytest.raises(IntegrityError, match="HEAD shows an older or another history than was read before"):
        line.state()
    store.delete(f"{LINE}/HEAD")
    with pytest.raises(IntegrityError, match="HEAD is gone"):
        line.state()


def test_a_reader_refuses_another_history_of_the_same_length(store: MemoryStore) -> None:
    old = store.get(f"{LINE}/HEAD")
    line = open_line(store)
    line.rollback(reason="worse", actor="ada")
    store.put(f"{LINE}/HEAD", old.data)
    open_line(store).record(Kind.REJECTED, cycle_key="k", reason="worse", actor="bob", detail={})
    with pytest.raises(IntegrityError, match="an older or another history"):
        line.state()
