"""A server process that outlives the command that started it, remembered by a record on disk.

The record holds the process id and the moment at which that process began. An id is used again by the kernel, a pair
is not: a record whose pair names no living process is stale and counts as stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from everlearn.errors import ServiceError
from everlearn.process_identity import start_ticks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

POLL_S = 0.05
LOG_LINES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process, for as long as it lives. `began` is in clock ticks since boot."""

    pid: int
    began: int

    @classmethod
    def start(cls, command: Sequence[str], *, environ: Mapping[str, str], log: Path) -> Self:
        """Start `command` in a session of its own, with its output appended to `log`; it survives its parent.

        It is given no other file: a server that kept the lock of `flock … everlearn up` would let nobody else have it.
        """
        write, mode = os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
        pid = os.posix_spawn(
            command[0],
            list(command),
            dict(environ),
            setsid=True,
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP],
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), write, mode),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in inherited()),
            ],
        )
        return cls(pid=pid, began=start_ticks(pid) or 0)

    @classmethod
    def recall(cls, record: Path) -> Self | None:
        """The process that `record` names, if it still lives."""
        try:
            process = cls(**json.loads(record.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return process if process.lives() else None

    def remember(self, record: Path) -> None:
        """Write the record that `recall` reads."""
        record.write_text(json.dumps(asdict(self)), encoding="utf-8")

    def lives(self) -> bool:
        """Whether this very process still runs; a child that has ended is reaped on the way."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        return start_ticks(self.pid) == self.began

    def stop(self, *, patience_s: float = 15.0) -> None:
        """SIGTERM, wait, and SIGKILL only for what does not listen."""
        for kind, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, kind)
            if wait(lambda: not self.lives(), patience_s=wait_s):
                return
        raise ServiceError(f"process {self.pid} does not stop, not even by SIGKILL; look at it with `ps {self.pid}`")


def inherited() -> list[int]:
    """Open files beyond the standard three that a child of this process would be given."""
    found = []
    for descriptor in (int(each.name) for each in Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):  # the listing's own is closed by now
            if descriptor > 2 and os.get_inheritable(descriptor):
                found.append(descriptor)
    return found


def wait(condition: Callable[[], bool], *, patience_s: float) -> bool:
    """Whether `condition` came true in time."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def last_lines(log: Path) -> str:
    """The end of a log, for a message."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(text.splitlines()[-LOG_LINES:])
