"""The best version for each suite."""

from __future__ import annotations

from dataclasses import replace

from everlearn.data.suites import SuiteKind
from everlearn.gate.best_versions import Published, best_versions
from everlearn.gate.decision_record import Against, SuiteRow
from tests.support.manifests import DECISION, row


def measured(suite: str, *, won: int, lost: int, against: Against = Against.PARENT) -> SuiteRow:
    low = (won - lost) / 700 - 0.01
    return replace(row(against), suite=suite, kind=SuiteKind.SKILL, n=700, won=won, lost=lost, low=low)


def published(*rows: SuiteRow, version: str, parent: str | None) -> Published:
    return Published(version=version, parent=parent, decision=replace(DECISION, rows=rows))


def test_each_suite_has_its_own_best_version() -> None:
    first = published(measured("a", won=60, lost=5), measured("b", won=30, lost=31), version="v0001", parent=None)
    second = published(measured("a", won=5, lost=9), measured("b", won=60, lost=5), version="v0002", parent="v0001")
    assert best_versions([first, second]) == {"a": "v0001", "b": "v0002"}


def test_a_lucky_version_is_not_the_best() -> None:
    first = published(measured("a", won=60, lost=5), version="v0001", parent=None)
    lucky = published(measured("a", won=42, lost=28), version="v0002", parent="v0001")
    assert best_versions([first, lucky]) == {"a": "v0001"}


def test_a_version_has_to_beat_the_best_and_not_its_parent() -> None:
    first = published(measured("a", won=60, lost=5), version="v0001", parent=None)
    fell = published(measured("a", won=10, lost=24), version="v0002", parent="v0001")
    against_best = measured("a", won=30, lost=28, against=Against.BEST)
    back = published(measured("a", won=50, lost=12), against_best, version="v0003", parent="v0002")
    assert best_versions([first, fell, back]) == {"a": "v0001"}


def test_a_memory_suite_begins_with_the_version_that_taught_it() -> None:
    first = published(version="v0001", parent=None)
    second = published(measured("memory-v0001", won=1, lost=2), version="v0002", parent="v0001")
    assert best_versions([first, second]) == {"memory-v0001": "v0001"}


def test_a_version_that_may_not_serve_is_not_the_best() -> None:
    second = published(measured("memory-v0001", won=1, lost=2), version="v0002", parent="v0001")
    assert best_versions([second]) == {}
    assert best_versions([]) == {}
