"""Digests of large files are remembered by the identity of the file, and only while it is unchanged."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from everlearn.training.models import file_digests
from everlearn.training.models.file_digests import file_digest

OLD = 1_700_000_000


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Make every file a large one, with an empty cache; return the names of the files that were read."""
    names: list[str] = []
    compute = file_digests._compute

    def counted(path: Path) -> str:
        names.append(path.name)
        return compute(path)

    monkeypatch.setattr(file_digests, "SMALL_BYTES", 0)
    monkeypatch.setattr(file_digests, "SETTLED_S", -1.0)
    monkeypatch.setattr(file_digests, "_compute", counted)
    monkeypatch.setattr(file_digests, "_COMPUTED", _Forgetful())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return names


class _Forgetful(dict[Any, str]):
    """The memory of a process that has just started, each time it is asked."""

    def __contains__(self, _: object) -> bool:
        return False


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    return path


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def records(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").rglob("*.json"))


def test_an_unchanged_file_is_read_once(reads: list[str], weights: Path) -> None:
    assert {file_digest(weights) for _ in range(3)} == {digest_of(weights)}
    assert reads == [weights.name]


def test_a_link_to_a_remembered_file_is_not_read(reads: list[str], weights: Path, tmp_path: Path) -> None:
    file_digest(weights)
    link = tmp_path / "snapshot"
    link.symlink_to(weights)
    assert file_digest(link) == digest_of(weights)
    assert reads == [weights.name]


def test_other_bytes_of_the_same_size_and_time_are_noticed(reads: list[str], weights: Path) -> None:
    os.utime(weights, (OLD, OLD))
    before = file_digest(weights)
    weights.write_bytes(b"WEIGHTS")
    os.utime(weights, (OLD, OLD))  # the time of the content is old again, that of the status is not
    assert file_digest(weights) == digest_of(weights) != before
    assert len(reads) == 2


def test_a_replaced_file_is_noticed(reads: list[str], weights: Path, tmp_path: Path) -> None:
    file_digest(weights)
    (tmp_path / "new").write_bytes(b"others!")
    (tmp_path / "new").replace(weights)
    assert file_digest(weights) == digest_of(weights)
    assert len(reads) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"text"', b'{"identity": []}', b"\xff"])
def test_a_damaged_record_is_ignored_and_replaced(
    content: bytes, reads: list[str], weights: Path, tmp_path: Path
) -> None:
    file_digest(weights)
    [record] = records(tmp_path)
    record.write_bytes(content)
    assert [file_digest(weights), file_digest(weights)] == [digest_of(weights)] * 2
    assert len(reads) == 2


def test_without_a_writable_folder_a_process_reads_once(
    reads: list[str], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert [file_digest(weights), file_digest(weights)] == [digest_of(weights)] * 2
    assert len(reads) == 2, "in two processes"
    monkeypatch.setattr(file_digests, "_COMPUTED", {})
    assert [file_digest(weights), file_digest(weights)] == [digest_of(weights)] * 2
    assert len(reads) == 3, "in one"


def test_writers_at_the_same_time_leave_whole_records(reads: list[str], tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.safetensors" for number in range(8)]
    for number, path in enumerate(files):
        path.write_bytes(bytes([number]) * 1000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(file_digest, files * 8))
    before = len(reads)
    assert [file_digest(path) for path in files] == [digest_of(path) for path in files]
    assert len(reads) == before
    assert len(records(tmp_path)) == len([json.loads(path.read_bytes()) for path in records(tmp_path)]) == len(files)


def test_a_file_that_may_still_change_is_not_remembered(
    reads: list[str], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_digests, "SETTLED_S", 3600.0)
    assert [file_digest(weights), file_digest(weights)] == [digest_of(weights)] * 2
    assert len(reads) == 2
    assert not records(tmp_path)


def test_small_files_are_read_each_time(
    reads: list[str], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_digests, "SMALL_BYTES", 7)
    assert [file_digest(weights), file_digest(weights)] == [digest_of(weights)] * 2
    assert len(reads) == 2
    assert not records(tmp_path)


def test_the_cache_is_below_the_home_directory_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert file_digests._folder() == Path.home() / ".cache" / "everlearn" / "digests"
