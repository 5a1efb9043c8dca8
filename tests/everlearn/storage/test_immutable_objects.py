"""Content-addressed objects: written once, read verified, downloads resumed."""

from __future__ import annotations

import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everlearn.canonical_json import digest_of
from everlearn.errors import ConflictError, IntegrityError, StoreDownError
from everlearn.storage.immutable_objects import (
    CHUNK_BYTES,
    digest_of_file,
    fetch,
    fetch_to,
    object_key,
    verify_bytes,
    verify_metadata,
    write_file_once,
    write_once,
)
from everlearn.storage.in_memory import MemoryStore
from everlearn.storage.s3 import S3Store
from tests.support.line import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = bytes(range(256)) * 10_000


class RecordingStore(MemoryStore):
    """Hold DATA, record the offset of each read, and interrupt the first `cuts` reads after a chunk."""

    def __init__(self, *, cuts: int = 0) -> None:
        super().__init__()
        self.starts: list[int] = []
        self._cuts = cuts
        self.put("key", DATA)

    def read(self, key: str, *, start: int = 0) -> Iterator[bytes]:
        self.starts.append(start)
        for chunk in super().read(key, start=start):
            yield chunk
            if self._cuts:
                self._cuts -= 1
                raise StoreDownError("reset")


def download(store: RecordingStore | S3Store, path: Path, *, size: int = len(DATA)) -> list[int]:
    progress: list[int] = []
    fetch_to(store, "key", path, digest=digest_of(DATA), size=size, progress=progress.append)
    assert path.read_bytes() == DATA
    return progress


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(have=st.integers(0, len(DATA)))
def test_only_missing_bytes_are_read(tmp_path: Path, have: int) -> None:
    store, path = RecordingStore(), tmp_path / "file"
    path.write_bytes(DATA[:have])
    assert sum(download(store, path)) == len(DATA)
    assert store.starts == ([have] if have < len(DATA) else [])


def test_an_interrupted_download_is_resumed(tmp_path: Path) -> None:
    store, path = RecordingStore(cuts=2), tmp_path / "file"
    for _ in range(2):
        with pytest.raises(StoreDownError):
            download(store, path)
    download(store, path)
    assert store.starts == [0, CHUNK_BYTES, 2 * CHUNK_BYTES]


@pytest.mark.parametrize("wrong", [b"x" * 1000, b"x" * len(DATA), DATA + b"x", b"x" * 3 * len(DATA)])
def test_a_wrong_partial_file_is_downloaded_again(tmp_path: Path, wrong: bytes) -> None:
    store, path = RecordingStore(), tmp_path / "file"
    path.write_bytes(wrong)
    assert sum(download(store, path)) == len(DATA)
    assert store.starts[-1] == 0


@pytest.mark.parametrize("stored", [b"", DATA[:-1], DATA[:-1] + b"x", DATA * 3])
def test_a_damaged_object_leaves_no_file_and_is_not_overread(tmp_path: Path, stored: bytes) -> None:
    store, path = RecordingStore(), tmp_path / "file"
    store.put("key", stored)
    progress: list[int] = []
    with pytest.raises(IntegrityError, match="key is damaged"):
        fetch_to(store, "key", path, digest=digest_of(DATA), size=len(DATA), progress=progress.append)
    assert not path.exists()
    assert max([0, *progress]) <= CHUNK_BYTES
    assert sum(count for count in progress if count > 0) <= len(DATA) + CHUNK_BYTES


def test_a_missing_object_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="key is missing"):
        fetch_to(MemoryStore(), "key", tmp_path / "file", digest=digest_of(DATA), size=len(DATA))
    assert not (tmp_path / "file").exists()


def test_verify_bytes_compares_the_digest() -> None:
    store = RecordingStore()
    verify_bytes(store, "key", digest=digest_of(DATA))
    with pytest.raises(IntegrityError, match="key is damaged"):
        verify_bytes(store, "key", digest=digest_of(b"other"))
    with pytest.raises(IntegrityError, match="another is missing"):
        verify_bytes(store, "another", digest=digest_of(DATA))


