"""Guards that stop a training, and the weights that remain."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
import torch

from everlearn.domains.contract import load_domain
from everlearn.ladder.tree import Ladder
from everlearn.settings import LadderSettings, LearnSettings
from everlearn.training import guards
from everlearn.training.guards import RolloutStatistics, rollout_statistics, triggered_guard
from everlearn.training.job import TrainingJob
from everlearn.training.ladder_growth import plant
from everlearn.training.models.llama import Model, token_logprobs
from everlearn.training.models.policy import load_policy
from everlearn.training.train_step import sample_rollouts, train_step
from everlearn.training.trainer import train
from everlearn.training.training_run import TrainingRun, start_run

if TYPE_CHECKING:
    from pathlib import Path

DOMAIN = load_domain("integration")
STATEMENTS = ["3*x^2 - sin(2*x)", "exp(x) + 1/(x+1)", "x*cos(x) - 2*x + 5", "4/x^3 - cos(3*x)"]
GOOD = RolloutStatistics(kl=0.1, entropy=0.5, length=20.0, unended=0.1, right=0.3)
SETTINGS = LearnSettings(steps=4, prompts=3, group=4, warmup=1, temperature=1.3)


@pytest.fixture
def run(shipped: Path) -> TrainingRun:
    ladder = plant(STATEMENTS, domain=DOMAIN, forbidden=frozenset())
    return start_run(load_policy(shipped, rank=4), ladder, domain=DOMAIN, settings=SETTINGS, seed=1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kl": float("nan")}, "non-finite"),
        ({"entropy": float("inf")}, "non-finite"),
        ({"kl": 3.5}, "3.50 nats a token away from its start; max_kl is 3"),
        ({"entropy": 0.0004}, "entropy fell to 0.0004 nats a token with 30% right"),
        ({"unended": 0.65}, "65% of the answers do not end, 10% at the start"),
    ],
)
def test_a_guard_names_the_value_and_its_limit(change: dict[str, float], reason: str) -> None:
    assert reason in str(triggered_guard(dataclasses.replace(GOOD, **change), first=GOOD, settings=SETTINGS))


def test_no_guard_stops_a_good_or_a_certain_and_right_policy() -> None:
    certain = dataclasses.replace(GOOD, entropy=1e-5, right=0.97)
    assert triggered_guard(GOOD, first=GOOD, settings=SETTINGS) is None
    assert triggered_guard(certain, first=GOOD, settings=SETTINGS) is None


@pytest.mark.parametrize("memory_gib", [1e-6, 0.01, 4.0])
def test_the_divergence_is_the_same_in_batches_that_fit(
    memory_gib: float, run: TrainingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = sample_rollouts(run).groups
    whole = rollout_statistics(groups, start=run.start, settings=SETTINGS)
    rows: list[int] = []

    def counted(model: Model, prompts: list[list[int]], answers: list[list[int]], *, temperature: float) -> Any:
        rows.append(len(answers))
        return token_logprobs(model, prompts, answers, temperature=temperature)

    monkeypatch.setattr(guards, "token_logprobs", counted)
    small = SETTINGS.model_copy(update={"memory_gib": memory_gib})
    assert rollout_statistics(groups, start=run.start, settings=small).kl == pytest.approx(whole.kl, abs=1e-6)
    assert (len(rows) > 1) == (memory_gib < 0.1)
    assert sum(rows) == sum(len(group.completions) for group in groups[: guards.KL_GROUPS])


def test_a_stopped_policy_returns_to_its_newest_good_weights(run: TrainingRun) -> None:
    train_step(run, budget_used=0.0)
    good = [tensor.clone() for tensor in run.good]
    trained = run.parameters()
    assert not all(map(torch.equal, trained, good))
    with torch.no_grad():
        for tensor in run.policy.parameters():
            tensor.mul_(30.0)
    point = train_step(run, budget_used=0.25)
    assert point.stopped
    assert run.stopped == point.stopped
    assert run.step == 1
    assert all(map(torch.equal, run.parameters(), good))


def test_a_non_finite_gradient_changes_nothing(run: TrainingRun) -> None:
    before = run.parameters()
    for tensor in run.policy.parameters():
        tensor.register_hook(lambda gradient: gradient * torch.nan)
    point = train_step(run, budget_used=0.0)
    assert point.stopped == "non-finite gradient"
    assert all(map(torch.equal, run.parameters(), before))


def test_a_stopped_training_stays_stopped_and_leaves_an_adapter(shipped: Path, tmp_path: Path) -> None:
    ladder = plant(STATEMENTS, domain=DOMAIN, forbidden=frozenset())
    settings = SETTINGS.model_copy(update={"max_kl": 1e-9, "rate": 0.05})
    job = TrainingJob(
        base=shipped,
        adapter=None,
        ladder=ladder,
        workdir=tmp_path,
        settings=settings,
        ladder_settings=LadderSettings(rollouts=1),
        seed=2,
        threads=1,
    )
    for _ in range(2):
        trained = train(job)
        assert "nats a token away from its start" in str(trained.curve[-1].stopped)
        assert trained.curve[-1].step < settings.steps
        assert (trained.adapter / "adapter_model.safetensors").is_file()
    assert isinstance(trained.ladder, Ladder)
