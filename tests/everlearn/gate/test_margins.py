"""Margins: what is wanted, what the items can decide, and limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.data.suites import SuiteKind
from everlearn.gate import statistics
from everlearn.gate.decision_record import Against
from everlearn.gate.evidence import Changes, Comparison, SuiteCounts, pool
from everlearn.gate.margins import Margin, plan_margins
from everlearn.settings import GateSettings

SETTINGS = GateSettings()
BASELINES = (Against.PARENT, Against.BASE, Against.BEST)
COUNTS = st.integers(0, 80)


def compared(name: str, n: int = 700, *, kind: SuiteKind = SuiteKind.SKILL, **more: object) -> Comparison:
    won, lost = more.get("won", 0), more.get("lost", 0)
    assert isinstance(won, int)
    assert isinstance(lost, int)
    changes = Changes(won=won, lost=lost, gains=())
    counts = SuiteCounts(
        n=n,
        items=float(n),
        against_candidate=changes,
        against_baseline=changes,
        right_before=n // 2,
        right_after=n // 2,
        wrong_before=n - n // 2,
        wrong_after=n - n // 2,
        undecided=0,
    )
    against = more.get("against", Against.PARENT)
    assert isinstance(against, Against)
    return Comparison(suite=name, kind=kind, against=against, parts=(counts,))


def planned(*comparisons: Comparison) -> dict[tuple[str, Against], Margin]:
    return plan_margins(comparisons, pool(comparisons), settings=SETTINGS)


def suites(count: int, n: int = 700) -> list[Comparison]:
    return [compared(f"s{number}", n, against=against) for number in range(count) for against in BASELINES]


@pytest.mark.parametrize(("count", "together", "alone"), [(3, 0.022, 0.05), (6, 0.02, 0.05), (10, 0.02, 0.051)])
def test_many_suites_share_one_margin_and_keep_their_own(count: int, together: float, alone: float) -> None:
    margins = planned(*suites(count))
    assert margins[f"{count} skill suites together", Against.BASE].allowed == pytest.approx(together, abs=0.001)
    assert margins["s0", Against.BEST].allowed == pytest.approx(alone, abs=0.001)


def test_one_suite_gets_the_margin_that_it_can_decide() -> None:
    assert planned(compared("s", 5000))["s", Against.PARENT].allowed == SETTINGS.skill_margin
    assert planned(compared("s", 690))["s", Against.PARENT].allowed == pytest.approx(0.03, abs=1e-3)
    margin = planned(*suites(1))["s0", Against.PARENT]
    assert margin.allowed == pytest.approx(0.036, abs=1e-3)
    assert planned(*suites(1, margin.items_needed))["s0", Against.PARENT].allowed == SETTINGS.skill_margin


def test_the_margin_of_shipped_suites_is_limited() -> None:
    assert planned(compared("s", 100))["s", Against.PARENT].allowed == SETTINGS.widest_margin
    least = statistics.largest_loss(won=0, lost=0, items=40, alpha=SETTINGS.alpha)
    assert planned(compared("s", 40))["s", Against.PARENT].allowed == least
    assert planned(compared("s", 40, kind=SuiteKind.MEMORY))["s", Against.PARENT].allowed > SETTINGS.widest_margin


def test_noise_against_the_base_widens_only_what_it_touches() -> None:
    noisy = compared("s", 2100, won=400, lost=400, against=Against.BASE)
    margins = planned(compared("s", 2100), noisy)
    assert margins["s", Against.BASE].allowed > 1.8 * margins["s", Against.PARENT].allowed
    assert (
        margins["s", Against.PARENT].allowed
        == planned(compared("s", 2100), compared("s", 2100, against=Against.BASE))["s", Against.PARENT].allowed
    )


def test_other_kinds_of_suites_take_little_of_the_power() -> None:
    alone = planned(*suites(1))["s0", Against.PARENT].allowed
    others = [compared("m", 31, kind=SuiteKind.MEMORY), compared("g", 169, kind=SuiteKind.GENERATED)]
    assert alone < planned(*suites(1), *others)["s0", Against.PARENT].allowed < 1.06 * alone


def test_a_target_that_has_to_improve_keeps_its_margin() -> None:
    target = compared("target", 31, kind=SuiteKind.TARGET)
    base = compared("target", 31, kind=SuiteKind.TARGET, against=Against.BASE)
    margins = planned(target)
    assert margins["target", Against.PARENT].allowed == SETTINGS.target_margin
    assert plan_margins([target, base], (), settings=SETTINGS)["target", Against.BASE].allowed > SETTINGS.target_margin


@given(st.lists(st.tuples(COUNTS, COUNTS), min_size=1, max_size=3))
def test_the_direction_of_changes_never_moves_a_margin(changes: list[tuple[int, int]]) -> None:
    ours = planned(*(compared(f"s{k}", won=won, lost=lost) for k, (won, lost) in enumerate(changes)))
    theirs = planned(*(compared(f"s{k}", won=lost, lost=won) for k, (won, lost) in enumerate(changes)))
    assert ours == theirs


@given(st.floats(0.05, 0.95), st.integers(1, 3))
def test_joint_quantile_inverts_joint_chance(chance: float, comparisons: int) -> None:
    z = statistics.joint_quantile(chance, comparisons=comparisons)
    assert statistics.joint_chance(z, comparisons=comparisons) == pytest.approx(chance, abs=1e-6)


def test_joint_chance_of_correlated_normals_is_known_at_zero() -> None:
    assert [statistics.joint_chance(0, comparisons=count) for count in (1, 2, 3)] == pytest.approx(
        [1 / 2, 1 / 3, 1 / 4]
    )
