"""Versioned buckets: noncurrent contents can be read, and a line restored from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
import pytest

from everlearn.registry.maintenance.fsck import fsck
from everlearn.registry.maintenance.restore import carry_out, plan_repair
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import LINE, VERIFIER, open_line, publish

if TYPE_CHECKING:
    from everlearn.storage.s3 import S3Store
    from tests.conftest import S3Server

HEAD = f"{LINE}/HEAD"


@pytest.fixture
def versioned(s3_server: S3Server, bucket: str, s3_store: S3Store) -> S3Store:
    """Create a bucket with versioning."""
    client = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint_url,
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key=s3_server.secret_key,
        region_name="us-east-1",
    )
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    client.close()
    return s3_store


def test_noncurrent_contents_of_one_key_come_newest_first(versioned: S3Store) -> None:
    for data in (b"one", b"two", b"three"):
        versioned.put("a/HEAD", data)
        versioned.put("a/HEAD2", b"another")
    assert [blob.data for blob in versioned.versions("a/HEAD")] == [b"two", b"one"]
    versioned.delete("a/HEAD")
    assert [blob.data for blob in versioned.versions("a/HEAD")] == [b"three", b"two", b"one"]
    assert list(versioned.versions("never")) == []


def test_without_versioning_there_are_no_older_contents(s3_store: S3Store) -> None:
    for store in (s3_store, MemoryStore()):
        store.put("a", b"one")
        store.put("a", b"two")
        assert list(store.versions("a")) == []


def test_a_deleted_head_and_adapter_are_restored(versioned: S3Store) -> None:
    line = open_line(versioned)
    publish(line, "one")
    publish(line, "two")
    state = line.state()
    deleted = [info.key for info in versioned.list(f"{LINE}/objects/")]
    for key in (HEAD, *deleted):
        versioned.delete(key)
    findings = fsck(versioned, LINE, verifier=VERIFIER)
    assert {fault.key for fault in findings.missing} == set(deleted)
    plan = plan_repair(versioned, findings, verifier=VERIFIER)
    assert set(plan.put_back) == set(deleted)
    carry_out(versioned, plan)
    plan = plan_repair(versioned, fsck(versioned, LINE, verifier=VERIFIER), verifier=VERIFIER)
    assert plan.because == "the bucket holds an older HEAD that names it"
    carry_out(versioned, plan)
    assert fsck(versioned, LINE, verifier=VERIFIER).is_clean
    assert open_line(versioned).state() == state
