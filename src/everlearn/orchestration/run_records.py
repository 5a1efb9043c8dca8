"""Which runs are processes of this machine, remembered on disk, so that the dead among them are known after any crash.

A worker that is killed takes its runs with it, or leaves them behind, and the server goes on believing that they run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from everlearn.local.process import Process
from everlearn.process_identity import start_ticks

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = b"PREFECT__FLOW_RUN_ID="
"""What a worker puts into the environment of a run's process, before the run's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The runs that were seen on this machine; one file each below `folder`, named by the run."""

    folder: Path

    def look(self) -> None:
        """Remember what runs now."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for run, process in seen():
            record = self.folder / f"{run}.json"
            if Process.load(record) is None:
                process.save(record)

    def dead(self) -> tuple[str, ...]:
        """The runs whose process lives no longer."""
        return tuple(record.stem for record in sorted(self.folder.glob("*.json")) if Process.load(record) is None)

    def forget(self, run: str) -> None:
        """Remember it no more; no error if it is not known."""
        (self.folder / f"{run}.json").unlink(missing_ok=True)


def seen() -> Iterator[tuple[str, Process]]:
    """Each run that is a process of this machine, with the one that was there first: its children inherit the mark."""
    found: dict[str, Process] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            marks = [each for each in (place / "environ").read_bytes().split(b"\0") if each.startswith(MARK)]
        except OSError:  # gone meanwhile, or another user's
            continue
        since = start_ticks(int(place.name))
        for run in (each.removeprefix(MARK).decode() for each in marks if since is not None):
            process = Process(pid=int(place.name), began=since or 0)
            if run not in found or (process.began, process.pid) < (found[run].began, found[run].pid):
                found[run] = process
    yield from sorted(found.items())
