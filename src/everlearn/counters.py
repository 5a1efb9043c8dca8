"""Counters of this process: CPU and GPU seconds, rollouts and tokens sampled, verdicts given, and the most memory used.

All of them only grow. To measure a block of code, subtract the values before it from those after it.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
from collections import Counter
from typing import Literal, get_args

CounterName = Literal["rollouts", "verdicts", "tokens", "gpu_milliseconds"]
NAMES: tuple[CounterName, ...] = get_args(CounterName)
_LOCK = threading.Lock()
_COUNTERS: Counter[CounterName] = Counter()
_GPU_PEAK = [0]
_CPU_OF_VERIFIERS = [0.0]


def increment(name: CounterName, *, by: int = 1) -> None:
    """Add `by` to a counter."""
    with _LOCK:
        _COUNTERS[name] += by


def snapshot() -> dict[CounterName, int]:
    """Return all counts since the process started."""
    with _LOCK:
        return {name: _COUNTERS[name] for name in NAMES}


def add_cpu_of_verifiers(seconds: float) -> None:
    """Add CPU seconds of verifier processes: they are no children, and most have not ended when they are asked for."""
    with _LOCK:
        _CPU_OF_VERIFIERS[0] += seconds


def cpu_of_verifiers() -> float:
    """Return the CPU seconds of verifier processes since the process started."""
    with _LOCK:
        return _CPU_OF_VERIFIERS[0]


def cpu_seconds() -> float:
    """Return the CPU time in seconds of this process, of its children that have ended, and of its verifiers."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system + cpu_of_verifiers()


def note_gpu_memory(size: int) -> None:
    """Note that the process had `size` bytes of a GPU."""
    with _LOCK:
        _GPU_PEAK[0] = max(_GPU_PEAK[0], size)


def gpu_peak() -> int:
    """Return the most bytes of a GPU that were noted."""
    return _GPU_PEAK[0]


def peak_memory() -> int:
    """Return the most bytes that the process, or one child that has ended, had so far: of a GPU, or of the machine without."""
    unit = 1 if sys.platform == "darwin" else 1024
    return gpu_peak() or unit * max(map(_most_resident, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def _most_resident(who: int) -> int:
    return resource.getrusage(who).ru_maxrss
