"""Uploads in parts: parts, completeness, one successful writer, and the composite checksum."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.canonical_json import digest_of
from everlearn.errors import ConflictError, IntegrityError, StoreDownError, StoreError
from everlearn.registry.manifest import Manifest
from everlearn.storage import multipart
from everlearn.storage.immutable_objects import object_key
from everlearn.storage.in_memory import MemoryStore
from everlearn.storage.multipart import (
    MAX_PARTS,
    PART_BYTES,
    SINGLE_REQUEST_BYTES,
    composite_checksum,
    plan_parts,
    read_part,
)
from tests.support.line import candidate, open_line

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.storage.s3 import S3Store

FIVE_MIB = 5 * 1024**2  # the minimum of S3 for a part that is not the last


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a file of three parts."""
    monkeypatch.setattr(multipart, "SINGLE_REQUEST_BYTES", FIVE_MIB)
    monkeypatch.setattr(multipart, "PART_BYTES", FIVE_MIB)
    path = tmp_path / "large"
    path.write_bytes(os.urandom(2 * FIVE_MIB + 7))
    return path


def abort_incomplete(store: S3Store) -> int:
    """Abort the uploads that were neither completed nor aborted; return their number."""
    return store.abort_uploads("", before=store.now() + timedelta(days=1))


@given(st.integers(0, 10**12))
def test_parts_cover_a_file_without_gap_or_overlap(size: int) -> None:
    parts = plan_parts(size)
    assert bool(parts) == (size > SINGLE_REQUEST_BYTES)
    assert sum(length for _, length in parts) == (size if parts else 0)
    assert all(start + length == after for (start, length), (after, _) in itertools.pairwise(parts))
    assert len(parts) <= MAX_PARTS
    assert all(length >= PART_BYTES for _, length in parts[:-1])


def test_a_large_file_has_the_locally_computed_checksum(s3_store: S3Store, large: Path) -> None:
    progress: list[int] = []
    composite = s3_store.upload("a", large, progress=progress.append)
    assert s3_store.get("a").data == large.read_bytes()
    assert sum(progress) == large.stat().st_size
    info = s3_store.head("a")
    assert composite == info.composite == composite_checksum(large)
    assert info.sha256 is None
    assert composite is not None
    assert composite.endswith("-3")


def test_a_small_file_is_sent_in_one_request(s3_store: S3Store, tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(b"weights")
    progress: list[int] = []
    for store in (s3_store, MemoryStore()):
        assert store.upload("a", path, progress=progress.append) is None
        assert store.head("a").composite is composite_checksum(path) is None
        with pytest.raises(ConflictError):
            store.upload("a", path)
    assert progress == [7, 7]


def test_a_large_file_never_overwrites(s3_store: S3Store, large: Path) -> None:
    s3_store.create("a", b"first")
    progress: list[int] = []
    with pytest.raises(ConflictError):
        s3_store.upload("a", large, progress=progress.append)
    assert s3_store.get("a").data == b"first"
    assert sum(progress) == 0
    assert abort_incomplete(s3_store) == 0


def test_a_file_that_shrinks_leaves_no_parts(s3_store: S3Store, large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_after_truncation(descriptor: int, offset: int, length: int) -> bytes:
        os.truncate(large, FIVE_MIB)
        return read_part(descriptor, offset, length)

    monkeypatch.setattr("everlearn.storage.multipart_upload.read_part", read_after_truncation)
    with pytest.raises(StoreDownError, match="has changed while it was read"):
        s3_store.upload("a", large)
    assert list(s3_store.list()) == []
    assert abort_incomplete(s3_store) == 0


def test_a_part_beyond_the_end_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "short"
    path.write_bytes(b"abc")
    with path.open("rb") as file, pytest.raises(OSError, match="2 of 5 bytes at 1"):
        read_part(file.fileno(), 1, 5)


def test_incomplete_uploads_are_aborted_by_age(s3_store: S3Store) -> None:
    created = s3_store._client.create_multipart_upload(Bucket=s3_store.bucket, Key="a/b")
    assert created["UploadId"]
    started = s3_store.now()
    assert s3_store.abort_uploads("a/", before=started - timedelta(minutes=1)) == 0
    assert s3_store.abort_uploads("other/", before=started + timedelta(minutes=1)) == 0
    assert s3_store.abort_uploads("a/", before=started + timedelta(minutes=1)) == 1
    assert s3_store.abort_uploads("a/", before=started + timedelta(minutes=1)) == 0


def test_a_large_adapter_is_stored_once_with_its_composite(s3_store: S3Store, large: Path) -> None:
    line = open_line(s3_store)
    ref = line.put_file(large)
    assert ref.composite == composite_checksum(large)
    assert line.put_file(large) == ref
    assert line.get_object(ref) == large.read_bytes()
    manifest = replace(candidate(line, "large"), files={"adapter_model.safetensors": ref})
    assert Manifest.from_content(manifest.to_content()) == manifest
    entry = line.publish(manifest, make_champion=True, actor="night", reason="large")
    line.rollback(reason="back", actor="ada", keep=True)
    assert line.promote(entry.version, reason="forth", actor="ada").version == entry.version


def test_the_composite_detects_other_bytes_of_equal_length(s3_store: S3Store, large: Path) -> None:
    line = open_line(s3_store)
    key = object_key(line.line, digest_of(large.read_bytes()))
    other = large.with_name("other")
    other.write_bytes(os.urandom(large.stat().st_size))
    s3_store.upload(key, other)
    with pytest.raises(IntegrityError, match="is damaged"):
        line.put_file(large)


def test_a_small_object_has_no_composite_in_the_manifest(s3_store: S3Store) -> None:
    content = candidate(open_line(s3_store), "small", report=True).to_content()
    assert content["report"].keys() == {"digest", "size"}
    assert {name for ref in content["files"].values() for name in ref} == {"digest", "size"}


def test_the_server_refuses_a_part_with_a_wrong_checksum(
    s3_store: S3Store, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everlearn.storage.multipart_upload.checksum", lambda _: multipart.checksum(b"other bytes"))
    with pytest.raises(StoreError):
        s3_store.upload("a", large)
    assert list(s3_store.list()) == []
