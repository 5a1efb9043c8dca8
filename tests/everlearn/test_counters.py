"""Counters of the process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from everlearn import counters

if TYPE_CHECKING:
    import pytest


def test_counts_add_up_by_name() -> None:
    before = counters.snapshot()
    counters.increment("rollouts", by=3)
    counters.increment("verdicts")
    after = counters.snapshot()
    assert {name: after[name] - before[name] for name in after} == {
        "rollouts": 3,
        "verdicts": 1,
        "tokens": 0,
        "gpu_milliseconds": 0,
    }


def test_the_peak_is_that_of_the_gpu_if_one_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "_GPU_PEAK", [0])
    assert counters.peak_memory() > 10_000_000
    counters.note_gpu_memory(7)
    counters.note_gpu_memory(5)
    assert counters.peak_memory() == counters.gpu_peak() == 7


def test_cpu_seconds_grow_with_work_and_not_with_sleep() -> None:
    start = counters.cpu_seconds()
    time.sleep(0.3)
    asleep = counters.cpu_seconds() - start
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    assert counters.cpu_seconds() - start - asleep > 0.25 > asleep
