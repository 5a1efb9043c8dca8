"""A store for work that nobody watches: where the one behind it does not answer, it waits until it does.

Every operation may be repeated: reads change nothing, and of a conditional write that was done although its answer was
lost the second attempt finds a conflict, upon which every caller looks whose bytes are there.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, TypeVar

from everlearn.errors import StoreDownError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from everlearn.storage.protocol import Blob, ObjectInfo, Store

LOG = logging.getLogger("everlearn.store")
PATIENCE_S = 900.0
LONGEST_PAUSE_S = 30.0
T = TypeVar("T")


class RetryingStore:
    """`inner`, asked again until it answers, for up to `patience_s` in a row; then its StoreDownError passes."""

    def __init__(
        self, inner: Store, *, patience_s: float = PATIENCE_S, pause: Callable[[float], object] = time.sleep
    ) -> None:
        self._inner = inner
        self._patience_s = patience_s
        self._pause = pause

    def get(self, key: str) -> Blob:
        """The whole object."""
        return self._insist(lambda: self._inner.get(key))

    def read(self, key: str, *, start: int = 0) -> Iterator[bytes]:
        """The object's bytes from `start` on; after an interruption, from where it was."""
        reading = _Reading(self._inner, key, at=start)
        while (chunk := self._insist(reading.next)) is not None:
            yield chunk

    def head(self, key: str) -> ObjectInfo:
        """Size and checksum."""
        return self._insist(lambda: self._inner.head(key))

    def create(self, key: str, data: bytes) -> str:
        """Write where nothing is."""
        return self._insist(lambda: self._inner.create(key, data))

    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        """Write over exactly the bytes that have `etag`."""
        return self._insist(lambda: self._inner.replace(key, data, etag=etag))

    def put(self, key: str, data: bytes) -> str:
        """Write unconditionally."""
        return self._insist(lambda: self._inner.put(key, data))

    def upload(self, key: str, path: Path, *, progress: Callable[[int], None] = lambda _: None) -> str | None:
        """Write a file where nothing is."""
        return self._insist(lambda: self._inner.upload(key, path, progress=progress))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Everything whose key begins with `prefix`, read whole before the first is given."""
        return iter(self._insist(lambda: tuple(self._inner.list(prefix))))

    def delete(self, key: str) -> None:
        """Remove."""
        self._insist(lambda: self._inner.delete(key))

    def versions(self, key: str) -> Iterator[Blob]:
        """Older contents of a key, read whole before the first is given."""
        return iter(self._insist(lambda: tuple(self._inner.versions(key))))

    def now(self) -> datetime:
        """The server's clock."""
        return self._insist(self._inner.now)

    def touch(self, key: str) -> None:
        """Make `modified` now."""
        self._insist(lambda: self._inner.touch(key))

    def abort_uploads(self, prefix: str, *, before: datetime) -> int:
        """Give up unfinished uploads."""
        return self._insist(lambda: self._inner.abort_uploads(prefix, before=before))

    def probe(self) -> dict[str, str | None]:
        """Every promise. A question of now: nothing is waited for."""
        return self._inner.probe()

    def require_conformance(self) -> None:
        """Prove the promises, now."""
        self._inner.require_conformance()

    def _insist(self, ask: Callable[[], T]) -> T:
        waited, pause_s = 0.0, 1.0
        while True:
            try:
                return ask()
            except StoreDownError as error:
                if waited >= self._patience_s:
                    raise
                LOG.warning("%s; asking again in %.0f s, for another %.0f min", error, pause_s, self._left(waited))
            self._pause(pause_s)
            waited, pause_s = waited + pause_s, min(2 * pause_s, LONGEST_PAUSE_S)

    def _left(self, waited: float) -> float:
        return (self._patience_s - waited) / 60


class _Reading:
    """The bytes of an object, chunk by chunk; after an interruption they are asked for from there on."""

    def __init__(self, store: Store, key: str, *, at: int) -> None:
        self._store = store
        self._key = key
        self._at = at
        self._chunks: Iterator[bytes] | None = None

    def next(self) -> bytes | None:
        """The next chunk; None at the end."""
        if self._chunks is None:
            self._chunks = self._store.read(self._key, start=self._at)
        try:
            chunk = next(self._chunks, None)
        except StoreDownError:
            self._chunks = None
            raise
        self._at += len(chunk or b"")
        return chunk
