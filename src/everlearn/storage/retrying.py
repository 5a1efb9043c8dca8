"""A `Store` that retries with tenacity while the store behind it does not answer, for unattended work.

Every operation may be repeated. Reads change nothing. A conditional write that was carried out although its response
was lost raises ConflictError on the second attempt; callers read what is stored then, to tell their own write from
another's.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from everlearn.errors import StoreDownError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from tenacity import RetryCallState

    from everlearn.storage.protocol import Blob, ObjectInfo, Store

LOG = logging.getLogger("everlearn.store")
TIMEOUT_S = 900.0
MAX_PAUSE_S = 30.0


class RetryingStore:
    """The store `inner`, with each operation retried on StoreDownError until its pauses add up to `timeout_s`.

    Pauses between attempts are 1, 2, 4, ... seconds, at most MAX_PAUSE_S. Then the last StoreDownError is raised.
    """

    def __init__(
        self, inner: Store, *, timeout_s: float = TIMEOUT_S, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        import tenacity  # here, because commands that do not retry should not pay for asyncio

        def log_retry(state: RetryCallState) -> None:
            error = state.outcome and state.outcome.exception()
            left_min = (timeout_s - state.idle_for + state.upcoming_sleep) / 60
            LOG.warning("%s; retry in %.0f s, giving up after %.0f min", error, state.upcoming_sleep, left_min)

        self._inner = inner
        self._retry = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(StoreDownError),
            wait=tenacity.wait_exponential(max=MAX_PAUSE_S),
            stop=lambda state: state.idle_for >= timeout_s,  # pauses only: a slow attempt is not counted
            sleep=sleep,
            before_sleep=log_retry,
            reraise=True,
        )

    def get(self, key: str) -> Blob:
        """Return the object."""
        return self._retry(self._inner.get, key)

    def read(self, key: str, *, start: int = 0) -> Iterator[bytes]:
        """Yield the bytes from offset `start`, resuming after an interruption."""
        download = _ResumableRead(self._inner, key, offset=start)
        while (chunk := self._retry(download.next_chunk)) is not None:
            yield chunk

    def head(self, key: str) -> ObjectInfo:
        """Return the metadata."""
        return self._retry(self._inner.head, key)

    def create(self, key: str, data: bytes) -> str:
        """Write a new object and return its etag."""
        return self._retry(self._inner.create, key, data)

    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        """Overwrite the object that has `etag` and return the new etag."""
        return self._retry(self._inner.replace, key, data, etag=etag)

    def put(self, key: str, data: bytes) -> str:
        """Write unconditionally and return the etag."""
        return self._retry(self._inner.put, key, data)

    def upload(self, key: str, path: Path, *, progress: Callable[[int], None] = lambda _: None) -> str | None:
        """Write a file as a new object and return its composite checksum, if any."""
        return self._retry(self._inner.upload, key, path, progress=progress)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects under `prefix`, after the whole listing has been read."""
        return iter(self._retry(lambda: tuple(self._inner.list(prefix))))

    def delete(self, key: str) -> None:
        """Delete the object, if it exists."""
        self._retry(self._inner.delete, key)

    def versions(self, key: str) -> Iterator[Blob]:
        """Yield noncurrent contents of a key, after all have been read."""
        return iter(self._retry(lambda: tuple(self._inner.versions(key))))

    def now(self) -> datetime:
        """Return the time of the server's clock."""
        return self._retry(self._inner.now)

    def touch(self, key: str) -> None:
        """Set `modified` to now."""
        self._retry(self._inner.touch, key)

    def abort_uploads(self, prefix: str, *, before: datetime) -> int:
        """Abort incomplete multipart uploads and return their number."""
        return self._retry(self._inner.abort_uploads, prefix, before=before)

    def probe(self) -> dict[str, str | None]:
        """Run every conformance check once, without retries."""
        return self._inner.probe()

    def require_conformance(self) -> None:
        """Run the conformance checks once, without retries. Raises StoreError if conditional writes are unreliable."""
        self._inner.require_conformance()


class _ResumableRead:
    """Chunks of an object; after a StoreDownError the next call requests the bytes that have not been returned yet."""

    def __init__(self, store: Store, key: str, *, offset: int) -> None:
        self._store = store
        self._key = key
        self._offset = offset
        self._chunks: Iterator[bytes] | None = None

    def next_chunk(self) -> bytes | None:
        """Return the next chunk; None at the end."""
        if self._chunks is None:
            self._chunks = self._store.read(self._key, start=self._offset)
        try:
            chunk = next(self._chunks, None)
        except StoreDownError:
            self._chunks = None
            raise
        self._offset += len(chunk or b"")
        return chunk
