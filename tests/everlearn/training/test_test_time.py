"""Test-time training: a verified answer or none, within the budget, and nothing of the policy changes."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from safetensors.torch import load_file, save_file

from everlearn.domains.contract import load_domain
from everlearn.domains.integration.term_sums import draw_sum
from everlearn.errors import ModelError
from everlearn.problem import Ruling, Verdict
from everlearn.settings import FormatSettings, Settings
from everlearn.training import test_time
from everlearn.training.job import PSEUDO
from everlearn.training.models.fingerprint import fingerprint
from everlearn.training.models.formats.chat import ChatFormat
from everlearn.training.models.policy import load_policy
from everlearn.training.test_time import Budget, By, Solution, equal_rollouts, solve, solve_beside
from everlearn.training.train_step import train_step
from tests.support.chat_models import write_model as write_chat_model
from tests.support.tiny_models import write_model
from tests.support.tokens import end_of

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.domains.contract import Domain
    from everlearn.training.training_run import TrainingRun

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
    solution = solved("tan(x)", shipped, samples=20, rollouts=40)
    assert solution.answer is None
    assert solution.by is None
    assert solution.rollouts == 40
    assert solution.to_content()["by"] is None


def test_a_limit_of_seconds_ends_a_search(shipped: Path) -> None:
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


@pytest.mark.parametrize("statement", ["numbers: What is 2 + 2?", "arithmetic: 2 + 2"])
def test_in_a_mixture_only_a_domain_that_has_a_second_judgement_gives_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    monkeypatch.setattr(ChatFormat, "answer", lambda *_: "4")
    mixture = load_domain("arithmetic+numbers")
    solution = solve(
        mixture.problem({"statement": statement, "reference": "4"}),
        base=write_chat_model(tmp_path / "base"),
        adapter=None,
        settings=Settings(domain=mixture.name, format=FormatSettings(name="chat", max_tokens=8)),
        budget=Budget(cpu_seconds=600.0, rollouts=2, trains=False),
    )
    assert (solution.answer, solution.by, solution.contradicted) == ("4", By.GREEDY, 0)


def test_a_limit_of_tokens_ends_a_search(shipped: Path) -> None:
    solution = solved("tan(x)", shipped, samples=2, tokens=1, trains=False)
    assert solution.rollouts == 1, "the greedy answer alone has used them"
    assert solution.tokens >= 1


@pytest.mark.parametrize("trains", [False, True])
def test_a_problem_that_fills_the_context_has_no_answer_and_ends_no_command(tmp_path: Path, *, trains: bool) -> None:
    form = FormatSettings(name="chat", max_tokens=8, system="a" * 3000)
    solution = solve(
        load_domain("arithmetic").stated("9 + 8"),
        base=write_chat_model(tmp_path / "base"),
        adapter=None,
        settings=Settings(domain="arithmetic", format=form),
        budget=Budget(cpu_seconds=600.0, trains=trains),
    )
    assert (solution.answer, solution.rollouts, solution.tokens, solution.steps) == (None, 1, 0, 0)


def test_what_a_stopped_training_leaves_of_the_budget_is_sampled(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RUNGS", "BREADTH", "TRIES"):
        monkeypatch.setattr(test_time, name, 1)
    monkeypatch.setattr("everlearn.training.train_step.triggered_guard", lambda *_, **__: "entropy fell")
    solution = solved("tan(x)", shipped, samples=16, tokens=4000)
    assert (solution.answer, solution.steps) == (None, 0)
    assert solution.tokens >= 4000


@pytest.mark.parametrize("mark", [{}, {PSEUDO: "majority"}], ids=["judged", "majority"])
def test_a_right_answer_to_the_problem_in_a_training_step_ends_the_search(
    shipped: Path, monkeypatch: pytest.MonkeyPatch, mark: dict[str, str]
) -> None:
    right = "-log(abs(cos(x)))"

    def lucky(run: TrainingRun, *, budget_used: float) -> None:
        train_step(run, budget_used=budget_used)
        run.rewarded += [{"statement": "tan(x)", "answer": right} | mark, {"statement": "2*x", "answer": "x^2"}]

    for name in ("RUNGS", "BREADTH", "TRIES"):
        monkeypatch.setattr(test_time, name, 1)
    monkeypatch.setattr(test_time, "train_step", lucky)
    solution = solved("tan(x)", shipped, samples=1, tokens=4000)
    assert (solution.answer, solution.by) == ((None, None) if mark else (right, By.TRAINING))


def test_a_comparison_has_as_many_rollouts(shipped: Path) -> None:
    budget = Budget(cpu_seconds=600.0, rollouts=2, samples=1)
    problem = DOMAIN.stated("tan(x)")
    arms = solve_beside(problem, base=shipped, adapter=None, settings=Settings(), budget=budget, rollouts=17)
    assert {arm: (each.by, each.rollouts) for arm, each in arms.items()} == {"samples": (None, 17), "both": (None, 17)}
    assert arms["both"].rungs == 0, "eight rollouts pay for no ladder"


def test_a_ladder_is_as_large_as_the_rollouts_pay_for(shipped: Path) -> None:
    small, larger = (solved("tan(x)", shipped, samples=20, rollouts=rollouts) for rollouts in (300, 420))
    assert (small.answer, small.rollouts, larger.rollouts) == (None, 300, 420), "no more and no fewer"
    assert 1 < small.rungs < larger.rungs < test_time.RUNGS
    assert min(small.steps, larger.steps) >= 1


def test_equal_rollouts_are_no_limit_of_seconds_or_tokens() -> None:
    budgets = equal_rollouts(Budget(cpu_seconds=20.0, tokens=500, samples=16), 400)
    assert budgets == {
        "samples": Budget(cpu_seconds=600.0, rollouts=400, trains=False),
        "both": Budget(cpu_seconds=600.0, rollouts=400, samples=200),
    }


def test_a_base_that_the_adapter_was_not_trained_on_is_refused(shipped: Path, tiny: Path) -> None:
    with pytest.raises(
        ModelError, match="not those that the adapter was trained on: restore them, or solve with the base"
    ):
        solve(
            DOMAIN.stated("tan(x)"),
            base=shipped,
            adapter=None,
            settings=Settings(),
            budget=Budget(),
            identity=fingerprint(tiny),
        )


def test_a_silent_fault_is_refused_before_the_first_gradient(tmp_path: Path) -> None:
    base = write_model("phi, bias of the head", tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    weights["lm_head.bias"][end_of(load_policy(base))] = -1e9
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    settings = Settings(domain="arithmetic", format=FormatSettings(name="chat", max_tokens=8))
    problem = load_domain("arithmetic").stated("9 + 8")
    with pytest.raises(ModelError, match="is masked: the model can never end an answer"):
        solve(problem, base=base, adapter=None, settings=settings, budget=Budget(cpu_seconds=600.0, samples=1))


@pytest.mark.slow
def test_the_same_budget_of_rollouts_gives_the_same_result(shipped: Path) -> None:
    once, again = (solved(LONG, shipped, samples=2, rollouts=500) for _ in range(2))
    assert (once.answer, once.rollouts, once.rungs, once.steps) == (
        again.answer,
        again.rollouts,
        again.rungs,
        again.steps,
    )
