from __future__ import annotations

import ctypes
import fcntl
import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.canonical_json import digest_of
from everlearn.errors import BadInputError, IntegrityError, StoreDownError
from everlearn.registry import delivery
from everlearn.registry.delivery import RECEIPT, Receipt, deliver
from everlearn.registry.manifest import ObjectRef

if TYPE_CHECKING:
    from pathlib import Path

RECEIPT_1 = Receipt(line="integration", version="v0001", manifest="m")
RECEIPT_2 = replace(RECEIPT_1, version="v0002")
HELD = {digest_of(data): data for data in (b"one", b"two", b"config")}


def files(weights: bytes) -> dict[str, ObjectRef]:
    held = {"adapter_model.safetensors": weights, "adapter_config.json": b"config"}
    return {name: ObjectRef(digest=digest_of(data), size=len(data)) for name, data in held.items()}


def fetch(ref: ObjectRef, path: Path) -> None:
    path.write_bytes(HELD[ref.digest])


def never(ref: ObjectRef, path: Path) -> None:
    raise IntegrityError("damaged")


def content(to: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in to.iterdir()}


def test_directory_holds_exactly_the_files_and_a_receipt(tmp_path: Path) -> None:
    to = deliver(files(b"one"), receipt=RECEIPT_1, to=tmp_path / "new" / "adapter", fetch=fetch)
    assert content(to) == {
        "adapter_model.safetensors": b"one",
        "adapter_config.json": b"config",
        RECEIPT: RECEIPT_1.to_bytes(),
    }
    assert [path.name for path in to.parent.iterdir()] == ["adapter"]


def test_empty_target_directory_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    to = deliver(files(b"one"), receipt=RECEIPT_1, to=tmp_path / "adapter", fetch=fetch)
    assert len(content(to)) == 3


def test_correct_directory_is_not_touched(tmp_path: Path) -> None:
    to = deliver(files(b"one"), receipt=RECEIPT_1, to=tmp_path / "adapter", fetch=fetch)
    inode = to.stat().st_ino
    assert deliver(files(b"one"), receipt=RECEIPT_1, to=to, fetch=never) == to
    assert to.stat().st_ino == inode


@pytest.mark.parametrize("damage", ["changed", "missing", "extra"])
def test_changed_directory_is_corrected(tmp_path: Path, damage: str) -> None:
    to = deliver(files(b"one"), receipt=RECEIPT_1, to=tmp_path / "adapter", fetch=fetch)
    right = content(to)
    match damage:
        case "changed":
            (to / "adapter_config.json").write_bytes(b"other")
        case "missing":
            (to / "adapter_config.json").unlink()
        case _:
            (to / "extra.txt").write_bytes(b"")
    deliver(files(b"one"), receipt=RECEIPT_1, to=to, fetch=fetch)
    assert content(to) == right


def test_another_version_replaces_the_directory_atomically(tmp_path: Path) -> None:
    to = deliver(files(b"one"), receipt=RECEIPT_1, to=tmp_path / "adapter", fetch=fetch)
    with (to / "adapter_model.safetensors").open("rb") as reader:
        deliver(files(b"two"), receipt=RECEIPT_2, to=to, fetch=fetch)
        assert reader.read() == b"one"
    assert content(to)["adapter_model.safetensors"] == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_failed_verification_changes_nothing(tmp_path: Path) -> None:
    to = deliver(files(b"one"), receipt=RECEIPT_1, to=tmp_path / "adapter", fetch=fetch)
    with pytest.raises(IntegrityError):
        deliver(files(b"two"), receipt=RECEIPT_2, to=to, fetch=never)
    assert content(to)["adapter_model.safetensors"] == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


@pytest.mark.parametrize("exchange", ["refused", "unknown"])
def test_without_rename_exchange_two_renames_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: str
) -> None:
    class OldLibrary:
        def __init__(self, *_: object, **__: object) -> None:
            if exchange == "refused":
                self.renameat2 = lambda *_: -1

    to = deliver(files(b"one"), receipt=RECEIPT_1, to=tmp_path / "adapter", fetch=fetch)
    monkeypatch.setattr(ctypes, "CDLL", OldLibrary)
    deliver(files(b"two"), receipt=RECEIPT_2, to=to, fetch=fetch)
    assert content(to)["adapter_model.safetensors"] == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_files_of_another_origin_are_never_removed(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BadInputError, match="holds files that were not pulled"):
        deliver(files(b"one"), receipt=RECEIPT_1, to=tmp_path, fetch=fetch)
    with pytest.raises(BadInputError, match="is not a directory"):
        deliver(files(b"one"), receipt=RECEIPT_1, to=tmp_path / "notes.txt", fetch=fetch)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInputError, match="is not a directory"):
        deliver(files(b"one"), receipt=RECEIPT_1, to=tmp_path / "link", fetch=fetch)


