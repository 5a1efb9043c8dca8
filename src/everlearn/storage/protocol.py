"""The `Store` protocol: objects under keys, written conditionally.

`create` writes only where no object exists, `replace` only over the bytes that the caller has read. Of any number of
concurrent writers exactly one succeeds; the others get ConflictError. After StoreDownError a conditional write may or
may not have been carried out: read the object before the next attempt.

Keys are relative, with `/` between their parts. An etag is opaque, and equal for equal bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

PROBE_PREFIX = ".canary"
"""Prefix of the objects that a store probe writes. The access policies in infra/terraform name it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """The bytes of an object, with the etag that `replace` requires."""

    data: bytes
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """Metadata of an object. `size` is in bytes, `modified` has a time zone.

    `sha256` is hexadecimal; None if the store holds none. An object uploaded in parts has a `composite` checksum
    instead (multipart.py).
    """

    key: str
    size: int
    etag: str
    sha256: str | None
    modified: datetime
    composite: str | None = None


class Store(Protocol):
    """Objects under keys. Every method raises StoreDownError if the store does not answer."""

    def get(self, key: str) -> Blob:
        """Return the object. Raises NotFoundError if it does not exist."""
        ...

    def read(self, key: str, *, start: int = 0) -> Iterator[bytes]:
        """Yield the bytes from offset `start` in chunks.

        Raises:
            NotFoundError: the object does not exist.
            StoreDownError: the response ended early.
        """
        ...

    def head(self, key: str) -> ObjectInfo:
        """Return the metadata held by the store. Raises NotFoundError if the object does not exist."""
        ...

    def create(self, key: str, data: bytes) -> str:
        """Write a new object and return its etag. Raises ConflictError if the key is taken."""
        ...

    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        """Overwrite the object that has `etag` and return the new etag. Raises ConflictError if it changed or is gone."""
        ...

    def put(self, key: str, data: bytes) -> str:
        """Write unconditionally and return the etag: for work files with a single writer."""
        ...

    def upload(self, key: str, path: Path, *, progress: Callable[[int], None] = lambda _: None) -> str | None:
        """Write a file as a new object. Return the composite checksum if it was uploaded in parts, else None.

        `progress` receives the number of bytes sent since its last call; negative after a restart. Raises ConflictError
        if the key is taken.
        """
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose keys begin with `prefix`, in the order of their keys."""
        ...

    def delete(self, key: str) -> None:
        """Delete the object, if it exists."""
        ...

    def versions(self, key: str) -> Iterator[Blob]:
        """Yield noncurrent contents of a key, newest first; none if the bucket has no versioning."""
        ...

    def now(self) -> datetime:
        """Return the time of the clock that dates `modified`."""
        ...

    def touch(self, key: str) -> None:
        """Set `modified` to now, with the same bytes. Raises NotFoundError if the object does not exist."""
        ...

    def abort_uploads(self, prefix: str, *, before: datetime) -> int:
        """Abort incomplete multipart uploads under `prefix` that were initiated before then; return their number."""
        ...

    def probe(self) -> dict[str, str | None]:
        """Run every conformance check (conformance.py); return the fault, or None, by the name of the check."""
        ...

    def require_conformance(self) -> None:
        """Run the conformance checks. Raises StoreError if conditional writes are not reliable here."""
        ...
