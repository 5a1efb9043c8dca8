from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everlearn.canonical_json import digest_of
from everlearn.errors import IntegrityError, StoreDownError
from everlearn.storage.in_memory import MemoryStore
from everlearn.storage.objects import CHUNK_BYTES, fetch_to, verify_bytes
from everlearn.storage.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = bytes(range(256)) * 10_000


class Noting(MemoryStore):
    """Holds DATA, notes from where it is read, and cuts the first `cuts` answers after a chunk."""

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


def complete(store: Noting | S3Store, path: Path, *, size: int = len(DATA)) -> list[int]:
    told: list[int] = []
    fetch_to(store, "key", path, digest=digest_of(DATA), size=size, progress=told.append)
    assert path.read_bytes() == DATA
    return told


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(have=st.integers(0, len(DATA)))
def test_only_what_is_missing_is_read(tmp_path: Path, have: int) -> None:
    store, path = Noting(), tmp_path / "file"
    path.write_bytes(DATA[:have])
    assert sum(complete(store, path)) == len(DATA)
    assert store.starts == ([have] if have < len(DATA) else [])


def test_what_has_arrived_before_the_store_went_away_stays_for_the_next_time(tmp_path: Path) -> None:
    store, path = Noting(cuts=2), tmp_path / "file"
    for _ in range(2):
        with pytest.raises(StoreDownError):
            complete(store, path)
    complete(store, path)
    assert store.starts == [0, CHUNK_BYTES, 2 * CHUNK_BYTES]


@pytest.mark.parametrize("wrong", [b"x" * 1000, b"x" * len(DATA), DATA + b"x", b"x" * 3 * len(DATA)])
def test_a_part_that_is_wrong_is_fetched_again_from_the_beginning(tmp_path: Path, wrong: bytes) -> None:
    store, path = Noting(), tmp_path / "file"
    path.write_bytes(wrong)
    assert sum(complete(store, path)) == len(DATA)
    assert store.starts[-1] == 0


@pytest.mark.parametrize("held", [b"", DATA[:-1], DATA[:-1] + b"x", DATA * 3])
def test_what_is_damaged_in_the_store_leaves_no_file_and_is_read_no_further_than_need_be(
    tmp_path: Path, held: bytes
) -> None:
    store, path = Noting(), tmp_path / "file"
    store.put("key", held)
    told: list[int] = []
    with pytest.raises(IntegrityError, match="key is damaged"):
        fetch_to(store, "key", path, digest=digest_of(DATA), size=len(DATA), progress=told.append)
    assert not path.exists()
    assert max([0, *told]) <= CHUNK_BYTES
    assert sum(each for each in told if each > 0) <= len(DATA) + CHUNK_BYTES


def test_what_is_missing_in_the_store_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="key is missing"):
        fetch_to(MemoryStore(), "key", tmp_path / "file", digest=digest_of(DATA), size=len(DATA))
    assert not (tmp_path / "file").exists()


def test_hashing_reads_everything_and_keeps_nothing() -> None:
    store = Noting()
    verify_bytes(store, "key", digest=digest_of(DATA))
    with pytest.raises(IntegrityError, match="key is damaged"):
        verify_bytes(store, "key", digest=digest_of(b"other"))
    with pytest.raises(IntegrityError, match="another is missing"):
        verify_bytes(store, "another", digest=digest_of(DATA))


@pytest.mark.parametrize("have", [0, 1, CHUNK_BYTES, len(DATA) - 1, len(DATA)])
def test_a_real_server_is_asked_for_the_rest_only(s3_store: S3Store, tmp_path: Path, have: int) -> None:
    s3_store.create("key", DATA)
    path = tmp_path / "file"
    path.write_bytes(DATA[:have])
    complete(s3_store, path)
    assert b"".join(s3_store.read("key", start=have)) == DATA[have:]
    assert list(s3_store.read("key", start=len(DATA) + 5)) == []


class CutShort(BaseHTTPRequestHandler):
    """An S3 that cuts its first answer after a chunk and a half, and then answers as it should."""

    ranges: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.ranges.append(asked)
        rest = DATA[int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0 :]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.send_header("ETag", '"x"')
        self.end_headers()
        self.wfile.write(rest if asked else rest[: CHUNK_BYTES * 3 // 2])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_body_that_is_cut_short_is_no_answer_and_the_next_call_goes_on_from_there(tmp_path: Path) -> None:
    CutShort.ranges.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), CutShort) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        store = S3Store("bucket", endpoint_url=f"http://127.0.0.1:{server.server_port}", keys=("a", "b"))
        with pytest.raises(StoreDownError, match="does not answer"):
            complete(store, tmp_path / "file")
        arrived = (tmp_path / "file").stat().st_size
        complete(store, tmp_path / "file")
        server.shutdown()
    assert CHUNK_BYTES <= arrived < len(DATA)
    assert CutShort.ranges == [None, f"bytes={arrived}-"]