@pytest.mark.parametrize("have", [0, 1, CHUNK_BYTES, len(DATA) - 1, len(DATA)])
def test_a_real_server_sends_only_the_missing_bytes(s3_store: S3Store, tmp_path: Path, have: int) -> None:
    s3_store.create("key", DATA)
    path = tmp_path / "file"
    path.write_bytes(DATA[:have])
    download(s3_store, path)
    assert b"".join(s3_store.read("key", start=have)) == DATA[have:]
    assert list(s3_store.read("key", start=len(DATA) + 5)) == []


class TruncatingHandler(BaseHTTPRequestHandler):
    """Truncate the first response after a chunk and a half; complete the others."""

    ranges: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        span = self.headers["Range"]
        self.ranges.append(span)
        rest = DATA[int(span.removeprefix("bytes=").rstrip("-")) if span else 0 :]
        self.send_response(206 if span else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.send_header("ETag", '"x"')
        self.end_headers()
        self.wfile.write(rest if span else rest[: CHUNK_BYTES * 3 // 2])

    def log_message(self, *_: object) -> None:
        """Write no log."""


def test_a_truncated_body_is_an_error_and_is_resumed(tmp_path: Path) -> None:
    TruncatingHandler.ranges.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), TruncatingHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        store = S3Store("bucket", endpoint_url=f"http://127.0.0.1:{server.server_port}", keys=("a", "b"))
        with pytest.raises(StoreDownError, match="does not answer"):
            download(store, tmp_path / "file")
        arrived = (tmp_path / "file").stat().st_size
        download(store, tmp_path / "file")
        server.shutdown()
    assert CHUNK_BYTES <= arrived < len(DATA)
    assert TruncatingHandler.ranges == [None, f"bytes={arrived}-"]


def test_an_object_is_written_once(tmp_path: Path) -> None:
    store, path = MemoryStore(Clock()), tmp_path / "file"
    path.write_bytes(DATA)
    key = object_key("line", digest_of(DATA))
    write_once(store, key, DATA)
    written = store.head(key)
    write_once(store, key, DATA, fresh_after=written.modified)
    assert write_file_once(store, key, path, digest=digest_of_file(path)) is None
    assert store.head(key) == written
    write_once(store, key, DATA, fresh_after=written.modified + timedelta(microseconds=1))
    assert store.head(key).modified > written.modified
    assert fetch(store, key, digest=digest_of(DATA)) == DATA


@pytest.mark.parametrize("stored", [b"x" * len(DATA), b"short"])
def test_an_object_with_other_bytes_is_refused(stored: bytes) -> None:
    store = MemoryStore()
    store.create("key", stored)
    with pytest.raises(IntegrityError, match="key is damaged"):
        write_once(store, "key", DATA)
    with pytest.raises(IntegrityError, match="key is damaged: its bytes have another digest"):
        fetch(store, "key", digest=digest_of(DATA))


def test_a_missing_object_is_named() -> None:
    with pytest.raises(IntegrityError, match="key is missing"):
        fetch(MemoryStore(), "key", digest=digest_of(DATA))
    with pytest.raises(IntegrityError, match="key is missing"):
        verify_metadata(MemoryStore(), "key", digest=digest_of(DATA), size=len(DATA))


class CollectedStore(MemoryStore):
    """Report the key as taken for the first `conflicts` writes, though there is no object."""

    def __init__(self, *, conflicts: int) -> None:
        super().__init__()
        self.conflicts = conflicts

    def create(self, key: str, data: bytes) -> str:
        self.conflicts -= 1
        if self.conflicts >= 0:
            raise ConflictError(key)
        return super().create(key, data)


def test_an_object_collected_meanwhile_is_written_after_all() -> None:
    store = CollectedStore(conflicts=2)
    write_once(store, "key", DATA)
    assert store.get("key").data == DATA


def test_a_store_that_contradicts_itself_is_not_retried_forever() -> None:
    with pytest.raises(StoreDownError, match="is reported as existing, and cannot be read"):
        write_once(CollectedStore(conflicts=9), "key", DATA)
