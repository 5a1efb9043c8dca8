"""The error budget of a line: it is never overspent, a label earns, and few labels are false."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.gate.decision import Decision, Outcome, judge
from everlearn.gate.lifetime_error import (
    ErrorBudget,
    Past,
    budgets_of_line,
    improvement_level,
    level_of_line,
    loss_level,
    loss_spent_of,
    past_of,
)
from everlearn.registry.events import EventKind
from everlearn.settings import GateSettings
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import candidate, open_line
from tests.support.paired_suites import IMPROVED

if TYPE_CHECKING:
    from everlearn.registry.versions import Registry

BY_NIGHT = GateSettings()
BY_LINE = GateSettings(improvement_error="line", loss_error="line")
AT_ANOTHER_ALPHA = BY_LINE.model_copy(update={"alpha": 0.1})
pasts = st.lists(st.booleans(), max_size=60)
nights = st.tuples(st.sampled_from([BY_NIGHT, BY_LINE, AT_ANOTHER_ALPHA]), st.booleans())


def level_after(registry: Registry, chosen: GateSettings) -> float | None:
    """Return the level of the next improvement test with these settings."""
    return level_of_line(past_of(registry.state().history, settings=chosen, registry=registry), settings=chosen)


def end_night(registry: Registry, chosen: GateSettings, *, published: bool) -> float | None:
    """End a night that these settings have judged, as nights do. Return the level of its improvement test."""
    level, number = level_after(registry, chosen), str(len(registry.state().history))
    manifest = candidate(registry, number, parent=registry.state().champion)
    decision: dict[str, Any] = {"outcome": "PASS" if published else "FAIL"} | ({"level": level} if level else {})
    if published:
        manifest = replace(manifest, decision=decision, config={"gate": chosen.model_dump(mode="json")})
        registry.publish(manifest, make_champion=True, actor="night", reason="better")
    else:
        detail = {"decision": decision}
        registry.record(EventKind.REJECTED, cycle_key=manifest.cycle_key, reason="worse", actor="night", detail=detail)
    return level


@given(pasts, st.floats(0.001, 0.4))
def test_a_level_is_positive_and_at_most_alpha(labels: list[bool], alpha: float) -> None:
    assert 0 < improvement_level(labels, alpha=alpha) <= alpha


@given(pasts)
def test_the_levels_so_far_are_paid_for(labels: list[bool]) -> None:
    spent = sum(improvement_level(labels[:night], alpha=0.05) for night in range(len(labels) + 1))
    assert spent <= 0.05 * max(1, sum(labels) + 1), "LORD++: levels so far, over labels so far, are at most alpha"


@given(pasts, st.floats(0.001, 0.4))
def test_a_budget_always_pays_for_the_next_test(labels: list[bool], alpha: float) -> None:
    chosen = BY_LINE.model_copy(update={"alpha": alpha})
    spent = sum(improvement_level(labels[:test], alpha=alpha) for test in range(len(labels)))
    loss_spent = sum(loss_level(test + 1, alpha=alpha) for test in range(len(labels)))
    past = Past(attempts=len(labels), labels=tuple(labels), spent=spent)
    budgets = budgets_of_line(past, settings=chosen, loss_spent=loss_spent)
    assert improvement_level(labels, alpha=alpha) <= budgets["improvements"].left + 1e-12
    assert sum(budget.overdrawn for budget in budgets.values()) == 0
    assert budgets["improvements"].spent + budgets["improvements"].left == pytest.approx(alpha * max(0.5, sum(labels)))
    assert budgets["headlines"] == budgets["losses"]
    assert loss_level(len(labels) + 1, alpha=alpha) < budgets["losses"].left
    assert budgets["losses"].spent + budgets["losses"].left == pytest.approx(alpha)


def budget_after(registry: Registry, chosen: GateSettings, error: str) -> ErrorBudget:
    history = registry.state().history
    past = past_of(history, settings=chosen, registry=registry)
    loss_spent = loss_spent_of(history, settings=chosen, registry=registry)
    return budgets_of_line(past, settings=chosen, loss_spent=loss_spent)[error]


def test_what_was_spent_by_the_label_of_a_leaked_version_stays_spent() -> None:
    registry = open_line(MemoryStore())
    used = [end_night(registry, BY_LINE, published=number == 0) or 0.0 for number in range(4)]
    assert sum(used) == pytest.approx(0.034, abs=0.001)
    before = budget_after(registry, BY_LINE, "improvements")
    assert before.spent == pytest.approx(sum(used))
    assert before.overdrawn == 0
    registry.rollback(reason="it saw the target", actor="ada")
    registry.bar("v0001", reason="it saw the target", actor="ada", leaked=True)
    after = budget_after(registry, BY_LINE, "improvements")
    assert after.spent == pytest.approx(sum(used))
    assert after.left == 0
    assert after.overdrawn == pytest.approx(sum(used) - 0.025)


def test_what_was_spent_at_another_alpha_stays_spent() -> None:
    registry = open_line(MemoryStore())
    used = [end_night(registry, AT_ANOTHER_ALPHA, published=False) or 0.0 for _ in range(9)]
    assert budget_after(registry, BY_LINE, "improvements").spent == pytest.approx(sum(used))
    assert budget_after(registry, BY_LINE, "improvements").overdrawn == pytest.approx(sum(used) - 0.025)


def test_a_night_without_a_decision_spends_what_its_number_says() -> None:
    registry = open_line(MemoryStore())
    registry.record(EventKind.INSUFFICIENT, cycle_key="9" * 64, reason="given up", actor="night", detail={})
    assert budget_after(registry, BY_LINE, "improvements").spent == improvement_level([], alpha=0.05)
    assert budget_after(registry, BY_LINE, "losses").spent == loss_level(1, alpha=0.05)
    detail = {"decision": {"outcome": "FAIL", "loss_level": 0.0125}}
    registry.record(EventKind.REJECTED, cycle_key="8" * 64, reason="worse", actor="night", detail=detail)
    assert budget_after(registry, BY_LINE, "losses").spent == loss_level(1, alpha=0.05) + 0.0125


def test_a_line_has_a_budget_for_each_error_that_is_limited_over_its_life() -> None:
    none, all_three = (budgets_of_line(Past(), settings=chosen) for chosen in (BY_NIGHT, BY_LINE))
    assert none == {}
    assert {error: budget.spent for error, budget in all_three.items()} == {
        "improvements": 0,
        "headlines": 0,
        "losses": 0,
    }


@given(pasts, st.integers(0, 59))
def test_one_more_label_never_lowers_a_later_level(labels: list[bool], at: int) -> None:
    if at < len(labels):
        without, with_it = ([*labels[:at], label, *labels[at + 1 :]] for label in (False, True))
        assert improvement_level(with_it, alpha=0.05) >= improvement_level(without, alpha=0.05)


def test_years_without_a_label_spend_half_of_alpha_at_most() -> None:
    assert sum(improvement_level([False] * night, alpha=0.05) for night in range(2000)) <= 0.025


@pytest.mark.parametrize("better", [0.0, 0.2])
def test_of_the_labels_of_simulated_lines_few_are_false(better: float) -> None:
    rng, shares = random.Random(3), []
    for _ in range(200):
        labels, false = list[bool](), 0
        for _ in range(120):
            is_better = rng.random() < better
            p = rng.random() ** (12 if is_better else 1)
            labels.append(p <= improvement_level(labels, alpha=0.05))
            false += labels[-1] and not is_better
        shares.append(false / max(1, sum(labels)))
    assert sum(shares) / len(shares) <= 0.05


@settings(max_examples=30)
@given(st.lists(nights, max_size=12))
def test_no_change_of_the_settings_raises_a_level(line: list[tuple[GateSettings, bool]]) -> None:
    registry, judged, levels = open_line(MemoryStore()), list[bool](), list[float]()
    for chosen, published in line:
        level = end_night(registry, chosen, published=published)
        if level is None:
            continue
        assert level <= improvement_level(judged, alpha=chosen.alpha), "a line that its budget has always judged"
        judged.append(published)
        levels.append(level)
        assert sum(levels) <= AT_ANOTHER_ALPHA.alpha * max(1, sum(judged)) + 1e-12


def test_versions_of_nights_with_an_alpha_of_their_own_earn_nothing() -> None:
    registry = open_line(MemoryStore())
    for _ in range(5):
        end_night(registry, BY_NIGHT, published=True)
        end_night(registry, BY_NIGHT, published=False)
    assert level_after(registry, BY_LINE) == improvement_level([], alpha=0.05)
    assert past_of(registry.state().history, settings=BY_LINE, registry=registry).attempts == 10


def test_a_label_earns_at_the_alpha_at_which_it_was_given() -> None:
    registry = open_line(MemoryStore())
    end_night(registry, BY_LINE, published=True)
    assert level_after(registry, AT_ANOTHER_ALPHA) == improvement_level([False], alpha=0.1)
    end_night(registry, AT_ANOTHER_ALPHA, published=True)
    end_night(registry, BY_NIGHT, published=True)
    assert level_after(registry, BY_LINE) == improvement_level([True, False], alpha=0.05)
    assert level_after(registry, AT_ANOTHER_ALPHA) == improvement_level([False, True], alpha=0.1)


def test_the_label_of_a_version_that_leaked_is_none_from_then_on() -> None:
    registry = open_line(MemoryStore())
    for _ in range(2):
        end_night(registry, BY_LINE, published=True)
    registry.bar("v0001", reason="it saw the target", actor="ada", leaked=True)
    assert level_after(registry, BY_LINE) == improvement_level([False, True], alpha=0.05)
    registry.unbar("v0001", reason="it serves well", actor="ada")
    history = registry.state().history
    assert level_after(registry, BY_LINE) == improvement_level([False, True], alpha=0.05)
    assert past_of(history[:2], settings=BY_LINE, registry=registry).labels == (True, True)


def test_a_version_that_was_barred_for_another_reason_keeps_its_label() -> None:
    registry = open_line(MemoryStore())
    end_night(registry, BY_LINE, published=True)
    registry.rollback(reason="slow", actor="ada")
    assert level_after(registry, BY_LINE) == improvement_level([True], alpha=0.05)


def test_an_improvement_is_judged_at_the_level_that_is_given() -> None:
    plain, strict = (judge([IMPROVED], settings=GateSettings(), level=level) for level in (None, 1e-30))
    assert plain.outcome is not strict.outcome or strict.outcome is Outcome.INSUFFICIENT
    assert "improved" in " ".join(plain.reasons)
    assert "improvement inconclusive" in " ".join(strict.reasons)
    assert "the level 1e-30" in strict.reasons[-1]
    assert Decision.from_dict(json.loads(strict.to_json())) == strict
    assert "level" not in plain.to_dict(), "the bytes of a decision without one stay as they were"
