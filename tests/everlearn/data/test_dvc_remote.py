"""Snapshots are pushed by DVC itself: whole or not at all, repeatably, and without a trace outside its directory."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
from typing import TYPE_CHECKING

import pytest

from everlearn.data import dvc_remote
from everlearn.errors import StoreDownError
from everlearn.settings import StoreSettings
from tests.support.s3_fault_proxy import Fault

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.storage.s3 import S3Store
    from tests.conftest import S3Server
    from tests.support.s3_fault_proxy import Proxy, Request

DATA = b'{"snapshot": 1}\n'
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
KEY = f"dvc/files/md5/{MD5[:2]}/{MD5[2:]}"
POINTER = f"outs:\n- md5: {MD5}\n  size: {len(DATA)}\n  hash: md5\n  path: snapshot.jsonl\n"


@pytest.fixture(autouse=True)
def environment(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # a killed process leaves its directory behind
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)


@pytest.fixture
def settings(s3_server: S3Server, bucket: str) -> StoreSettings:
    return StoreSettings(bucket=bucket, endpoint_url=s3_server.endpoint_url)


def push_in_process(settings: StoreSettings) -> subprocess.Popen[bytes]:
    """Start a process group that pushes DATA."""
    code = (
        "from everlearn.data import dvc_remote; from everlearn.settings import StoreSettings; "
        f"dvc_remote.push({DATA!r}, store=StoreSettings.model_validate({settings.model_dump()!r}))"
    )
    return subprocess.Popen([sys.executable, "-c", code], start_new_session=True)


def test_a_push_keeps_the_layout_and_pointer_of_old_snapshots(settings: StoreSettings, s3_store: S3Store) -> None:
    pointer = dvc_remote.push(DATA, store=settings)
    assert pointer.decode() == POINTER
    assert [item.key for item in s3_store.list()] == [KEY] == [dvc_remote.object_key(pointer)]
    assert s3_store.get(KEY).data == DATA


@pytest.mark.slow
def test_a_repeated_push_sends_nothing(settings: StoreSettings, proxy: Proxy, s3_store: S3Store) -> None:
    dvc_remote.push(DATA, store=settings)
    before = s3_store.head(KEY)
    with proxy.faults() as requests:
        dvc_remote.push(DATA, store=settings.model_copy(update={"endpoint_url": proxy.endpoint_url}))
    assert {request.method for request in requests} == {"HEAD"}
    assert s3_store.head(KEY) == before


def test_nothing_is_written_outside_and_nothing_is_printed(
    settings: StoreSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    home, temporary, cwd = (tmp_path / name for name in ("home", "tmp", "cwd"))
    for folder in (home, temporary, cwd):
        folder.mkdir()
    (home / ".config" / "dvc").mkdir(parents=True)
    (home / ".config" / "dvc" / "config").write_text("this is no configuration")
    (cwd / "dvc.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(cwd)
    for name in ("LOGNAME", "USER", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "PYTHONSAFEPATH"):
        monkeypatch.delenv(name, raising=False)
    dvc_remote.push(DATA, store=settings)
    assert capfd.readouterr() == ("", "")
    assert list(temporary.iterdir()) == []
    files = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(files) == ["config", "dvc.py"]


@pytest.mark.slow
def test_a_kill_during_the_push_loses_nothing(settings: StoreSettings, proxy: Proxy, s3_store: S3Store) -> None:
    sending, killed = threading.Event(), threading.Event()

    def hold(request: Request) -> bool:
        if request.method != "PUT":
            return False
        sending.set()
        return killed.wait(60)

    behind_proxy = settings.model_copy(update={"endpoint_url": proxy.endpoint_url})
    with proxy.faults(Fault.CUT_ON_THE_WAY, on=hold), push_in_process(behind_proxy) as process:
        assert sending.wait(60)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        killed.set()
    assert process.returncode == -signal.SIGKILL
    assert list(s3_store.list()) == []
    assert dvc_remote.push(DATA, store=settings).decode() == POINTER
    assert s3_store.get(KEY).data == DATA


@pytest.mark.slow
def test_concurrent_pushes_of_the_same_snapshot_succeed(settings: StoreSettings, s3_store: S3Store) -> None:
    processes = [push_in_process(settings) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert s3_store.get(KEY).data == DATA


def test_a_missing_bucket_is_reported_with_its_reason(settings: StoreSettings) -> None:
    missing = settings.model_copy(update={"bucket": "no-such-bucket"})
    with pytest.raises(StoreDownError, match=r"no-such-bucket/dvc .*does not exist.*run the same command again"):
        dvc_remote.push(DATA, store=missing)


def test_wrong_credentials_are_reported(settings: StoreSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StoreDownError, match="Forbidden"):
        dvc_remote.push(DATA, store=settings)


def test_a_push_that_takes_too_long_is_stopped(settings: StoreSettings) -> None:
    with pytest.raises(StoreDownError, match="no result after 0 s"):
        dvc_remote.push(DATA, store=settings, timeout_s=0.01)


def test_a_killed_child_process_is_reported(settings: StoreSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = subprocess.CompletedProcess(args=[], returncode=-9, stdout="", stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: killed)
    with pytest.raises(StoreDownError, match="exit status -9"):
        dvc_remote.push(DATA, store=settings)


def test_the_command_adds_and_pushes(
    settings: StoreSettings, s3_store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "snapshot.jsonl").write_bytes(DATA)
    for name, value in dvc_remote._environment(str(tmp_path)).items():
        monkeypatch.setenv(name, value)
    arguments = (str(tmp_path), settings.bucket, str(settings.endpoint_url), settings.region)
    # In a process, whose coverage is measured: the import of DVC changes standard streams and logging.
    process = multiprocessing.get_context("spawn").Process(target=dvc_remote.main, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode == 0
    assert s3_store.get(KEY).data == DATA
