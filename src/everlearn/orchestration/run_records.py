"""Records on disk of the flow runs of this machine, so that the dead ones are known after any crash.

A worker that is killed takes its runs with it or leaves them behind; the server goes on believing that they run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from everlearn.local.process import Process
from everlearn.process_identity import start_ticks

if TYPE_CHECKING:
    from pathlib import Path

VARIABLE = "PREFECT__FLOW_RUN_ID"
"""A worker sets it in the environment of a run's process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecords:
    """One record for each run of this machine: `folder`/<flow run id>.json."""

    folder: Path

    def refresh(self) -> None:
        """Write a record for each run that has none, or whose recorded process has ended."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for run, process in find_run_processes().items():
            record = self.folder / f"{run}.json"
            if Process.load(record) is None:
                process.save(record)

    def dead(self) -> tuple[str, ...]:
        """Return the ids of the runs whose process has ended."""
        return tuple(record.stem for record in sorted(self.folder.glob("*.json")) if Process.load(record) is None)

    def delete(self, run: str) -> None:
        """Delete the record of a run, if there is one."""
        (self.folder / f"{run}.json").unlink(missing_ok=True)


def find_run_processes() -> dict[str, Process]:
    """Map each flow run of this machine to its first process; that process's children inherit the variable."""
    first: dict[str, Process] = {}
    # `environ` is None for zombies and for processes of other users.
    for process in psutil.process_iter(["environ"]):
        run = (process.info["environ"] or {}).get(VARIABLE)
        began = start_ticks(process.pid)
        if run is not None and began is not None:
            candidate = Process(pid=process.pid, began=began)
            first[run] = min(first.get(run, candidate), candidate, key=lambda each: (each.began, each.pid))
    return dict(sorted(first.items()))
