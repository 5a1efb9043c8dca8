"""Counters of this process: CPU seconds, rollouts sampled and verdicts given.

All of them only grow. To measure a block of code, subtract the values before it from those after it.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from typing import Literal

CounterName = Literal["rollouts", "verdicts"]
_LOCK = threading.Lock()
_COUNTERS: Counter[CounterName] = Counter()


def increment(name: CounterName, *, by: int = 1) -> None:
    """Add `by` to a counter."""
    with _LOCK:
        _COUNTERS[name] += by


def snapshot() -> dict[CounterName, int]:
    """Return all counts since the process started."""
    with _LOCK:
        return {"rollouts": _COUNTERS["rollouts"], "verdicts": _COUNTERS["verdicts"]}


def cpu_seconds() -> float:
    """Return the CPU time in seconds of this process and of its children that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
