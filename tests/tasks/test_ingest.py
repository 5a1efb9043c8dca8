"""Ingestion on a real bucket: inbox, quarantine, and snapshots that stock DVC pulls."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from everlearn.data.snapshot import Snapshot
from everlearn.data.snapshot_store import load_counts, load_snapshot
from everlearn.errors import BadDataError, BadInputError, StoreDownError
from everlearn.registry.connect import open_registry, open_store
from everlearn.storage.immutable_objects import fetch
from tasks.ingest import (
    ClaimedSnapshot,
    claim_problems,
    read_problems,
    validate_problems,
)
from tests.support.line import candidate
from tests.support.night import LONG, tiny, write_shard

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.settings import Settings
    from tests.conftest import S3Server

INVALID = [
    b"no json",
    b'{"problem": "\xff"}',
    b'{"problem": "x", "domain": "chess"}',
    b'{"problem": "2 +* x"}',
    b"x" * 10_000_000,
]


def ingested(settings: Settings, data: Path) -> ClaimedSnapshot:
    intake = read_problems.fn(settings, data)
    validate_problems.fn(settings, intake)
    return claim_problems.fn(settings, intake)


@pytest.mark.slow
def test_a_line_reads_its_own_inbox_which_may_be_empty(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = tmp_path / ".everlearn" / "inbox"
    monkeypatch.chdir("/")
    write_shard(inbox / "another" / "a.jsonl", LONG)
    assert claim_problems.fn(settings, read_problems.fn(settings, None)).problems == 0
    write_shard(inbox / "integration" / "a.jsonl", LONG[:3])
    intake = read_problems.fn(settings, None)
    validate_problems.fn(settings, intake)
    assert claim_problems.fn(settings, intake).problems == 3


def test_valid_rows_form_a_snapshot_and_others_a_quarantine(settings: Settings, tmp_path: Path) -> None:
    data = write_shard(tmp_path / "new" / "a.jsonl", [*LONG, *LONG[:3]])
    (data / "b.jsonl").write_bytes(b"\n".join(INVALID))
    claim = ingested(settings, data)
    store, folder = open_store(settings.store), f"integration/snapshots/{claim.data_digest}"
    quarantine = [json.loads(line) for line in store.get(f"{folder}/quarantine.jsonl").data.splitlines()]
    assert claim.problems == len(LONG)
    assert [row["where"] for row in quarantine] == [f"b.jsonl:{number}" for number in range(1, 6)]
    assert all(row["why"] for row in quarantine)
    assert load_counts(store, "integration", claim.data_digest) == {
        "accepted": len(LONG),
        "duplicates": 3,
        "seen": 0,
        "quarantined": {
            "line too long": 1,
            "not JSON": 1,
            "not UTF-8": 1,
            "outside the grammar": 1,
            "unknown domain": 1,
        },
    }


def test_too_many_bad_rows_stop_the_night_with_data_docs(settings: Settings, tmp_path: Path) -> None:
    data = write_shard(tmp_path / "new" / "a.jsonl", [*LONG[:4], "2 +* x", "__import__"])
    intake = read_problems.fn(settings, data)
    with pytest.raises(
        BadDataError, match=r"2 of 6 new rows are bad \(33%, at most 20% may be\): a\.jsonl:5"
    ) as caught:
        validate_problems.fn(settings, intake)
    assert f"intake/{intake}.quarantine.jsonl" in str(caught.value)
    page = open_store(settings.store).get(f"integration/intake/{intake}.html").data.decode()
    assert "It is inside the grammar" in page


def test_a_row_of_another_domain_is_invalid(settings: Settings, tmp_path: Path) -> None:
    other = settings.model_copy(update={"domain": "arithmetic"})
    data = write_shard(tmp_path / "new" / "a.jsonl", [])
    (data / "a.jsonl").write_text('{"problem": "x", "domain": "integration"}')
    digest = read_problems.fn(other, data)
    rows = fetch(open_store(settings.store), f"integration/intake/{digest}", digest=digest)
    assert b"domain 'integration' is not that of the line, 'arithmetic'" in rows


def test_reading_again_gives_the_same_snapshot(settings: Settings, tmp_path: Path) -> None:
    data = write_shard(tmp_path / "new" / "a.jsonl", LONG)
    first = ingested(settings, data)
    (data / "a.jsonl").rename(data / "z.jsonl")
    assert ingested(settings, data).data_digest == first.data_digest


@pytest.mark.slow
def test_stock_dvc_pulls_the_snapshot_without_git(settings: Settings, s3_server: S3Server, tmp_path: Path) -> None:
    claim = ingested(settings, write_shard(tmp_path / "new" / "a.jsonl", LONG))
    store, clone = open_store(settings.store), tmp_path / "clone"
    clone.mkdir()

    def dvc(*arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "dvc", *arguments, "--quiet"], cwd=clone, check=True)

    dvc("init", "--no-scm")
    dvc("remote", "add", "--default", "line", f"s3://{settings.store.bucket}/dvc")
    dvc("remote", "modify", "line", "endpointurl", s3_server.endpoint_url)
    pointer = store.get(f"integration/snapshots/{claim.data_digest}/snapshot.dvc").data
    (clone / "snapshot.jsonl.dvc").write_bytes(pointer)
    dvc("pull")
    pulled = Snapshot.from_bytes((clone / "snapshot.jsonl").read_bytes(), digest=claim.data_digest)
    assert pulled == load_snapshot(store, "integration", claim.data_digest)
    assert len(pulled.entries) == len(LONG)


def test_a_missing_directory_is_refused(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="does not exist"):
        read_problems.fn(settings, tmp_path / "nowhere")


def test_a_missing_bucket_is_reported(settings: Settings, s3_server: S3Server, tmp_path: Path) -> None:
    missing = tiny(s3_server, "no-such-bucket")
    with pytest.raises(StoreDownError, match="no-such-bucket"):
        read_problems.fn(missing, write_shard(tmp_path / "new" / "a.jsonl", LONG))


@pytest.mark.slow
def test_known_problems_can_be_offered_again(settings: Settings, tmp_path: Path) -> None:
    data = write_shard(tmp_path / "new" / "a.jsonl", LONG)
    claim = ingested(settings, data)
    line = open_registry(settings)
    manifest = replace(candidate(line, "one"), data_digest=claim.data_digest)
    line.publish(manifest, make_champion=True, actor="night", reason="better")
    assert ingested(settings, data).problems == 0
    again = claim_problems.fn(settings, read_problems.fn(settings, data, again=True), again=True)
    assert again == claim, "the same snapshot: the watermark claims it once"
