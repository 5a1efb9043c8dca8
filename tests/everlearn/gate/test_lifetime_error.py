"""The error budget of a line: it is never overspent, a label earns, and few labels are false."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.gate.decision import Decision, Outcome, judge
from everlearn.gate.lifetime_error import (
    budgets_of_line,
    improvement_budget,
    improvement_level,
    lifetime_budget,
    loss_level,
)
from everlearn.settings import GateSettings
from tests.support.paired_suites import IMPROVED

BY_LINE = GateSettings(improvement_error="line", loss_error="line")
pasts = st.lists(st.booleans(), max_size=60)


@given(pasts, st.floats(0.001, 0.4))
def test_a_level_is_positive_and_at_most_alpha(labels: list[bool], alpha: float) -> None:
    assert 0 < improvement_level(labels, alpha=alpha) <= alpha


@given(pasts)
def test_the_levels_so_far_are_paid_for(labels: list[bool]) -> None:
    spent = sum(improvement_level(labels[:night], alpha=0.05) for night in range(len(labels) + 1))
    assert spent <= 0.05 * max(1, sum(labels) + 1), "LORD++: levels so far, over labels so far, are at most alpha"


@given(pasts, st.floats(0.001, 0.4))
def test_a_budget_always_pays_for_the_next_test(labels: list[bool], alpha: float) -> None:
    budget = improvement_budget(labels, alpha=alpha)
    assert improvement_level(labels, alpha=alpha) <= budget.left + 1e-12
    assert budget.spent + budget.left == pytest.approx(alpha * max(0.5, sum(labels)))
    lifetime = lifetime_budget(len(labels), alpha=alpha)
    assert loss_level(len(labels) + 1, alpha=alpha) < lifetime.left
    assert lifetime.spent + lifetime.left == pytest.approx(alpha)


def test_a_line_has_a_budget_for_each_error_that_is_limited_over_its_life() -> None:
    none, all_three = (budgets_of_line((), settings=settings) for settings in (GateSettings(), BY_LINE))
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


def test_an_improvement_is_judged_at_the_level_that_is_given() -> None:
    plain, strict = (judge([IMPROVED], settings=GateSettings(), level=level) for level in (None, 1e-30))
    assert plain.outcome is not strict.outcome or strict.outcome is Outcome.INSUFFICIENT
    assert "improved" in " ".join(plain.reasons)
    assert "improvement inconclusive" in " ".join(strict.reasons)
    assert "the level 1e-30" in strict.reasons[-1]
    assert Decision.from_dict(json.loads(strict.to_json())) == strict
    assert "level" not in plain.to_dict(), "the bytes of a decision without one stay as they were"
