from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from everlearn.training.journal import SECONDS, Journal


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_finished_unit_is_not_computed_again() -> None:
    segments: list[bytes] = []
    first = Journal(keep=segments.append)
    assert first.once("rate", ["a", "b"], lambda: [1, 2]) == [1, 2]
    first.flush()
    again = Journal(kept=segments, keep=segments.append)
    assert again.once("rate", ["a", "b"], lambda: [9, 9]) == [1, 2]
    again.flush()
    assert len(segments) == 1  # nothing new: nothing is written


def test_another_input_is_another_unit() -> None:
    journal = Journal()
    assert [journal.once("rate", text, partial(str, text)) for text in ("a", "b", "a")] == ["a", "b", "a"]


def test_a_journal_without_a_place_keeps_nothing() -> None:
    journal = Journal()
    journal.once("rate", "a", lambda: 1)
    journal.flush()


@given(st.lists(st.floats(min_value=0.01, max_value=1000.0), min_size=1, max_size=200))
def test_a_kill_loses_at_most_ten_seconds_or_a_hundredth(durations: list[float]) -> None:
    clock, segments = Clock(), list[bytes]()
    journal = Journal(keep=segments.append, clock=clock)
    began = flushed = clock.now

    def work(seconds: float) -> float:
        clock.now += seconds
        return seconds

    for unit, seconds in enumerate(durations):
        written = len(segments)
        journal.once("unit", unit, partial(work, seconds))
        if len(segments) > written:
            flushed = clock.now
        assert clock.now - flushed < max(SECONDS, (clock.now - began) / 100)  # plus the unit that is computed now
    lost = sum(segment.count(b"\n") for segment in segments)
    assert lost <= len(durations)
    assert len(segments) <= (clock.now - began) / SECONDS
