"""The policies that a candidate is compared with besides its parent."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from everlearn.data.suites import Suite, SuiteKind
from everlearn.gate.baselines import Baseline, choose_baselines, eligible_versions, shares_of
from everlearn.gate.decision import judge
from everlearn.gate.decision_record import Against
from everlearn.problem import Problem
from everlearn.settings import GateSettings
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import open_line, publish
from tests.support.paired_suites import IMPROVED, pair

if TYPE_CHECKING:
    from everlearn.gate.decision_record import Decision
    from everlearn.gate.evidence import PairedSuite

ITEMS = 700
BASE = Baseline(against=Against.BASE, policy="base")


def suite(name: str, kind: SuiteKind = SuiteKind.SKILL) -> Suite:
    problems = tuple(Problem(id=str(number), domain="integration", statement="x") for number in range(ITEMS))
    return Suite(name=name, kind=kind, problems=problems)


A, B = suite("a"), suite("b")


def right(share: float) -> str:
    count = round(share * ITEMS)
    return "+" * count + "-" * (ITEMS - count)


class Line:
    """Versions with a share on each suite, judged and published one after the other."""

    def __init__(self, **base: float) -> None:
        self.true: dict[str, dict[str, float]] = {"base": base}
        self.published: dict[str, dict[str, float]] = {}

    @property
    def parent(self) -> str | None:
        return max(self.published, default=None)

    def try_night(self, **after: float) -> Decision:
        """Judge a candidate with these shares as a night does, and publish it if it passed."""
        baselines = choose_baselines([suite(name) for name in after], self.published, parent=self.parent)
        pairs: list[PairedSuite] = [IMPROVED]
        for each in (Baseline(against=Against.PARENT, policy=self.parent or "base"), *baselines):
            pairs += [
                self._pair(name, share, each)
                for name, share in after.items()
                if each.suites is None or name in each.suites
            ]
        decision = judge(pairs, settings=GateSettings())
        if decision.passed:
            version = f"v{len(self.published) + 1:04d}"
            self.published[version] = shares_of(version, decision.to_dict())
            self.true[version] = after
        return decision

    def _pair(self, name: str, share: float, baseline: Baseline) -> PairedSuite:
        before = right(self.true[baseline.policy][name])
        made = pair(before, right(share), suite=name, kind=SuiteKind.SKILL)
        return replace(made, against=baseline.against)


def test_the_first_night_has_no_baseline_besides_the_base() -> None:
    assert choose_baselines([A], {}, parent=None) == ()


def test_each_suite_is_compared_with_its_own_best_version() -> None:
    line = Line(a=0.3, b=0.3)
    for after in ({"a": 0.7, "b": 0.3}, {"a": 0.69, "b": 0.6}, {"a": 0.69, "b": 0.6}):
        assert line.try_night(**after).passed
    assert choose_baselines([A, B], line.published, parent="v0003") == (
        BASE,
        Baseline(against=Against.BEST, policy="v0001", suites=("a",)),
        Baseline(against=Against.BEST, policy="v0002", suites=("b",)),
    )


def test_what_is_new_every_night_has_no_best_version() -> None:
    line = Line(a=0.3)
    assert line.try_night(a=0.7).passed
    assert line.try_night(a=0.69).passed
    tonight = [suite("a", SuiteKind.GENERATED), suite("target", SuiteKind.TARGET)]
    assert choose_baselines(tonight, line.published, parent="v0002") == (BASE,)


def test_the_parent_is_not_compared_twice() -> None:
    line = Line(a=0.3)
    assert line.try_night(a=0.7).passed
    assert choose_baselines([A], line.published, parent="v0001") == (BASE,)


def test_a_skill_cannot_fall_night_by_night_while_another_rises() -> None:
    line = Line(a=0.3, b=0.3)
    assert line.try_night(a=0.7, b=0.3).passed
    passed = 0
    for night in range(1, 16):
        passed += line.try_night(a=0.7 - 0.02 * night, b=0.3 + 0.02 * night).passed
    assert 0 < passed <= 2, "each night loses no more than its margin, but all of them together do"
    assert line.true[str(line.parent)]["a"] >= 0.66


def test_the_night_of_a_version_is_the_first_measurement_of_its_memory() -> None:
    guards = suite("memory-v0001", SuiteKind.MEMORY)
    first, second = {"memory-v0001": 0.8}, {"memory-v0001": 0.7, "memory-v0002": 0.9}
    assert (
        shares_of("v0001", {"rows": [{"suite": "target", "kind": "target", "against": "parent", "after": 0.8}]})
        == first
    )
    shares = {"v0001": first, "v0002": second}
    assert choose_baselines([guards], shares, parent="v0002") == (
        BASE,
        Baseline(against=Against.BEST, policy="v0001", suites=("memory-v0001",)),
    )


def test_a_suite_that_no_version_was_measured_on_has_no_best() -> None:
    assert choose_baselines([A], {"v0001": {}, "v0002": shares_of("v0002", {})}, parent="v0002") == (BASE,)


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


def test_a_version_that_leaked_is_not_eligible_even_when_its_bar_is_lifted() -> None:
    registry = open_line(MemoryStore())
    for name in ("one", "two"):
        publish(registry, name)
    registry.bar("v0001", reason="trained on measured problems", actor="op", leaked=True)
    registry.unbar("v0001", reason="to look at it again", actor="op")
    assert eligible_versions(registry.state()) == ["v0002"]
