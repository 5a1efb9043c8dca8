"""Snapshots in the bucket: pushed by DVC, read by their key.

    dvc/files/md5/…                             the bytes, in DVC's layout
    <line>/snapshots/<digest>/snapshot.dvc      the pointer to them, which `dvc pull` follows
    <line>/snapshots/<digest>/counts.json       number of rows by outcome

The pointer is written after the bytes: where it exists, the snapshot is complete. Readers need no DVC.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from everlearn.data import dvc_remote
from everlearn.data.snapshot import Snapshot

if TYPE_CHECKING:
    from everlearn.data.snapshot import RowCounts
    from everlearn.settings import StoreSettings
    from everlearn.storage.protocol import Store


def folder_of(line: str, digest: str) -> str:
    """Return the prefix of a snapshot's keys."""
    return f"{line}/snapshots/{digest}"


def save_snapshot(store: Store, snapshot: Snapshot, counts: RowCounts, *, settings: StoreSettings) -> None:
    """Push the snapshot with DVC to the bucket of `settings`, then write its pointer and the counts.

    Raises:
        StoreDownError: see `dvc_remote.push`.
    """
    pointer = dvc_remote.push(snapshot.to_bytes(), store=settings)
    folder = folder_of(settings.line, snapshot.digest)
    store.put(f"{folder}/snapshot.dvc", pointer)
    store.put(f"{folder}/counts.json", json.dumps(asdict(counts), ensure_ascii=False).encode())


def snapshots_of(store: Store, line: str) -> list[str]:
    """Return the digests of all complete snapshots of a line, sorted."""
    names = (info.key.split("/")[-2:] for info in store.list(f"{line}/snapshots/"))
    return [digest for digest, name in names if name == "snapshot.dvc"]


def load_snapshot(store: Store, line: str, digest: str) -> Snapshot:
    """Return the snapshot with that digest. Raises IntegrityError if its bytes have another one."""
    pointer = store.get(f"{folder_of(line, digest)}/snapshot.dvc").data
    return Snapshot.from_bytes(store.get(dvc_remote.object_key(pointer)).data, digest=digest)


def load_counts(store: Store, line: str, digest: str) -> dict[str, object]:
    """Return the counts of the night that made the snapshot."""
    return dict(json.loads(store.get(f"{folder_of(line, digest)}/counts.json").data))
