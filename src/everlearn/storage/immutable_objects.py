"""Content-addressed objects: immutable bytes under keys that contain their SHA-256, written once and read verified."""

from __future__ import annotations

import hashlib
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from everlearn.canonical_json import digest_of
from everlearn.errors import ConflictError, IntegrityError, NotFoundError, StoreDownError
from everlearn.storage.multipart import composite_checksum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from typing import BinaryIO

    from everlearn.storage.protocol import Store

CHUNK_BYTES = 1024**2
MAX_ATTEMPTS = 3

T = TypeVar("T")


def object_key(line: str, digest: str) -> str:
    """Return the key of the object with that digest."""
    return f"{line}/objects/sha256/{digest}"


def write_once(store: Store, key: str, data: bytes, *, fresh_after: datetime | None = None) -> None:
    """Write `data`, whose digest is in `key`, unless the object exists. Raises IntegrityError if it has other bytes.

    An existing object that was modified before `fresh_after` is touched, so that no garbage collection removes it.
    """

    def write() -> None:
        store.create(key, data)

    def verify() -> None:
        verify_metadata(store, key, digest=digest_of(data), size=len(data), fresh_after=fresh_after)

    _write_or_verify(write, verify, store=store, key=key)


def write_file_once(
    store: Store,
    key: str,
    path: Path,
    *,
    digest: str,
    fresh_after: datetime | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> str | None:
    """Write the file, as `write_once`, holding only a few parts of it in memory.

    Return the composite checksum of a file that is large enough for an upload in parts, else None.
    """

    def verify() -> str | None:
        composite, size = composite_checksum(path), path.stat().st_size
        verify_metadata(store, key, digest=digest, size=size, composite=composite, fresh_after=fresh_after)
        return composite

    return _write_or_verify(lambda: store.upload(key, path, progress=progress), verify, store=store, key=key)


def _write_or_verify(write: Callable[[], T], verify: Callable[[], T], *, store: Store, key: str) -> T:
    for _ in range(MAX_ATTEMPTS):
        try:
            return write()
        except ConflictError:
            try:
                return verify()
            except IntegrityError:
                # Garbage collection may delete the object between the two requests: then write it after all.
                if _exists(store, key):
                    raise
    raise StoreDownError(f"{key} is reported as existing, and cannot be read; check the store, then try again")


def _exists(store: Store, key: str) -> bool:
    try:
        store.head(key)
    except NotFoundError:
        return False
    return True


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, read in chunks."""
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
    """Compare size and checksum as the store holds them, without a download.

    For an object uploaded in parts the store holds the `composite` checksum. A checksum that the store does not hold
    is not compared. An object modified before `fresh_after` is touched. Raises IntegrityError if the object is missing
    or different.
    """
    try:
        info = store.head(key)
    except NotFoundError:
        raise _missing(key) from None
    differs = info.sha256 not in {None, digest} or (composite and info.composite not in {None, composite})
    if info.size != size or differs:
        raise IntegrityError(f"{key} is damaged; restore it from a backup, or choose another version")
    if fresh_after is not None and info.modified < fresh_after:
        store.touch(key)


def verify_bytes(store: Store, key: str, *, digest: str) -> None:
    """Read and hash all bytes, storing none. Raises IntegrityError if they are missing or different."""
    hasher = hashlib.sha256()
    try:
        for chunk in store.read(key):
            hasher.update(chunk)
    except NotFoundError:
        raise _missing(key) from None
    if hasher.hexdigest() != digest:
        raise _damaged(key)


def fetch(store: Store, key: str, *, digest: str) -> bytes:
    """Return the verified bytes. Raises IntegrityError if they are missing or different."""
    try:
        data = store.get(key).data
    except NotFoundError:
        raise _missing(key) from None
    if digest_of(data) != digest:
        raise _damaged(key)
    return data


def fetch_to(
    store: Store,
    key: str,
    path: Path,
    *,
    digest: str,
    size: int,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Download into the file at `path`, resuming a partial one, and verify the whole.

    Holds one chunk in memory. Bytes that arrived before a StoreDownError stay for the next call. `progress` receives
    the number of bytes since its last call. Raises IntegrityError, and leaves no file, if the bytes are missing or
    different.
    """
    is_partial = path.exists()
    if _complete(store, key, path, digest=digest, size=size, progress=progress):
        return
    # A wrong partial file says nothing about the object: download once more from the beginning.
    if is_partial and _complete(store, key, path, digest=digest, size=size, progress=progress):
        return
    raise _damaged(key)


def _complete(store: Store, key: str, path: Path, *, digest: str, size: int, progress: Callable[[int], None]) -> bool:
    """Complete the file and return whether its digest is right; delete it if not."""
    count, hasher = 0, hashlib.sha256()
    with path.open("ab+") as file:
        file.seek(0)
        existing = iter(lambda: file.read(CHUNK_BYTES), b"")
        for chunk in itertools.chain(existing, _append_rest(store, key, file, size=size)):
            hasher.update(chunk)
            count += len(chunk)
            progress(len(chunk))
        file.flush()
        os.fsync(file.fileno())
    if hasher.hexdigest() == digest:
        return True
    path.unlink()
    progress(-count)
    return False


def _append_rest(store: Store, key: str, file: BinaryIO, *, size: int) -> Iterator[bytes]:
    """Append the bytes that `file` lacks and yield them. Stop once it is longer than `size`."""
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
        raise _missing(key) from None


def _missing(key: str) -> IntegrityError:
    return IntegrityError(f"{key} is missing; restore it from a backup, or choose another version")


def _damaged(key: str) -> IntegrityError:
    return IntegrityError(f"{key} is damaged: its bytes have another digest; restore it from a backup")
