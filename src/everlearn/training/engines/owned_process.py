"""Run a command that ends with the process that started it, however that one ends.

    python -m everlearn.training.engines.owned_process COMMAND [ARGUMENT…]

Standard input is a pipe from the owner, which the kernel closes when the owner is gone. Then the command's whole
process group is stopped, and killed if it has not ended after a while. Exits with the command's exit status.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

GRACE_S = 10.0
"""Seconds between the request to end and the kill."""


def run(command: Sequence[str]) -> int:
    """Run the command until it ends, standard input is closed, or a signal arrives. Return its exit status."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            threading.Thread(target=_stop_at_end_of_input, args=(process,), daemon=True).start()
            return process.wait()
        finally:
            _stop(process)  # and what it started and left behind


def _stop_at_end_of_input(process: subprocess.Popen[bytes]) -> None:
    sys.stdin.buffer.read()
    _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the command and everything that it started to end, and kill what has not ended after a while."""
    _signal(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
