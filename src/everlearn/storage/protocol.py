"""Where bytes are kept: one narrow protocol, and a canary that proves the promise everything else rests on.

The promise is the conditional write. `create` writes only where nothing is, `replace` only over the bytes that the
caller has read; of any number of writers exactly one wins, and the others get ConflictError. After StoreDownError a
conditional write may or may not have happened: read again before trying again.

Keys are relative, with `/` between their parts. An etag is opaque and the same for the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

CANARY_PREFIX = ".canary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Bytes as read, with the etag that `replace` asks for."""

    data: bytes
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """What is known of an object without reading it. `sha256` is hexadecimal, and None where the store holds none.

    An object that came in parts has a `composite` checksum instead (parts.py).
    """

    key: str
    size: int
    etag: str
    sha256: str | None
    modified: datetime
    composite: str | None = None


class Store(Protocol):
    """Bytes under keys. Every method raises StoreDownError when the store does not answer."""

    def get(self, key: str) -> Blob:
        """The whole object. NotFoundError if there is none."""
        ...

    def read(self, key: str, *, start: int = 0) -> Iterator[bytes]:
        """The object's bytes from `start` on, in chunks. NotFoundError if there is none; StoreDownError if cut short."""
        ...

    def head(self, key: str) -> ObjectInfo:
        """Size and checksum as the store holds them. NotFoundError if there is none."""
        ...

    def create(self, key: str, data: bytes) -> str:
        """Write where nothing is; the new etag. ConflictError if something is there."""
        ...

    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        """Write over exactly the bytes that have `etag`; the new one. ConflictError if they are others, or gone."""
        ...

    def put(self, key: str, data: bytes) -> str:
        """Write unconditionally: for work files that have one writer."""
        ...

    def upload(self, key: str, path: Path, *, progress: Callable[[int], None] = lambda _: None) -> str | None:
        """Write a file where nothing is, in parts if it is large; the composite checksum if it was.

        ConflictError if something is there. `progress` is told how many more bytes are over there.
        """
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Everything whose key begins with `prefix`, in the order of the keys."""
        ...

    def delete(self, key: str) -> None:
        """Remove; no error if there is nothing."""
        ...

    def versions(self, key: str) -> Iterator[Blob]:
        """Older contents of a key, newest first, where the bucket keeps them; those of a deleted key, too."""
        ...

    def now(self) -> datetime:
        """What the server's clock says: the one by which `modified` is told."""
        ...

    def touch(self, key: str) -> None:
        """Make `modified` now, with the same bytes. NotFoundError if there is nothing."""
        ...

    def abort_uploads(self, prefix: str, *, before: datetime) -> int:
        """Give up the unfinished uploads to keys with that prefix that were begun before then; how many there were."""
        ...

    def probe(self) -> dict[str, str | None]:
        """Every promise (promises.py) by its name, with what is wrong where this store does not keep it."""
        ...

    def require_conformance(self) -> None:
        """Prove by a canary that nothing is published where atomicity would be a wish. StoreError says what is missing."""
        ...
