"""Faults for bench/chaos.py: what can go wrong with a machine during a night."""

from __future__ import annotations

import contextlib
import contextvars
import json
import os
import shutil
import signal
import sqlite3
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from everlearn.local.process import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.local_line import LocalLine
    from everlearn.local.local_server import LocalServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault and its moment: when the open cycle has finished step `after`, but not `before`."""

    name: str
    strike: Callable[[LocalLine], None]
    after: str = "checkpoint"
    before: str = "check/rewards"
    needs: str = "climb"

    def is_due(self, line: LocalLine) -> bool:
        """Return whether the moment has come."""
        steps = line.finished_steps()
        return self.after in steps and self.before not in steps and bool(line.processes(self.needs))


def kill(name: str) -> Callable[[LocalLine], None]:
    """Return a fault that sends SIGKILL to the nights or climbs."""

    def strike(line: LocalLine) -> None:
        for pid in line.processes(name):
            os.kill(pid, signal.SIGKILL)

    return strike


def replace_workers(line: LocalLine) -> None:
    """Stop the workers, as when a spot instance is reclaimed, and start others."""
    line.stop_workers()
    line.start_workers()


def lose_machine(line: LocalLine) -> None:
    """Kill all processes and delete the records of the runs; start other workers."""
    pids = [*line.processes("night"), *line.processes("climb")]
    if line.workers is not None:
        pids += [line.workers.pid, *(child.pid for child in psutil.Process(line.workers.pid).children())]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if line.workers is not None:
        line.workers.wait()
    shutil.rmtree(line.home / "runs", ignore_errors=True)
    line.start_workers()


def kill_server(line: LocalLine) -> None:
    """Kill the Prefect server; start it again 15 s later."""
    _kill_server(line.prefect)
    _later(15, line.prefect.start)


def kill_s3(line: LocalLine) -> None:
    """Kill the S3 server; start it again 60 s later."""
    _kill_server(line.s3)
    _later(60, line.s3.start)


def freeze(line: LocalLine) -> None:
    """Suspend the runs for longer than leases and heartbeats last; then resume them."""
    pids = [*line.processes("night"), *line.processes("climb")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)

    def resume() -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    _later(150, resume)


def fill_disk(line: LocalLine) -> None:
    """Fill the disk of temporary files until the night has failed; then free it and start the night again."""
    filler = line.disk / "filler"

    def free_and_restart() -> None:
        wait_until(lambda: not line.unfinished_runs(), timeout_s=120)
        filler.unlink()
        line.start_night()

    with contextlib.suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(b"\0" * 65536)
            file.flush()
    _later(0, free_and_restart)


def trigger_again(line: LocalLine) -> None:
    """Trigger the same night twice more."""
    for _ in range(2):
        line.start_night()


def lock_database(line: LocalLine) -> None:
    """Lock the server's database for 20 s."""
    path = next((line.home / "prefect" / "home").glob("*.db"))

    def lock() -> None:
        connection = sqlite3.connect(path, timeout=60)
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(20)
        connection.rollback()
        connection.close()

    _later(0, lock)


FAULTS = {
    fault.name: fault
    for fault in (
        Fault(name="nothing", strike=lambda _: None),
        Fault(name="night killed as it begins", strike=kill("night"), after="suites", needs="night"),
        Fault(name="night killed while it waits", strike=kill("night"), needs="night"),
        Fault(name="climb killed while it grows", strike=kill("climb"), after="climbed", before="ladder"),
        Fault(name="climb killed while it trains", strike=kill("climb")),
        Fault(name="climb killed while it measures", strike=kill("climb"), after="files"),
        Fault(
            name="night killed as it decides", strike=kill("night"), after="check/rewards", before="x", needs="night"
        ),
        Fault(name="workers stopped", strike=replace_workers),
        Fault(name="machine lost", strike=lose_machine),
        Fault(name="Prefect server killed", strike=kill_server),
        Fault(name="S3 killed", strike=kill_s3),
        Fault(name="clock stopped", strike=freeze),
        Fault(name="disk full", strike=fill_disk),
        Fault(name="three triggers", strike=trigger_again),
        Fault(name="database locked", strike=lock_database),
    )
}


def _kill_server(server: LocalServer) -> None:
    record = json.loads((server.directory / "process.json").read_text())
    os.killpg(record["pid"], signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(record["pid"], 0)


def _later(seconds: float, act: Callable[[], object]) -> None:
    """Call `act` later, in a thread with this context: the settings of Prefect are context variables."""
    timer = threading.Timer(seconds, contextvars.copy_context().run, [act])
    timer.daemon = True
    timer.start()
