"""The policies that a candidate is compared with besides its parent."""

from __future__ import annotations

import pytest

from everlearn.gate.baselines import choose_baselines, eligible_versions
from everlearn.gate.decision_record import Against
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import open_line, publish

BASE = (Against.BASE, "base")


def test_the_first_night_has_no_baseline_besides_the_base() -> None:
    assert choose_baselines({"v0001": {"skill": 0.9}}, parent=None) == ()


@pytest.mark.parametrize(
    ("metrics", "baselines"),
    [
        ({"v0001": {"skill": 0.9}, "v0002": {"skill": 0.8}}, (BASE, (Against.BEST, "v0001"))),
        ({"v0001": {"skill": 0.7}, "v0002": {"skill": 0.8}}, (BASE,)),
        ({"v0001": {"skill": 0.8}, "v0002": {"skill": 0.8}}, (BASE, (Against.BEST, "v0001"))),
        ({"v0001": {}, "v0002": {"skill": 0.1}}, (BASE,)),
        ({}, (BASE,)),
    ],
    ids=["an earlier one is best", "the parent is best", "the oldest of equals", "no metric is 0", "none eligible"],
)
def test_the_best_version_is_compared_unless_it_is_the_parent(
    metrics: dict[str, dict[str, float]], baselines: tuple[tuple[Against, str], ...]
) -> None:
    assert choose_baselines(metrics, parent="v0002") == baselines


def test_a_barred_version_is_not_eligible() -> None:
    registry = open_line(MemoryStore())
    for name in ("one", "two"):
        publish(registry, name)
    registry.rollback(reason="worse", actor="op")
    assert eligible_versions(registry.state()) == ["v0001"]


def test_a_version_whose_files_are_gone_is_not_eligible() -> None:
    registry = open_line(MemoryStore())
    publish(registry, "one", champion=False)
    publish(registry, "two")
    registry.retire(lambda _: ("v0001",), reason="retention", actor="gc")
    assert eligible_versions(registry.state()) == ["v0002"]
