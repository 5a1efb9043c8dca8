"""A night that is taken up again and again: as long as it comes further, and not for ever at one place."""

from __future__ import annotations

import pytest

from everlearn.cycle.resume_limit import MAX_RESUMES, count_resume
from everlearn.cycle.workspace import Workspace
from everlearn.errors import CycleError
from everlearn.storage.in_memory import MemoryStore


@pytest.fixture
def work() -> Workspace:
    found = Workspace(MemoryStore(), "integration", "0" * 64, token=1)
    found.put("ladder", b"grown")
    return found


def test_a_night_that_comes_further_between_crashes_is_taken_up_as_often_as_it_takes(work: Workspace) -> None:
    for step in range(3 * MAX_RESUMES):
        work.put("checkpoint", str(step).encode())
        count_resume(work, counter="resumed")


def test_a_night_that_crashes_at_one_place_ends_loudly_and_can_be_tried_again_by_hand(work: Workspace) -> None:
    for _ in range(MAX_RESUMES):
        count_resume(work, counter="resumed")
    with pytest.raises(CycleError, match="interrupted 4 times at the same place"):
        count_resume(work, counter="resumed")
    for _ in range(MAX_RESUMES):
        count_resume(work, counter="resumed")
    with pytest.raises(CycleError, match="everlearn cycle --abandon"):
        count_resume(work, counter="resumed")
