"""Fixtures for all tests: one real S3 server per session, and a fresh bucket per test that requests one."""

from __future__ import annotations

import os
import signal
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
import pytest
from hypothesis import settings

from everlearn.errors import ServiceError
from everlearn.local.seaweedfs import LocalS3
from everlearn.storage.s3 import S3Store
from tests.support.s3_fault_proxy import run_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.s3_fault_proxy import Proxy

# Loaded once for all tests: imported into two conftests, each would start a Prefect server of its own.
pytest_plugins = ["tests.support.prefect"]

# The same examples in every run, and no deadline: the duration of one on a busy machine says nothing about a property.
settings.register_profile("everlearn", deadline=None, derandomize=True)
settings.load_profile("everlearn")

# A shell makes its background processes ignore SIGINT; tests that send it need the default handler.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # read by trl on import


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """Endpoint and credentials of a running server."""

    endpoint_url: str
    access_key: str
    secret_key: str

    def create_bucket(self) -> str:
        """Create an empty bucket and return its name."""
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
        """Return the bucket as a `Store`."""
        keys = (self.access_key, self.secret_key)
        return S3Store(bucket, endpoint_url=self.endpoint_url, keys=keys, timeout_s=timeout_s)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Run SeaweedFS until the session ends; where another process of the tests was faster to take a port, on other ones."""
    server = LocalS3(tmp_path_factory.mktemp("s3"))
    try:
        server.start()
    except ServiceError:
        server = LocalS3(tmp_path_factory.mktemp("s3"))
    with server:
        yield S3Server(endpoint_url=server.endpoint_url, access_key=server.access_key, secret_key=server.secret_key)


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    """Return the name of a fresh bucket."""
    return s3_server.create_bucket()


@pytest.fixture
def s3_store(s3_server: S3Server, bucket: str) -> S3Store:
    """Return a fresh bucket as a `Store`."""
    return s3_server.store(bucket)


@pytest.fixture(scope="session")
def proxy(s3_server: S3Server) -> Iterator[Proxy]:
    """Run a proxy in front of the server that injects faults on request."""
    with run_proxy(s3_server) as running:
        yield running


@pytest.fixture
def proxied_store(proxy: Proxy, bucket: str) -> S3Store:
    """Return a fresh bucket as a `Store` behind the proxy."""
    return proxy.store(bucket)
