"""Identify a process beyond the reuse of its id: the process id together with the process's start time.

psutil's `create_time` is not used for this: it is computed from the wall clock and changes when the clock is set, and
the lease of a line stores clock ticks in the bucket.
"""

from __future__ import annotations

from pathlib import Path


def start_ticks(pid: int) -> int | None:
    """Start time of process `pid` in clock ticks since boot; None if there is no such process or it is a zombie."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else int(fields[18])
