"""Large files: cut into parts, whole or not there, one winner, and a checksum that anybody can compute."""

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
from everlearn.storage.in_memory import MemoryStore
from everlearn.storage.multipart import (
    MAX_PARTS,
    PART_BYTES,
    SINGLE_REQUEST_BYTES,
    composite_checksum,
    plan_parts,
    read_part,
)
from everlearn.storage.objects import object_key
from tests.support.line import candidate, open_line

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.storage.s3 import S3Store

FIVE_MIB = 5 * 1024**2  # the least that S3 takes as a part that is not the last


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of three parts."""
    monkeypatch.setattr(multipart, "SINGLE_REQUEST_BYTES", FIVE_MIB)
    monkeypatch.setattr(multipart, "PART_BYTES", FIVE_MIB)
    path = tmp_path / "large"
    path.write_bytes(os.urandom(2 * FIVE_MIB + 7))
    return path


def left_behind(store: S3Store) -> int:
    """How many uploads were neither completed nor aborted, before this aborts them."""
    return store.abort_uploads("", before=store.now() + timedelta(days=1))


@given(st.integers(0, 10**12))
def test_parts_cover_a_file_without_gap_or_overlap(size: int) -> None:
    pieces = plan_parts(size)
    assert bool(pieces) == (size > SINGLE_REQUEST_BYTES)
    assert sum(length for _, length in pieces) == (size if pieces else 0)
    assert all(start + length == after for (start, length), (after, _) in itertools.pairwise(pieces))
    assert len(pieces) <= MAX_PARTS
    assert all(length >= PART_BYTES for _, length in pieces[:-1])


def test_a_large_file_arrives_whole_and_its_checksum_can_be_computed_here(s3_store: S3Store, large: Path) -> None:
    heard: list[int] = []
    told = s3_store.upload("a", large, progress=heard.append)
    assert s3_store.get("a").data == large.read_bytes()
    assert sum(heard) == large.stat().st_size
    held = s3_store.head("a")
    assert told == held.composite == composite_checksum(large)
    assert held.sha256 is None
    assert told is not None
    assert told.endswith("-3")


def test_a_small_file_goes_in_one_request(s3_store: S3Store, tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(b"weights")
    heard: list[int] = []
    for store in (s3_store, MemoryStore()):
        assert store.upload("a", path, progress=heard.append) is None
        assert store.head("a").composite is composite_checksum(path) is None
        with pytest.raises(ConflictError):
            store.upload("a", path)
    assert heard == [7, 7]


def test_a_large_file_is_never_written_over_another(s3_store: S3Store, large: Path) -> None:
    s3_store.create("a", b"first")
    heard: list[int] = []
    with pytest.raises(ConflictError):
        s3_store.upload("a", large, progress=heard.append)
    assert s3_store.get("a").data == b"first"
    assert sum(heard) == 0
    assert left_behind(s3_store) == 0


def test_a_file_that_becomes_shorter_leaves_nothing_behind(
    s3_store: S3Store, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_late(descriptor: int, offset: int, length: int) -> bytes:
        os.truncate(large, FIVE_MIB)
        return read_part(descriptor, offset, length)

    monkeypatch.setattr("everlearn.storage.multipart_upload.read_part", read_late)
    with pytest.raises(StoreDownError, match="has changed while it was read"):
        s3_store.upload("a", large)
    assert list(s3_store.list()) == []
    assert left_behind(s3_store) == 0


def test_a_part_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "short"
    path.write_bytes(b"abc")
    with path.open("rb") as file, pytest.raises(OSError, match="2 of 5 bytes at 1"):
        read_part(file.fileno(), 1, 5)


def test_what_a_killed_process_left_is_given_up_after_its_time(s3_store: S3Store) -> None:
    made = s3_store._client.create_multipart_upload(Bucket=s3_store.bucket, Key="a/b")
    assert made["UploadId"]
    began = s3_store.now()
    assert s3_store.abort_uploads("a/", before=began - timedelta(minutes=1)) == 0
    assert s3_store.abort_uploads("other/", before=began + timedelta(minutes=1)) == 0
    assert s3_store.abort_uploads("a/", before=began + timedelta(minutes=1)) == 1
    assert s3_store.abort_uploads("a/", before=began + timedelta(minutes=1)) == 0


def test_a_large_adapter_is_kept_once_and_known_by_the_checksum_of_its_parts(s3_store: S3Store, large: Path) -> None:
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


def test_other_bytes_of_the_same_length_are_found_out_by_the_checksum_of_their_parts(
    s3_store: S3Store, large: Path
) -> None:
    line = open_line(s3_store)
    key = object_key(line.line, digest_of(large.read_bytes()))
    other = large.with_name("other")
    other.write_bytes(os.urandom(large.stat().st_size))
    s3_store.upload(key, other)
    with pytest.raises(IntegrityError, match="is damaged"):
        line.put_file(large)


def test_a_small_object_is_written_down_as_it_was_before_there_were_parts(s3_store: S3Store) -> None:
    content = candidate(open_line(s3_store), "small", report=True).to_content()
    assert content["report"].keys() == {"digest", "size"}
    assert {name for ref in content["files"].values() for name in ref} == {"digest", "size"}


def test_a_bad_part_is_refused_by_the_server(s3_store: S3Store, large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("everlearn.storage.multipart_upload.checksum", lambda _: multipart.checksum(b"other bytes"))
    with pytest.raises(StoreError):
        s3_store.upload("a", large)
    assert list(s3_store.list()) == []
