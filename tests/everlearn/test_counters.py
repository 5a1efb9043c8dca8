"""Counters of the process."""

from __future__ import annotations

import time

from everlearn import counters


def test_counts_add_up_by_name() -> None:
    before = counters.snapshot()
    counters.increment("rollouts", by=3)
    counters.increment("verdicts")
    after = counters.snapshot()
    assert {name: after[name] - before[name] for name in after} == {"rollouts": 3, "verdicts": 1}


def test_cpu_seconds_grow_with_work_and_not_with_sleep() -> None:
    start = counters.cpu_seconds()
    time.sleep(0.3)
    asleep = counters.cpu_seconds() - start
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    assert counters.cpu_seconds() - start - asleep > 0.25 > asleep
