"""A background process that outlives the command that started it, identified by a record on disk.

The record holds the process id and the start time of the process. The kernel reuses ids, but not pairs: a record whose
pair matches no running process is stale, and its process counts as stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from everlearn.errors import ServiceError
from everlearn.process_identity import start_ticks
from everlearn.storage.local_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

POLL_S = 0.05
LOG_LINES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """Identity of one process. `began` is its start time in clock ticks since boot."""

    pid: int
    began: int

    @classmethod
    def start(cls, command: Sequence[str], *, environ: Mapping[str, str], log: Path) -> Self:
        """Start `command` in its own session, so that it survives its parent; append its output to `log`.

        Inherited file descriptors are closed: with `flock FILE everlearn up` the server would otherwise keep the lock.
        """
        flags, mode = os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
        pid = os.posix_spawn(
            command[0],
            list(command),
            dict(environ),
            setsid=True,
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP],
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), flags, mode),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in inheritable_descriptors()),
            ],
        )
        return cls(pid=pid, began=start_ticks(pid) or 0)

    @classmethod
    def load(cls, record: Path) -> Self | None:
        """Return the process that `record` names; None if it is not running or the record is missing or damaged."""
        try:
            fields = json.loads(record.read_text(encoding="utf-8"))
            process = cls(**fields)
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return process if process.is_running() else None

    def save(self, record: Path) -> None:
        """Write the record that `load` reads. Another command sees it whole: half a record is that of a dead process."""
        write_whole(record, json.dumps({"pid": self.pid, "began": self.began}).encode())

    def is_running(self) -> bool:
        """Return whether this very process is running; a child that has ended is reaped first."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        return start_ticks(self.pid) == self.began

    def stop(self, *, timeout_s: float = 15.0) -> None:
        """Send SIGTERM and wait; send SIGKILL after `timeout_s`. ServiceError if the process survives even that."""
        for signum, wait_s in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signum)
            if wait_until(lambda: not self.is_running(), timeout_s=wait_s):
                return
        raise ServiceError(f"process {self.pid} does not stop after SIGKILL; look at it with `ps {self.pid}`")


def inheritable_descriptors() -> list[int]:
    """Return the open file descriptors, beyond the standard three, that a child process would inherit."""
    descriptors = []
    for descriptor in (int(entry.name) for entry in Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself is closed by now
            if descriptor > 2 and os.get_inheritable(descriptor):
                descriptors.append(descriptor)
    return descriptors


def wait_until(condition: Callable[[], bool], *, timeout_s: float) -> bool:
    """Poll `condition` every 50 ms; return whether it came true within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def last_lines(log: Path) -> str:
    """Return the last five lines of a log."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(text.splitlines()[-LOG_LINES:])
