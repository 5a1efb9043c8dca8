"""The level of a night's improvement test follows from the tests before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.cycle.record import End
from everlearn.gate.lifetime_error import improvement_level
from everlearn.registry.events import EventKind
from tasks.error_levels import improvement_level_of
from tasks.night import hold_line
from tasks.open_night import end_night, open_night
from tests.support.night import LONG, stored_snapshot

if TYPE_CHECKING:
    from everlearn.settings import Settings


def test_the_level_of_a_night_follows_from_the_tests_before_it(settings: Settings) -> None:
    by_line = settings.model_copy(update={"gate": settings.gate.model_copy(update={"improvement_error": "line"})})
    levels = []
    with hold_line(settings) as token:
        for each, start in ((settings, 0), (by_line, 8), (by_line, 16)):
            night = open_night.fn(each, token, stored_snapshot(each, LONG[start : start + 8]))
            levels.append(improvement_level_of(night))
            night.registry.record(EventKind.REJECTED, cycle_key=night.key, reason="worse", actor="night", detail={})
            end_night(night, End.INSUFFICIENT)
    assert levels == [None, *(improvement_level([False] * tests, alpha=0.05) for tests in (1, 2))]