def test_full_disk_is_reported_and_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadInputError, match=r"cannot be written \(No space left on device\)"):
        deliver(files(b"one"), receipt=RECEIPT_1, to=tmp_path / "adapter", fetch=fetch)
    assert list(tmp_path.iterdir()) == []


def cut_short(ref: ObjectRef, path: Path) -> None:
    """Fetch the first file, and a part of the second."""
    if ref.digest == digest_of(b"config"):
        path.write_bytes(b"con")
        raise StoreDownError("no answer")
    fetch(ref, path)


def test_interrupted_delivery_continues_with_arrived_bytes(tmp_path: Path) -> None:
    with pytest.raises(StoreDownError):
        deliver(files(b"one"), receipt=RECEIPT_1, to=tmp_path / "adapter", fetch=cut_short)
    assert not (tmp_path / "adapter").exists()
    arrived: dict[str, bytes] = {}

    def go_on(ref: ObjectRef, path: Path) -> None:
        arrived[path.name] = path.read_bytes()
        fetch(ref, path)

    deliver(files(b"one"), receipt=RECEIPT_1, to=tmp_path / "adapter", fetch=go_on)
    assert arrived == {"adapter_model.safetensors": b"one", "adapter_config.json": b"con"}
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_stray_and_partial_files_are_not_delivered(tmp_path: Path) -> None:
    with pytest.raises(StoreDownError):
        deliver(files(b"one"), receipt=RECEIPT_1, to=tmp_path / "adapter", fetch=cut_short)
    partial = tmp_path / ".adapter.partial"
    (partial / "stray").write_bytes(b"")
    (partial / "n").mkdir()
    (partial / "n" / "pickle.bin").write_bytes(b"")
    (partial / "n" / "folder").mkdir()
    to = deliver(files(b"two"), receipt=replace(RECEIPT_2, manifest="n"), to=tmp_path / "adapter", fetch=fetch)
    assert sorted(content(to)) == ["adapter_config.json", "adapter_model.safetensors", RECEIPT]
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_deliveries_into_one_directory_are_serialized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    begun, may_end, lock = threading.Semaphore(0), threading.Event(), fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        begun.release()
        lock(descriptor, operation)

    def slow(ref: ObjectRef, path: Path) -> None:
        assert may_end.wait(30)
        fetched.append(ref.digest)
        fetch(ref, path)

    def run() -> None:
        deliver(files(b"one"), receipt=RECEIPT_1, to=tmp_path / "adapter", fetch=slow)

    monkeypatch.setattr(fcntl, "flock", flock)
    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert begun.acquire(timeout=30)
    assert begun.acquire(timeout=30)
    may_end.set()
    for thread in threads:
        thread.join()
    assert len(fetched) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_receipt_keeps_the_highest_sequence(tmp_path: Path) -> None:
    to = deliver(files(b"one"), receipt=replace(RECEIPT_1, sequence=3), to=tmp_path / "adapter", fetch=fetch)
    inode = to.stat().st_ino
    for sequence, remembered in ((5, 5), (4, 5)):
        deliver(files(b"one"), receipt=replace(RECEIPT_1, sequence=sequence), to=to, fetch=never)
        held = Receipt.of(to)
        assert held == replace(RECEIPT_1, sequence=remembered)
    assert to.stat().st_ino == inode


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b'{"a":1}', b"[]", b'{"line":"l","manifest":"m","sequence":"7","version":"v0001"}'],
)
def test_unreadable_receipt_is_ignored(tmp_path: Path, data: bytes) -> None:
    (tmp_path / RECEIPT).write_bytes(data)
    assert Receipt.of(tmp_path) is None
    deliver(files(b"one"), receipt=RECEIPT_1, to=tmp_path, fetch=fetch)
    assert Receipt.of(tmp_path) == RECEIPT_1


def test_receipt_format_is_stable() -> None:
    assert RECEIPT_1.to_bytes() == b'{"line":"integration","manifest":"m","sequence":0,"version":"v0001"}'
    assert delivery.RECEIPT == "everlearn.json"


def test_a_lock_directory_that_another_delivery_removes_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open
    removed: list[Path] = []

    def remove_first(path: Path, *given: Any, **named: Any) -> int:
        if not removed:
            path.rmdir()
            removed.append(path)
        return opened(path, *given, **named)

    monkeypatch.setattr(os, "open", remove_first)
    to = deliver(files(b"one"), receipt=RECEIPT_1, to=tmp_path / "adapter", fetch=fetch)
    assert (len(content(to)), len(removed)) == (3, 1)
