from __future__ import annotations

import os
import subprocess
import sys
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil

from everlearn.local.process import wait_until
from everlearn.orchestration.run_records import RunRecords, find_run_processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLEEP = "import time; print(flush=True); time.sleep(60)"


@contextmanager
def run_process(flow_run: str, code: str = SLEEP) -> Iterator[subprocess.Popen[str]]:
    """Start a process with a worker's environment for a run; yield it once it has printed a line."""
    environ = os.environ | {"PREFECT__FLOW_RUN_ID": flow_run}
    with subprocess.Popen([sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def test_a_run_is_dead_once_its_process_has_ended(tmp_path: Path) -> None:
    flow_run, records = str(uuid.uuid4()), RunRecords(folder=tmp_path / "runs")
    with run_process(flow_run):
        for _ in range(2):
            records.refresh()
            assert flow_run not in records.dead()
    records.refresh()
    assert records.dead().count(flow_run) == 1
    for _ in range(2):
        records.delete(flow_run)
    assert flow_run not in records.dead()


def test_a_run_that_continues_in_another_process_is_not_dead(tmp_path: Path) -> None:
    flow_run, records = str(uuid.uuid4()), RunRecords(folder=tmp_path)
    with run_process(flow_run):
        records.refresh()
    with run_process(flow_run):
        records.refresh()
        assert flow_run not in records.dead()


def test_the_children_of_a_run_are_not_taken_for_it() -> None:
    flow_run = str(uuid.uuid4())
    with run_process(flow_run, f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEP!r}])") as process:
        assert find_run_processes()[flow_run].pid == process.pid
        for child in psutil.Process(process.pid).children():
            child.kill()


def test_a_process_without_a_run_is_not_found() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        assert wait_until(lambda: process.poll() is not None, timeout_s=10)
        assert process.pid not in {found.pid for found in find_run_processes().values()}


def test_a_zombie_is_not_found() -> None:
    flow_run = str(uuid.uuid4())
    with subprocess.Popen([sys.executable, "-c", ""], env=os.environ | {"PREFECT__FLOW_RUN_ID": flow_run}) as process:
        assert wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, timeout_s=10)
        assert flow_run not in find_run_processes()
