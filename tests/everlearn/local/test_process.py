from __future__ import annotations

import fcntl
import os
import sys
from typing import TYPE_CHECKING

import pytest

from everlearn.errors import ServiceError
from everlearn.local import process as module
from everlearn.local.process import Process, last_lines, wait_until
from everlearn.process_identity import start_ticks

if TYPE_CHECKING:
    from pathlib import Path

IGNORES_SIGTERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)


def start(code: str, *, log: Path) -> Process:
    return Process.start([sys.executable, "-c", code], environ=os.environ, log=log)


def test_a_process_is_found_by_its_record_until_it_stops(tmp_path: Path) -> None:
    process = start("import time; time.sleep(60)", log=tmp_path / "log")
    process.save(tmp_path / "record")
    assert Process.load(tmp_path / "record") == process
    process.stop()
    assert Process.load(tmp_path / "record") is None


def test_a_process_runs_in_a_session_of_its_own(tmp_path: Path) -> None:
    process = start("import time; time.sleep(60)", log=tmp_path / "log")
    assert wait_until(lambda: os.getsid(process.pid) == process.pid, timeout_s=10)
    process.stop()


def test_a_process_inherits_no_lock(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = start("import time; time.sleep(60)", log=tmp_path / "log")
    try:
        with (tmp_path / "lock").open("w") as again:
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        process.stop()


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start(IGNORES_SIGTERM, log=log)
    assert wait_until(lambda: "ready" in last_lines(log), timeout_s=20)
    process.stop(timeout_s=0.2)
    assert not process.is_running()


def test_a_process_that_survives_sigkill_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "wait_until", lambda _condition, **_: False)
    monkeypatch.setattr(os, "kill", lambda *_: None)
    with pytest.raises(ServiceError, match="does not stop"):
        Process(pid=os.getpid(), began=start_ticks(os.getpid()) or 0).stop()


def test_a_reused_process_id_counts_as_stopped(tmp_path: Path) -> None:
    Process(pid=os.getpid(), began=1).save(tmp_path / "record")
    assert Process.load(tmp_path / "record") is None


def test_stopping_an_ended_process_is_no_error(tmp_path: Path) -> None:
    process = start("pass", log=tmp_path / "log")
    assert wait_until(lambda: not process.is_running(), timeout_s=20)
    process.stop()


def test_a_zombie_does_not_count_as_running(tmp_path: Path) -> None:
    process = start("pass", log=tmp_path / "log")
    assert wait_until(lambda: start_ticks(process.pid) is None, timeout_s=20)
    assert os.waitpid(process.pid, 0)[0] == process.pid


@pytest.mark.parametrize("record", ["", "{}", '{"pid": 1}', "7", "[]", "{"])
def test_a_damaged_record_counts_as_stopped(record: str, tmp_path: Path) -> None:
    (tmp_path / "record").write_text(record, encoding="utf-8")
    assert Process.load(tmp_path / "record") is None


def test_a_missing_record_counts_as_stopped(tmp_path: Path) -> None:
    assert Process.load(tmp_path / "record") is None


def test_output_and_errors_are_appended_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for word in ("first", "second"):
        process = start(f"import sys; print('{word}'); print('error', file=sys.stderr)", log=log)
        assert wait_until(lambda process=process: not process.is_running(), timeout_s=20)  # type: ignore[misc]
    assert sorted(last_lines(log).split()) == ["error", "error", "first", "second"]
    assert last_lines(tmp_path / "none") == "(no log)"


def test_waiting_ends_at_the_timeout() -> None:
    assert not wait_until(lambda: False, timeout_s=0.0)
    assert wait_until(lambda: True, timeout_s=0.0)


def test_a_record_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """A worker that reads the record while another one writes it would report a run that lives as crashed."""
    record = tmp_path / "record"
    process = Process(pid=os.getpid(), began=start_ticks(os.getpid()) or 0)
    process.save(record)
    with record.open(encoding="utf-8") as read_meanwhile:
        process.save(record)
        assert read_meanwhile.read() == record.read_text(encoding="utf-8")
        assert os.fstat(read_meanwhile.fileno()).st_ino != record.stat().st_ino
