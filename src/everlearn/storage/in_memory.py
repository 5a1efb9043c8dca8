"""A store that lives as long as the process: for tests and for trying things out. Safe across threads."""

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

CHUNK = 1024**2


def _now() -> datetime:
    return datetime.now(tz=UTC)


class MemoryStore:
    """The `Store` protocol over a dictionary. `clock` dates what is written."""

    def __init__(self, clock: Callable[[], datetime] = _now) -> None:
        self._clock = clock
        self._objects: dict[str, tuple[bytes, datetime]] = {}
        self._lock = threading.Lock()

    def get(self, key: str) -> Blob:
        """The whole object. NotFoundError if there is none."""
        data, _ = self._find(key)
        return Blob(data=data, etag=_etag(data))

    def read(self, key: str, *, start: int = 0) -> Iterator[bytes]:
        """The object's bytes from `start` on, in chunks. NotFoundError if there is none."""
        data, _ = self._find(key)
        return (data[at : at + CHUNK] for at in range(start, len(data), CHUNK))

    def head(self, key: str) -> ObjectInfo:
        """Size and checksum. NotFoundError if there is none."""
        data, modified = self._find(key)
        return ObjectInfo(key=key, size=len(data), etag=_etag(data), sha256=_etag(data), modified=modified)

    def create(self, key: str, data: bytes) -> str:
        """Write where nothing is; the new etag. ConflictError if something is there."""
        with self._lock:
            if key in self._objects:
                raise ConflictError(f"{key} exists already")
            return self._write(key, data)

    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        """Write over exactly the bytes that have `etag`; the new one. ConflictError if they are others, or gone."""
        with self._lock:
            if key not in self._objects or _etag(self._objects[key][0]) != etag:
                raise ConflictError(f"{key} was changed by somebody else")
            return self._write(key, data)

    def put(self, key: str, data: bytes) -> str:
        """Write unconditionally."""
        with self._lock:
            return self._write(key, data)

    def upload(self, key: str, path: Path, *, progress: Callable[[int], None] = lambda _: None) -> str | None:
        """Write a file where nothing is; one part is enough for any. ConflictError if something is there."""
        data = path.read_bytes()
        self.create(key, data)
        progress(len(data))
        return None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Everything whose key begins with `prefix`, in the order of the keys."""
        with self._lock:
            keys = sorted(key for key in self._objects if key.startswith(prefix))
        return (self.head(key) for key in keys)

    def delete(self, key: str) -> None:
        """Remove; no error if there is nothing."""
        with self._lock:
            self._objects.pop(key, None)

    def versions(self, key: str) -> Iterator[Blob]:  # noqa: ARG002 - the protocol names it
        """Nothing: older contents are not kept here."""
        return iter(())

    def now(self) -> datetime:
        """What `clock` says."""
        return self._clock()

    def touch(self, key: str) -> None:
        """Make `modified` now. NotFoundError if there is nothing."""
        with self._lock:
            if key not in self._objects:
                raise NotFoundError(f"{key} does not exist")
            self._write(key, self._objects[key][0])

    def abort_uploads(self, prefix: str, *, before: datetime) -> int:  # noqa: ARG002 - the protocol names them
        """None: what is written here is there at once."""
        return 0

    def probe(self) -> dict[str, str | None]:
        """Every promise, with what is wrong where it is not kept."""
        return conformance.examine(self)

    def require_conformance(self) -> None:
        """Prove by a canary that conditions are kept."""
        conformance.demand(self.probe(), place="the store in memory")

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
