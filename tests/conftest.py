"""Fixtures for all tests: one real S3 server a session, and a fresh bucket for each test that asks for one."""

from __future__ import annotations

import os
import signal
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
import pytest
from hypothesis import settings

from everlearn.local.seaweedfs import LocalS3
from everlearn.storage.s3 import S3Store
from tests.support.s3_fault_proxy import run_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.s3_fault_proxy import Proxy

# Loaded once for all tests: imported into two conftests, each would start a Prefect server of its own.
pytest_plugins = ["tests.support.prefect"]

# The same examples every time, and no deadline: how long one takes on a busy machine says nothing about a law.
settings.register_profile("everlearn", deadline=None, derandomize=True)
settings.load_profile("everlearn")

# A shell lets what it starts in the background ignore Ctrl-C; tests that press it are in front, however pytest runs.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # trl's; it is read when it is imported


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """A running server: where, and with which keys."""

    endpoint_url: str
    access_key: str
    secret_key: str

    def create_bucket(self) -> str:
        """A new, empty bucket."""
        name = f"test-{uuid.uuid4().hex[:16]}"
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
        )
        client.create_bucket(Bucket=name)
        client.close()
        return name

    def store(self, bucket: str, *, timeout_s: float = 60.0) -> S3Store:
        """That bucket as a `Store`."""
        keys = (self.access_key, self.secret_key)
        return S3Store(bucket, endpoint_url=self.endpoint_url, keys=keys, timeout_s=timeout_s)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """SeaweedFS on free ports of this machine, stopped when the session ends."""
    with LocalS3(tmp_path_factory.mktemp("s3")) as server:
        yield S3Server(endpoint_url=server.endpoint_url, access_key=server.access_key, secret_key=server.secret_key)


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    """The name of a fresh bucket."""
    return s3_server.create_bucket()


@pytest.fixture
def s3_store(s3_server: S3Server, bucket: str) -> S3Store:
    """A fresh bucket as a `Store`."""
    return s3_server.store(bucket)


@pytest.fixture(scope="session")
def proxy(s3_server: S3Server) -> Iterator[Proxy]:
    """A proxy in front of that server, which spoils what it is told to."""
    with run_proxy(s3_server) as running:
        yield running


@pytest.fixture
def proxied_store(proxy: Proxy, bucket: str) -> S3Store:
    """A fresh bucket as a `Store` behind the proxy."""
    return proxy.store(bucket)
