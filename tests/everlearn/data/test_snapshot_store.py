"""Snapshots in the bucket: written by DVC, readable without it, in the layout of every release."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from everlearn.data.snapshot import Entry, RowCounts, Snapshot
from everlearn.data.snapshot_store import load_counts, load_snapshot, save_snapshot
from everlearn.errors import IntegrityError, StoreDownError
from everlearn.settings import StoreSettings
from everlearn.storage.in_memory import MemoryStore

if TYPE_CHECKING:
    from everlearn.storage.s3 import S3Store
    from tests.conftest import S3Server

SNAPSHOT = Snapshot(sources=("a",), entries=(Entry(canonical="x", id="1", domain="integration", statement="x"),))
COUNTS = RowCounts(accepted=1, duplicates=0, seen=0, quarantined={"not JSON": 2})
MD5 = hashlib.md5(SNAPSHOT.to_bytes(), usedforsecurity=False).hexdigest()
KEY = f"dvc/files/md5/{MD5[:2]}/{MD5[2:]}"


@pytest.fixture
def settings(s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> StoreSettings:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    return StoreSettings(bucket=bucket, endpoint_url=s3_server.endpoint_url, line="l")


def test_a_saved_snapshot_is_loaded_with_its_counts(s3_store: S3Store, settings: StoreSettings) -> None:
    save_snapshot(s3_store, SNAPSHOT, COUNTS, settings=settings)
    assert load_snapshot(s3_store, "l", SNAPSHOT.digest) == SNAPSHOT
    assert load_counts(s3_store, "l", SNAPSHOT.digest)["quarantined"] == {"not JSON": 2}
    folder = f"l/snapshots/{SNAPSHOT.digest}"
    assert [item.key for item in s3_store.list()] == [KEY, f"{folder}/counts.json", f"{folder}/snapshot.dvc"]


def test_a_failed_push_writes_no_pointer(s3_store: S3Store, settings: StoreSettings) -> None:
    missing = settings.model_copy(update={"bucket": "no-such-bucket"})
    with pytest.raises(StoreDownError):
        save_snapshot(s3_store, SNAPSHOT, COUNTS, settings=missing)
    assert list(s3_store.list()) == []


def test_a_snapshot_of_an_older_release_is_loaded() -> None:
    store, data = MemoryStore(), SNAPSHOT.to_bytes()
    store.create(KEY, data)
    pointer = f"outs:\n- md5: {MD5}\n  size: {len(data)}\n  hash: md5\n  path: snapshot.jsonl\n"
    store.put(f"l/snapshots/{SNAPSHOT.digest}/snapshot.dvc", pointer.encode())
    assert load_snapshot(store, "l", SNAPSHOT.digest) == SNAPSHOT


def test_damaged_bytes_are_refused() -> None:
    store = MemoryStore()
    store.create(KEY, SNAPSHOT.to_bytes() + b"\n")
    store.put(f"l/snapshots/{SNAPSHOT.digest}/snapshot.dvc", f"outs: [{{md5: {MD5}}}]".encode())
    with pytest.raises(IntegrityError, match="other bytes"):
        load_snapshot(store, "l", SNAPSHOT.digest)
