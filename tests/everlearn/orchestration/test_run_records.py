from __future__ import annotations

import os
import subprocess
import sys
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from everlearn.local.process import wait_until
from everlearn.orchestration.run_records import Running, seen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def run_of(
    flow_run: str, code: str = "import time; print(flush=True); time.sleep(60)"
) -> Iterator[subprocess.Popen[str]]:
    """A process as a worker starts it for a run, once it is there."""
    environ = os.environ | {"PREFECT__FLOW_RUN_ID": flow_run}
    with subprocess.Popen([sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def test_a_run_is_known_while_its_process_lives_and_missed_when_it_does_not(tmp_path: Path) -> None:
    flow_run, running = str(uuid.uuid4()), Running(folder=tmp_path / "runs")
    with run_of(flow_run):
        for _ in range(2):
            running.look()
            assert flow_run not in running.dead()
    running.look()
    assert running.dead().count(flow_run) == 1
    for _ in range(2):
        running.forget(flow_run)
    assert flow_run not in running.dead()


def test_a_run_that_goes_on_in_another_process_is_not_missed(tmp_path: Path) -> None:
    flow_run, running = str(uuid.uuid4()), Running(folder=tmp_path)
    with run_of(flow_run):
        running.look()
    with run_of(flow_run):
        running.look()
        assert flow_run not in running.dead()


def test_the_children_of_a_run_are_not_taken_for_it() -> None:
    flow_run = str(uuid.uuid4())
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; print(flush=True); time.sleep(60)'])"
    with run_of(flow_run, child) as process:
        assert dict(seen())[flow_run].pid == process.pid
        subprocess.run(["pkill", "-9", "-P", str(process.pid)], check=False)


def test_a_process_that_is_no_run_is_none() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        assert wait_until(lambda: process.poll() is not None, timeout_s=10)
        assert process.pid not in {each.pid for _, each in seen()}
