"""Run scheduled nights with real workers, and read their state from the store."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from everlearn.cycle.record import current_cycle
from everlearn.cycle.workspace import Workspace
from everlearn.registry.connect import open_registry, open_store
from tests.support.line import ends_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.orchestration.schedules import ScheduledNight
    from tests.support.prefect import Nights

TIMEOUT_S = 240


def run_workers_until(condition: Callable[[], bool], *, nights: Nights) -> None:
    """Run workers of both pools in the directory of `nights` until `condition` holds, at most four minutes."""
    environ = os.environ | {
        "PREFECT_API_URL": nights.prefect_url,
        "PREFECT_HOME": str(nights.folder / "prefect"),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-c", "from everlearn.cli import main; main()", "worker"]
    log = nights.folder / "worker.log"
    with (
        log.open("a") as out,
        subprocess.Popen(command, cwd=nights.folder, env=environ, stdout=out, stderr=out) as process,
    ):
        try:
            deadline = time.monotonic() + TIMEOUT_S
            while not condition():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.5)
        finally:
            process.terminate()


def history(nights: Nights, night: ScheduledNight) -> list[str]:
    """Return how the nights of the night's line ended."""
    return [str(kind) for kind in ends_of(open_registry(nights.settings(line=night.line)))]


def finished_steps(nights: Nights, night: ScheduledNight) -> tuple[str, ...]:
    """Return the names of the steps that the open cycle has stored."""
    store = open_store(nights.settings(line=night.line).store)
    cycle = current_cycle(store, night.line)
    return Workspace(store, night.line, cycle.key).names() if cycle else ()


def is_open(nights: Nights, night: ScheduledNight) -> bool:
    """Return whether the line has an open cycle."""
    return current_cycle(open_store(nights.settings(line=night.line).store), night.line) is not None
