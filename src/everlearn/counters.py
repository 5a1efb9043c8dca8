"""What this process has done so far, as the kernel counts its CPU time: rollouts sampled, verdicts spoken.

Whoever wants to know what a step did looks before and after it (`tasks.night.clocked`). Counts only grow.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Literal

What = Literal["rollouts", "verdicts"]
_LOCK = threading.Lock()
_DONE: Counter[What] = Counter()


def increment(what: What, *, by: int = 1) -> None:
    """So many more of them."""
    with _LOCK:
        _DONE[what] += by


def snapshot() -> dict[What, int]:
    """All of them since the process began."""
    with _LOCK:
        return {"rollouts": _DONE["rollouts"], "verdicts": _DONE["verdicts"]}
