"""Immutable bytes in a store, under keys that carry their digest: kept once, and read only verified."""

from __future__ import annotations

import hashlib
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from everlearn.canonical_json import digest_of
from everlearn.errors import ConflictError, IntegrityError, NotFoundError, StoreDownError
from everlearn.storage import multipart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from typing import BinaryIO

    from everlearn.storage.protocol import Store

CHUNK = 1024**2
ATTEMPTS = 3

T = TypeVar("T")


def object_key(line: str, digest: str) -> str:
    """Where the object with that digest lies."""
    return f"{line}/objects/sha256/{digest}"


def write_once(store: Store, key: str, data: bytes, *, fresh_after: datetime | None = None) -> None:
    """Write `data`, whose digest is in `key`, unless it is there. IntegrityError if other bytes are.

    What is there since before `fresh_after` is made new, so that no collection takes it for forgotten.
    """

    def write() -> None:
        store.create(key, data)

    def find() -> None:
        verify_metadata(store, key, digest=digest_of(data), size=len(data), fresh_after=fresh_after)

    _write_or_find(write, find, store=store, key=key)


def write_file_once(
    store: Store,
    key: str,
    path: Path,
    *,
    digest: str,
    fresh_after: datetime | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> str | None:
    """Write the file, which has that digest, unless it is there: as `keep`, but never in memory as a whole if large.

    The composite checksum by which the store knows it, if it is large.
    """

    def find() -> str | None:
        told, size = multipart.composite(path), path.stat().st_size
        verify_metadata(store, key, digest=digest, size=size, composite=told, fresh_after=fresh_after)
        return told

    return _write_or_find(lambda: store.upload(key, path, progress=progress), find, store=store, key=key)


def _write_or_find(write: Callable[[], T], find: Callable[[], T], *, store: Store, key: str) -> T:
    """Write, or find what is there. If that is gone before it is looked at (collected), write it after all."""
    for _ in range(ATTEMPTS):
        try:
            return write()
        except ConflictError:
            try:
                return find()
            except IntegrityError:
                if _is_there(store, key):
                    raise
    raise StoreDownError(f"{key} is said to be there already, and is not; look at the store, then try again")


def _is_there(store: Store, key: str) -> bool:
    try:
        store.head(key)
    except NotFoundError:
        return False
    return True


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify_metadata(
    store: Store,
    key: str,
    *,
    digest: str,
    size: int,
    composite: str | None = None,
    fresh_after: datetime | None = None,
) -> None:
    """Compare size and checksum as the store holds them, without reading. IntegrityError if missing or different.

    Of an object that came in parts the store holds the `composite` checksum. What was modified before `fresh_after`
    is touched.
    """
    try:
        held = store.head(key)
    except NotFoundError:
        raise IntegrityError(f"{key} is missing; restore it from a backup, or choose another version") from None
    different = held.sha256 not in {None, digest} or (composite and held.composite not in {None, composite})
    if held.size != size or different:
        raise IntegrityError(f"{key} is damaged; restore it from a backup, or choose another version")
    if fresh_after is not None and held.modified < fresh_after:
        store.touch(key)


def verify_bytes(store: Store, key: str, *, digest: str) -> None:
    """Read all bytes under `key`, keep none. IntegrityError if they are missing or different."""
    hasher = hashlib.sha256()
    try:
        for chunk in store.read(key):
            hasher.update(chunk)
    except NotFoundError:
        raise IntegrityError(f"{key} is missing; restore it from a backup, or choose another version") from None
    if hasher.hexdigest() != digest:
        raise IntegrityError(f"{key} is damaged: its bytes have another digest; restore it from a backup")


def fetch_to(
    store: Store,
    key: str,
    path: Path,
    *,
    digest: str,
    size: int,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Complete the file at `path`, of which a part may be there, with the bytes under `key`, verified as a whole.

    Never more than a chunk is in memory. IntegrityError if they are missing or different; then no file is left. What
    has arrived when the store stops answering stays, for the next call. `progress` hears of every so many bytes.
    """
    is_part = path.exists()
    if _completed(store, key, path, digest=digest, size=size, progress=progress):
        return
    if is_part and _completed(store, key, path, digest=digest, size=size, progress=progress):
        return
    raise IntegrityError(f"{key} is damaged: its bytes have another digest; restore it from a backup")


def _completed(store: Store, key: str, path: Path, *, digest: str, size: int, progress: Callable[[int], None]) -> bool:
    """Whether the file is right now; if not, it is gone."""
    found, hasher = 0, hashlib.sha256()
    with path.open("ab+") as file:
        file.seek(0)
        for chunk in itertools.chain(iter(lambda: file.read(CHUNK), b""), _rest(store, key, file, size=size)):
            hasher.update(chunk)
            found += len(chunk)
            progress(len(chunk))
        file.flush()
        os.fsync(file.fileno())
    if hasher.hexdigest() == digest:
        return True
    path.unlink()
    progress(-found)
    return False


def _rest(store: Store, key: str, file: BinaryIO, *, size: int) -> Iterator[bytes]:
    """What is missing in `file`, appended to it; nothing where it is as long as it should be."""
    start = file.tell()
    if start >= size:
        return
    try:
        for chunk in store.read(key, start=start):
            file.write(chunk)
            yield chunk
            if file.tell() > size:
                return
    except NotFoundError:
        Path(file.name).unlink()
        raise IntegrityError(f"{key} is missing; restore it from a backup, or choose another version") from None


def fetch(store: Store, key: str, *, digest: str) -> bytes:
    """The bytes under `key`, verified. IntegrityError if missing or different."""
    try:
        data = store.get(key).data
    except NotFoundError:
        raise IntegrityError(f"{key} is missing; restore it from a backup, or choose another version") from None
    if digest_of(data) != digest:
        raise IntegrityError(f"{key} is damaged: its bytes have another digest; restore it from a backup")
    return data
