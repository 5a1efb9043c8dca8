"""Limit on resuming a cycle: it is not resumed automatically forever at the place where it was interrupted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from everlearn.canonical_json import canonical
from everlearn.errors import CycleError

if TYPE_CHECKING:
    from everlearn.cycle.workspace import Workspace

Counter = Literal["resumed", "climbed"]
"""Results that count resumptions: of the whole cycle, and of its training on another worker."""
COUNTERS: tuple[Counter, ...] = ("resumed", "climbed")
MAX_RESUMES = 3


def count_resume(work: Workspace, *, counter: Counter) -> None:
    """Count how often the cycle was resumed without any new result since.

    The count starts again after the error, so that an operator can run the cycle once more after reading its logs.

    Raises:
        CycleError: it was resumed more than `MAX_RESUMES` times at the same place.
    """
    last = json.loads(work.get(counter)) if work.has(counter) else {}
    here = work.progress(without=COUNTERS)
    times = last["times"] + 1 if last.get("at") == here else 1
    exceeded = times > MAX_RESUMES
    work.put(counter, canonical({"at": here, "times": 0 if exceeded else times}))
    if exceeded:
        raise CycleError(
            f"this night was interrupted {times} times at the same place and is not resumed automatically: read the "
            "logs of its last runs, then run it once more, or abandon it with `everlearn cycle --abandon`"
        )
