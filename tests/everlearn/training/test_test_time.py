"""Test-time training: a verified answer or none, within the budget, and nothing of the policy changes."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from everlearn.domains.contract import load_domain
from everlearn.domains.integration.term_sums import draw_sum
from everlearn.problem import Ruling, Verdict
from everlearn.settings import Settings
from everlearn.training.models.fingerprint import fingerprint
from everlearn.training.test_time import Budget, By, Solution, solve

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.domains.contract import Domain

DOMAIN = load_domain("integration")
LONG = draw_sum(random.Random(6), size=10)


def solved(statement: str, base: Path, **budget: float) -> Solution:
    made = Budget(**{"cpu_seconds": 600.0, **budget})  # type: ignore[arg-type]
    return solve(DOMAIN.stated(statement), base=base, adapter=None, settings=Settings(), budget=made)


def test_what_the_policy_answers_at_once_costs_one_completion(shipped: Path) -> None:
    solution = solved("2*x", shipped)
    assert (solution.by, solution.rollouts, solution.steps) == (By.GREEDY, 1, 0)
    assert DOMAIN.verify(DOMAIN.stated("2*x"), solution.answer or "").is_correct


def test_a_problem_is_solved_by_climbing_and_the_base_stays_as_it_is(shipped: Path) -> None:
    before = fingerprint(shipped)
    solution = solved(LONG, shipped, samples=1, rollouts=2500)
    assert solution.by is By.TRAINING, "ten terms: neither the greedy answer nor one sample was right"
    assert solution.answer is not None
    assert DOMAIN.recheck(DOMAIN.stated(LONG), solution.answer).is_correct
    assert solution.rungs > 1
    assert solution.steps >= 1
    assert fingerprint(shipped) == before
    assert solved("2*x", shipped).by is By.GREEDY


def test_an_unsolved_problem_ends_with_its_budget(shipped: Path) -> None:
    solution = solved("tan(x)", shipped, samples=4, rollouts=40)
    assert solution.answer is None
    assert solution.by is None
    assert solution.rollouts >= 40
    assert solution.to_content()["by"] is None


def test_seconds_end_it_too(shipped: Path) -> None:
    assert solved("tan(x)", shipped, cpu_seconds=0.01, trains=False).rollouts <= 17


def test_an_answer_that_the_second_judgement_contradicts_is_no_answer(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(domain: Domain, problem: object, answer: str, *, digits: int = 50) -> Verdict:
        return Verdict(ruling=Ruling.WRONG, reason="not at 50 digits")

    monkeypatch.setattr(type(DOMAIN), "recheck", refuse)
    solution = solved("2*x", shipped, samples=3, rollouts=6, trains=False)
    assert solution.answer is None
    assert solution.contradicted >= 1


@pytest.mark.slow
def test_the_same_budget_of_rollouts_gives_the_same_result(shipped: Path) -> None:
    once, again = (solved(LONG, shipped, samples=2, rollouts=500) for _ in range(2))
    assert (once.answer, once.rollouts, once.rungs, once.steps) == (
        again.answer,
        again.rollouts,
        again.rungs,
        again.steps,
    )
