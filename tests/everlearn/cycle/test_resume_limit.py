"""A night may be resumed as long as it makes progress, and only a few times at one place."""

from __future__ import annotations

import pytest

from everlearn.cycle.resume_limit import MAX_RESUMES, count_resume
from everlearn.cycle.workspace import Workspace
from everlearn.errors import CycleError
from everlearn.storage.in_memory import MemoryStore


@pytest.fixture
def work() -> Workspace:
    workspace = Workspace(MemoryStore(), "integration", "0" * 64, token=1)
    workspace.put("ladder", b"grown")
    return workspace


def test_a_night_that_makes_progress_is_always_resumed(work: Workspace) -> None:
    for step in range(3 * MAX_RESUMES):
        work.put("checkpoint", str(step).encode())
        count_resume(work, counter="resumed")


def test_a_night_that_crashes_at_one_place_is_refused(work: Workspace) -> None:
    for _ in range(MAX_RESUMES):
        count_resume(work, counter="resumed")
    with pytest.raises(CycleError, match="interrupted 4 times at the same place"):
        count_resume(work, counter="resumed")
    for _ in range(MAX_RESUMES):
        count_resume(work, counter="resumed")
    with pytest.raises(CycleError, match="everlearn cycle --abandon"):
        count_resume(work, counter="resumed")
