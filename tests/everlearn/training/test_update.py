"""Several optimizer steps on the answers of one step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from everlearn.domains.contract import load_domain
from everlearn.ladder.tree import Ladder
from everlearn.problem import Problem, Ruling, Verdict
from everlearn.settings import ComputeSettings, LearnSettings
from everlearn.training.engines.decode import decode
from everlearn.training.grpo import advantages, policy_loss, token_weights
from everlearn.training.models.llama import token_logprobs
from everlearn.training.models.policy import load_policy
from everlearn.training.rollouts import Group
from everlearn.training.training_run import start_run
from everlearn.training.update import update
from tests.support.adapters import shake
from tests.support.tokens import end_of, tokens_of

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.training.training_run import TrainingRun

PROBLEM = Problem(id="", domain="integration", statement="x^2")
RULINGS = (Ruling.CORRECT, Ruling.WRONG, Ruling.WRONG, Ruling.CORRECT)


def begin(base: Path, *, updates: int, policy: str = "fast", **learn: float) -> TrainingRun:
    settings = LearnSettings(group=4, warmup=1, decay=1.0, rate=0.01, updates=updates, tokens=20, bf16=False)
    compute = ComputeSettings.model_validate({"policy": policy})
    loaded = shake(load_policy(base, rank=4, alpha=8, compute=compute), seed=1, size=0.1)
    settings = settings.model_copy(update=learn)
    run = start_run(loaded, Ladder(), domain=load_domain("integration"), settings=settings, seed=1)
    run.step = 1
    return run


def groups_of(run: TrainingRun) -> list[Group]:
    """Return sampled groups, half of whose answers count as right."""
    prompts = [tokens_of(run.policy, text) for text in ("x^2", "3*x", "sin(x)")]
    drawn = decode(run.policy.snapshot(), prompts, group=4, seeds=range(12), stops={end_of(run.policy)}, limit=8)
    verdicts = [Verdict(ruling=ruling, reason="") for ruling in RULINGS]
    return [
        Group(problem=PROBLEM, prompt=prompt, completions=rows, answers=["x"] * 4, verdicts=verdicts)
        for prompt, rows in zip(prompts, drawn, strict=True)
    ]


def expected_parameters(run: TrainingRun, groups: list[Group], *, updates: int) -> list[torch.Tensor]:
    """Return A and B after that many plain optimizer steps, all answers in one batch."""
    rows = [row for group in groups for row in group.completions]
    prompts, ids = [group.prompt for group in groups], [row.ids for row in rows]
    gain = advantages(torch.tensor([group.rewards for group in groups])).flatten()
    old = torch.zeros(())
    for number in range(updates):
        new, mask = token_logprobs(run.policy.trained(run.policy.snapshot()), prompts, ids)
        if not number:
            old, sampler = new.detach(), torch.zeros(mask.shape)
            sampler[mask] = torch.tensor([score for row in rows for score in row.logprobs])
        weights = token_weights(mask.sum(1), settings=run.settings, answers=len(rows), tokens=int(mask.sum()))
        (policy_loss(new, old, sampler, gain, mask=mask, settings=run.settings) * weights).sum().backward()
        torch.nn.utils.clip_grad_norm_(run.policy.parameters(), run.settings.max_norm)
        for entry in run.optimizer.param_groups:
            entry["lr"] = run.settings.rate
        run.optimizer.step()
        run.optimizer.zero_grad(set_to_none=True)
    return [parameter.detach() for parameter in run.policy.parameters()]


@pytest.mark.parametrize("policy", ["fast", "hub"])
def test_each_update_of_a_step_compares_with_the_policy_before_the_first(tiny: Path, policy: str) -> None:
    run, other = (begin(tiny, updates=3, policy=policy) for _ in range(2))
    groups = groups_of(run)
    update(run, groups, model=run.policy.snapshot(), budget_used=0.0)
    for found, expected in zip(run.policy.parameters(), expected_parameters(other, groups, updates=3), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_answers_outside_the_clip_teach_nothing_more(tiny: Path) -> None:
    """Every ratio has left a clip of no width, so that one half of the gradient is zero."""
    once, twice = (begin(tiny, updates=updates, clip_low=1e-9, clip_high=1e-9) for updates in (1, 2))
    groups = groups_of(once)
    norms: list[float] = []

    def record(optimizer: torch.optim.Optimizer, *_: object) -> None:
        norms.append(sum(float(each.grad.abs().sum()) for each in twice.policy.parameters() if each.grad is not None))

    twice.optimizer.register_step_pre_hook(record)
    losses = [update(run, groups, model=run.policy.snapshot(), budget_used=0.0) for run in (once, twice)]
    assert losses[0] == losses[1]  # the loss of a step is that before its first update
    assert len(norms) == 2
    assert norms[1] < norms[0]


def test_a_gradient_that_is_not_finite_ends_the_updates_of_a_step(tiny: Path) -> None:
    run = begin(tiny, updates=3)
    groups = groups_of(run)
    before = [parameter.detach().clone() for parameter in run.policy.parameters()]
    groups[0].completions[0].logprobs[0] = float("nan")
    update(run, groups, model=run.policy.snapshot(), budget_used=0.0)
    assert run.stopped == "non-finite gradient"
    assert all(torch.equal(one, other) for one, other in zip(before, run.policy.parameters(), strict=True))
