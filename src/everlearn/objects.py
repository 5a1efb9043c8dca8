"""Immutable bytes in a store, under keys that carry their digest: kept once, and read only verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.document import digest_of
from everlearn.errors import ConflictError, IntegrityError, NotFoundError

if TYPE_CHECKING:
    from everlearn.stores import Store


def object_key(line: str, digest: str) -> str:
    """Where the object with that digest lies."""
    return f"{line}/objects/sha256/{digest}"


def keep(store: Store, key: str, data: bytes) -> None:
    """Write `data`, whose digest is in `key`, unless it is there. IntegrityError if other bytes are."""
    try:
        store.create(key, data)
    except ConflictError:
        check(store, key, digest=digest_of(data), size=len(data))


def check(store: Store, key: str, *, digest: str, size: int) -> None:
    """Compare size and checksum as the store holds them, without reading. IntegrityError if missing or different."""
    try:
        held = store.head(key)
    except NotFoundError:
        raise IntegrityError(f"{key} is missing; restore it from a backup, or choose another version") from None
    if held.size != size or held.sha256 not in {None, digest}:
        raise IntegrityError(f"{key} is damaged; restore it from a backup, or choose another version")


def fetch(store: Store, key: str, *, digest: str) -> bytes:
    """The bytes under `key`, verified. IntegrityError if missing or different."""
    try:
        data = store.get(key).data
    except NotFoundError:
        raise IntegrityError(f"{key} is missing; restore it from a backup, or choose another version") from None
    if digest_of(data) != digest:
        raise IntegrityError(f"{key} is damaged: its bytes have another digest; restore it from a backup")
    return data
