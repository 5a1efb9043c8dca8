"""Tampering is detected before anything is delivered, and the message names the key.

Keys that a delivery does not read are checked by `fsck`, here and in test_fsck.py.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everlearn.canonical_json import canonical, parse
from everlearn.errors import IntegrityError
from everlearn.registry import event_log
from everlearn.registry.maintenance.fsck import fsck
from everlearn.registry.signing import Ed25519Signer, Ed25519Verifier
from everlearn.registry.versions import EventKind, Registry
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import LINE, SIGNER, VERIFIER, Clock, adapter, open_line, publish
from tests.support.versioned_store import erase, list_keys

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from everlearn.storage.protocol import Blob


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """Return a line of three versions whose second event names a snapshot."""
    monkeypatch.setattr(event_log, "SNAPSHOT_EVERY", 2)
    store = MemoryStore()
    line = open_line(store)
    for name in ("one", "two", "three"):
        publish(line, name)
    return store


def needed(store: MemoryStore) -> list[str]:
    """Return every key that delivering the champion reads."""
    keys: list[str] = []

    class Watching(MemoryStore):
        def get(self, key: str) -> Blob:
            keys.append(key)
            return store.get(key)

    line = open_line(Watching())
    for ref in line.manifest("champion").files.values():
        line.get_object(ref)
    return list(dict.fromkeys(keys))


def needed_keys(store: MemoryStore, held: tuple[bytes, datetime], key: str) -> list[str]:
    """Return every key that a delivery would read if `key` had the content `held`."""
    whole = MemoryStore()
    whole._objects = {**store._objects, key: held}
    return needed(whole)


def refused(store: MemoryStore, to: Path) -> str:
    with pytest.raises(IntegrityError) as caught:
        open_line(store).pull("champion", to=to)
    assert not to.exists()
    return str(caught.value)


def delivered_right(store: MemoryStore, to: Path) -> str | None:
    """Return None if the champion was delivered as published, or the error message if nothing was delivered."""
    try:
        open_line(store).pull("champion", to=to)
    except IntegrityError as error:
        assert not to.exists()
        return str(error)
    assert (to / "adapter_model.safetensors").read_bytes() == adapter("three")
    shutil.rmtree(to)
    return None


def test_delivery_reads_every_kind_of_key(store: MemoryStore) -> None:
    kinds = [key.split("/")[1] for key in needed(store)]
    assert kinds == ["HEAD", "events", "events", "objects", "manifests", "objects", "objects"]


def test_any_flipped_byte_is_detected(store: MemoryStore, tmp_path: Path) -> None:
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


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bits_never_reach_a_delivery(store: MemoryStore, tmp_path: Path, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(list_keys(store)))
    at = data.draw(st.integers(0, store.head(key).size - 1))
    held = store._objects[key]
    bad = bytearray(held[0])
    bad[at] ^= 1 << data.draw(st.integers(0, 7))
    store._objects[key] = (bytes(bad), held[1])
    complaint = delivered_right(store, tmp_path / "adapter")
    if complaint is not None:
        assert key in needed_keys(store, held, key)
        assert key in complaint or key.endswith("/HEAD")
    findings = fsck(store, LINE, verifier=VERIFIER)
    assert key in {fault.key for fault in (*findings.head, *findings.damaged)}
    store._objects[key] = held


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
def test_head_that_contradicts_its_history_is_refused(
    store: MemoryStore, tmp_path: Path, change: dict[str, object]
) -> None:
    head = parse(store.get(f"{LINE}/HEAD").data, name="HEAD")
    store.put(f"{LINE}/HEAD", canonical(head | change))
    assert "HEAD contradicts its own history" in refused(store, tmp_path / "adapter")


@pytest.mark.parametrize("event", [None, 7, "../../secret"])
def test_head_that_names_no_event_is_refused(store: MemoryStore, tmp_path: Path, event: object) -> None:
    head = parse(store.get(f"{LINE}/HEAD").data, name="HEAD")
    store.put(f"{LINE}/HEAD", canonical(head | {"event": event}))
    refused(store, tmp_path / "adapter")


def test_swapped_adapters_are_refused(store: MemoryStore, tmp_path: Path) -> None:
    line = open_line(store)
    name = "adapter_model.safetensors"
    one, three = (f"{LINE}/objects/sha256/{line.manifest(each).files[name].digest}" for each in ("v0001", "v0003"))
    first, third = store.get(one).data, store.get(three).data
    store.put(one, third)
    store.put(three, first)
    assert "its bytes have another digest" in refused(store, tmp_path / "adapter")


def test_event_signed_with_an_untrusted_key_is_refused(store: MemoryStore, tmp_path: Path) -> None:
    untrusted = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(b"s" * 32))

    class Credulous:
        def check(self, message: bytes, signature: dict[str, str] | None, *, name: str) -> None:
            pass

    forger = Registry(store, LINE, clock=Clock(), signer=untrusted, verifier=Credulous())
    publish(forger, "forged")
    assert "signed with a key that is not trusted here" in refused(store, tmp_path / "adapter")


def test_reader_refuses_a_head_older_than_its_cache(store: MemoryStore) -> None:
    old = store.get(f"{LINE}/HEAD").data
    line = open_line(store)
    line.rollback(reason="worse", actor="ada")
    store.put(f"{LINE}/HEAD", old)
    with pytest.raises(IntegrityError, match="HEAD shows an older or another history than was read before"):
        line.state()
    store.delete(f"{LINE}/HEAD")
    with pytest.raises(IntegrityError, match="HEAD is missing"):
        line.state()


def test_reader_refuses_another_history_of_equal_length(store: MemoryStore) -> None:
    old = store.get(f"{LINE}/HEAD")
    line = open_line(store)
    line.rollback(reason="worse", actor="ada")
    store.put(f"{LINE}/HEAD", old.data)
    open_line(store).record(EventKind.REJECTED, cycle_key="k", reason="worse", actor="bob", detail={})
    with pytest.raises(IntegrityError, match="an older or another history"):
        line.state()


def test_reader_refuses_another_longer_history(store: MemoryStore) -> None:
    old = store.get(f"{LINE}/HEAD")
    line = open_line(store)
    line.rollback(reason="worse", actor="ada")
    store.put(f"{LINE}/HEAD", old.data)
    for number in range(9):
        open_line(store).record(EventKind.REJECTED, cycle_key=f"k{number}", reason="worse", actor="bob", detail={})
    with pytest.raises(IntegrityError, match="HEAD shows another history than was read before"):
        line.state()


def test_consumer_with_another_key_gets_nothing(store: MemoryStore, tmp_path: Path) -> None:
    untrusted = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(b"s" * 32))
    line = Registry(store, LINE, clock=Clock(), signer=None, verifier=Ed25519Verifier([untrusted.key]))
    with pytest.raises(IntegrityError, match="signed with a key that is not trusted here"):
        line.pull("champion", to=tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_unsigned_document_is_refused_on_a_signed_line(store: MemoryStore, tmp_path: Path) -> None:
    class Credulous:
        def check(self, message: bytes, signature: dict[str, str] | None, *, name: str) -> None:
            pass

    publish(Registry(store, LINE, clock=Clock(), signer=None, verifier=Credulous()), "unsigned")
    assert "is not signed" in refused(store, tmp_path / "adapter")


def test_document_of_another_line_is_refused(store: MemoryStore, tmp_path: Path) -> None:
    other = Registry(store, "other", clock=Clock(), signer=SIGNER, verifier=VERIFIER)
    publish(other, "one")
    for key in [each for each in list_keys(store) if each.startswith("other/")]:
        store.put(key.replace("other/", f"{LINE}/"), store.get(key).data)
    assert "belongs elsewhere" in refused(store, tmp_path / "adapter")


def test_removed_event_is_detected_by_readers_and_fsck(store: MemoryStore, tmp_path: Path) -> None:
    first = open_line(store).state().history[0].digest
    key = f"{LINE}/events/{first}.json"
    erase(store, key)
    open_line(store).pull("champion", to=tmp_path / "adapter")  # readers take the event from the snapshot
    assert [fault.key for fault in fsck(store, LINE, verifier=VERIFIER).missing] == [key]


def test_delivered_directory_refuses_an_older_head(store: MemoryStore, tmp_path: Path) -> None:
    old = store.get(f"{LINE}/HEAD").data
    open_line(store).rollback(reason="worse", actor="ada")
    to = open_line(store).pull("champion", to=tmp_path / "adapter")
    assert (to / "adapter_model.safetensors").read_bytes() == adapter("two")
    store.put(f"{LINE}/HEAD", old)
    with pytest.raises(IntegrityError, match=r"HEAD is older than it must be: 3 events, but 4 were seen before"):
        open_line(store).pull("champion", to=to)
    assert (to / "adapter_model.safetensors").read_bytes() == adapter("two")


def test_at_least_refuses_an_older_head(store: MemoryStore, tmp_path: Path) -> None:
    line = open_line(store)
    line.pull("champion", to=tmp_path / "adapter", at_least=3)
    with pytest.raises(IntegrityError, match="HEAD is older than it must be: 3 events, but 4"):
        line.pull("champion", to=tmp_path / "another", at_least=4)
    assert not (tmp_path / "another").exists()


def test_older_head_without_evidence_fools_a_new_reader(store: MemoryStore, tmp_path: Path) -> None:
    old = store.get(f"{LINE}/HEAD").data
    open_line(store).rollback(reason="worse", actor="ada")
    store.put(f"{LINE}/HEAD", old)
    to = open_line(store).pull("champion", to=tmp_path / "adapter")
    assert (to / "adapter_model.safetensors").read_bytes() == adapter("three")
    tips = fsck(store, LINE, verifier=VERIFIER).orphan_tips
    assert [(tip.sequence, tip.kind) for tip in tips] == [(4, EventKind.ROLLED_BACK)]
