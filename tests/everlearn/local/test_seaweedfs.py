from __future__ import annotations

import json
import os
import signal
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from everlearn.local import store_probe
from everlearn.local.process import wait_until
from everlearn.local.seaweedfs import LocalS3

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalS3]:
    with LocalS3(tmp_path_factory.mktemp("s3"), bucket="testbucket") as server:
        yield server


def test_only_requests_with_the_right_keys_are_served(s3: LocalS3) -> None:
    keys = {"access_key": s3.access_key, "secret_key": s3.secret_key}
    assert store_probe.is_ready(s3.endpoint_url, bucket="testbucket", **keys)
    assert not store_probe.is_ready(s3.endpoint_url, bucket="nobucket", **keys)
    assert not store_probe.is_ready(s3.endpoint_url, bucket="testbucket", **keys | {"secret_key": "wrong"})


def test_starting_twice_starts_once(s3: LocalS3) -> None:
    assert s3.is_running()
    assert not LocalS3(s3.directory, bucket="testbucket").start()


def test_a_running_server_gets_the_bucket_of_another_command(s3: LocalS3) -> None:
    other = LocalS3(s3.directory, bucket="another")
    assert not other.start()
    assert other.is_ready()
    assert s3.is_ready()


def test_ports_and_keys_are_readable_by_the_owner_only(s3: LocalS3) -> None:
    assert stat.S_IMODE((s3.directory / "server.json").stat().st_mode) == 0o600
    assert len(s3.secret_key) == 40


def test_data_and_address_survive_sigkill_and_a_restart(tmp_path: Path) -> None:
    server = LocalS3(tmp_path)
    server.start()
    keys, url = (server.access_key, server.secret_key), server.endpoint_url
    assert store_probe.request(url, method="PUT", path="/everlearn/kept", body=b"kept", keys=keys)[0] == 200
    os.kill(json.loads((tmp_path / "process.json").read_text())["pid"], signal.SIGKILL)
    assert wait_until(lambda: not server.is_running(), timeout_s=10)
    with LocalS3(tmp_path) as again:
        assert again.endpoint_url == url
        assert store_probe.request(url, method="GET", path="/everlearn/kept", keys=keys) == (200, b"kept")
    assert not again.stop()


@pytest.mark.slow
def test_an_idle_server_uses_less_than_three_percent_of_a_core(s3: LocalS3) -> None:
    pid = json.loads((s3.directory / "process.json").read_text())["pid"]
    time.sleep(20)  # the start itself
    before, began = cpu_seconds_of(pid), time.monotonic()
    time.sleep(60)
    assert (cpu_seconds_of(pid) - before) / (time.monotonic() - began) < 0.03


def cpu_seconds_of(pid: int) -> float:
    """Return the CPU time of a process in user and system mode, all threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
