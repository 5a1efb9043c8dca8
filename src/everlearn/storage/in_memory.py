"""A thread-safe `Store` in the memory of the process, for tests and experiments."""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from everlearn.errors import ConflictError, NotFoundError
from everlearn.storage import conformance
from everlearn.storage.protocol import Blob, ObjectInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHUNK_BYTES = 1024**2


def _utc_now() -> datetime:
    return datetime.now(tz=UTC)


class MemoryStore:
    """The `Store` protocol over a dictionary. `clock` dates the objects."""

    def __init__(self, clock: Callable[[], datetime] = _utc_now) -> None:
        self._clock = clock
        self._objects: dict[str, tuple[bytes, datetime]] = {}
        self._lock = threading.Lock()

    def get(self, key: str) -> Blob:
        """Return the object. Raises NotFoundError if it does not exist."""
        data, _ = self._find(key)
        return Blob(data=data, etag=_etag(data))

    def read(self, key: str, *, start: int = 0) -> Iterator[bytes]:
        """Yield the bytes from offset `start` in chunks. Raises NotFoundError if the object does not exist."""
        data, _ = self._find(key)
        return (data[offset : offset + CHUNK_BYTES] for offset in range(start, len(data), CHUNK_BYTES))

    def head(self, key: str) -> ObjectInfo:
        """Return the metadata. Raises NotFoundError if the object does not exist."""
        data, modified = self._find(key)
        return ObjectInfo(key=key, size=len(data), etag=_etag(data), sha256=_etag(data), modified=modified)

    def create(self, key: str, data: bytes) -> str:
        """Write a new object and return its etag. Raises ConflictError if the key is taken."""
        with self._lock:
            if key in self._objects:
                raise ConflictError(f"{key} exists already")
            return self._write(key, data)

    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        """Overwrite the object that has `etag` and return the new etag. Raises ConflictError if it changed or is gone."""
        with self._lock:
            if key not in self._objects or _etag(self._objects[key][0]) != etag:
                raise ConflictError(f"{key} was changed by another writer")
            return self._write(key, data)

    def put(self, key: str, data: bytes) -> str:
        """Write unconditionally and return the etag."""
        with self._lock:
            return self._write(key, data)

    def upload(self, key: str, path: Path, *, progress: Callable[[int], None] = lambda _: None) -> str | None:
        """Write a file of any size in one part. Raises ConflictError if the key is taken."""
        data = path.read_bytes()
        self.create(key, data)
        progress(len(data))
        return None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose keys begin with `prefix`, in the order of their keys."""
        with self._lock:
            keys = sorted(key for key in self._objects if key.startswith(prefix))
        return (self.head(key) for key in keys)

    def delete(self, key: str) -> None:
        """Delete the object, if it exists."""
        with self._lock:
            self._objects.pop(key, None)

    def versions(self, key: str) -> Iterator[Blob]:  # noqa: ARG002 - the protocol names it
        """Yield nothing: noncurrent contents are not stored here."""
        return iter(())

    def now(self) -> datetime:
        """Return the time of `clock`."""
        return self._clock()

    def touch(self, key: str) -> None:
        """Set `modified` to now. Raises NotFoundError if the object does not exist."""
        with self._lock:
            if key not in self._objects:
                raise NotFoundError(f"{key} does not exist")
            self._write(key, self._objects[key][0])

    def abort_uploads(self, prefix: str, *, before: datetime) -> int:  # noqa: ARG002 - the protocol names them
        """Return 0: an upload is complete at once here."""
        return 0

    def probe(self) -> dict[str, str | None]:
        """Run every conformance check; return the fault, or None, by the name of the check."""
        return conformance.run_checks(self)

    def require_conformance(self) -> None:
        """Run the conformance checks. Raises StoreError if conditional writes are not reliable here."""
        conformance.require(self.probe(), location="the store in memory")

    def _find(self, key: str) -> tuple[bytes, datetime]:
        with self._lock:
            if key not in self._objects:
                raise NotFoundError(f"{key} does not exist")
            return self._objects[key]

    def _write(self, key: str, data: bytes) -> str:
        self._objects[key] = (bytes(data), self._clock())
        return _etag(data)


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
