"""The training loop's one step: choose rungs, sample and verify answers, take one GRPO step."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from everlearn.curriculum import Curriculum
from everlearn.ladder import CurvePoint, digest_of
from everlearn.learn.grpo import advantages, divergence, policy_loss, token_weights
from everlearn.learn.llama import token_logprobs
from everlearn.learn.rollout import attempt, batches, seed_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.domains import Domain
    from everlearn.ladder import Ladder
    from everlearn.learn.llama import Llama
    from everlearn.learn.policy import Policy
    from everlearn.learn.rollout import Group
    from everlearn.settings import LearnSettings


def cpu_seconds() -> float:
    """CPU time of this process and of its children that ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def has_fast_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices faster than float32 ones (AMX)."""
    return bool(torch.cpu._is_amx_tile_supported())  # noqa: SLF001 (no public name for it yet)


@dataclass(slots=True, kw_only=True)
class Run:
    """Everything that one optimizer step reads and changes."""

    policy: Policy
    parent: Llama | None
    ladder: Ladder
    replay: dict[str, str]
    domain: Domain
    settings: LearnSettings
    curriculum: Curriculum
    optimizer: torch.optim.Optimizer
    seed: int
    bf16: bool
    step: int = 0
    spent: float = 0.0
    curve: list[CurvePoint] = field(default_factory=list)
    rewarded: list[dict[str, str]] = field(default_factory=list)

    def statement(self, digest: str) -> str:
        """The problem with that digest, of tonight's ladder or of an earlier night's."""
        return self.ladder.rungs[digest].statement if digest in self.ladder.rungs else self.replay[digest]

    def refill(self) -> None:
        """Sort what can be drawn into size classes, after the ladder has grown."""
        classes: dict[int, list[str]] = {}
        for digest in [*self.ladder.rungs, *self.replay]:
            classes.setdefault(self.domain.size(self.statement(digest)), []).append(digest)
        self.curriculum.classes = classes


def begin(
    policy: Policy, ladder: Ladder, *, domain: Domain, settings: LearnSettings, seed: int, replay: Sequence[str] = ()
) -> Run:
    """A run at step 0. The curriculum starts from the pass rates that the ladder brings."""
    curriculum = Curriculum(
        classes={}, replay=settings.replay, frontier=settings.frontier, uniform=settings.curriculum == "uniform"
    )
    for rung in ladder.rungs.values():
        curriculum.count(domain.size(rung.statement), rollouts=rung.rollouts, passed=rung.passed)
    bf16 = has_fast_bf16() if settings.bf16 is None else settings.bf16
    run = Run(
        policy=policy,
        parent=policy.merged(bf16=bf16) if settings.kl else None,
        ladder=ladder,
        replay={digest_of(domain.canonical(statement)): statement for statement in replay},
        domain=domain,
        settings=settings,
        curriculum=curriculum,
        optimizer=torch.optim.AdamW(policy.parameters(), lr=settings.rate, betas=(0.9, 0.99), weight_decay=0.0),
        seed=seed,
        bf16=bf16,
    )
    run.refill()
    return run


def advance(run: Run, *, done: float) -> CurvePoint:
    """One step: rollouts, update, curve. `done` is the share of the budget that is spent, for the schedule."""
    started, settings = cpu_seconds(), run.settings
    rng = random.Random(seed_of(run.seed, "choose", run.step))
    chosen = run.curriculum.choose(rng, count=settings.prompts)
    model = run.policy.merged(bf16=run.bf16)
    groups = attempt(
        run.policy, model, [run.statement(digest) for digest in chosen],
        domain=run.domain, group=settings.group, seed=seed_of(run.seed, run.step), temperature=settings.temperature,
    )  # fmt: skip
    outcomes = _outcomes(run, groups)
    run.curriculum.learn(outcomes)
    useful = [group for group in groups if 0 < group.passed < len(group.answers)]
    loss, kl = update(run, useful, model=model, done=done) if useful else (0.0, 0.0)
    run.step += 1
    run.spent += cpu_seconds() - started
    point = CurvePoint(
        step=run.step,
        cpu_seconds=run.spent,
        reward=sum(group.passed for group in groups) / sum(len(group.answers) for group in groups),
        groups_used=len(useful),
        groups_sampled=len(groups),
        kl=kl,
        loss=loss,
        pass_by_size={size: passed / tried for size, (tried, passed) in sorted(outcomes.items())},
    )
    run.curve.append(point)
    return point


def _outcomes(run: Run, groups: Sequence[Group]) -> dict[int, tuple[int, int]]:
    """(rollouts, passes) by size class; what earned a reward goes on the record."""
    outcomes: dict[int, tuple[int, int]] = {}
    for group in groups:
        size = run.domain.size(group.statement)
        tried, passed = outcomes.get(size, (0, 0))
        outcomes[size] = (tried + len(group.answers), passed + group.passed)
        judged = zip(group.answers, group.verdicts, strict=True)
        right = dict.fromkeys(answer for answer, verdict in judged if verdict.is_correct)
        run.rewarded += [{"statement": group.statement, "answer": answer} for answer in right]
    return outcomes


def rate_at(done: float, *, step: int, settings: LearnSettings) -> float:
    """The learning rate: a warm-up by steps, then a straight line down to the share `settings.decay` of it."""
    warm = min(1.0, (step + 1) / settings.warmup)
    return settings.rate * warm * (1 - (1 - settings.decay) * min(1.0, done))


def update(run: Run, groups: list[Group], *, model: Llama, done: float) -> tuple[float, float]:
    """One optimizer step on the informative groups; returns the loss and the divergence from the parent.

    `model` is the policy's merged copy, as it is before the step.
    """
    settings = run.settings
    answers = settings.group * len(groups)
    tokens = sum(len(completion.ids) for group in groups for completion in group.completions)
    lengths = [settings.group * max(len(row.ids) for row in group.completions) for group in groups]
    loss_sum = kl_sum = 0.0
    for batch in batches(lengths, budget=settings.tokens):
        loss, kl = _loss(run, [groups[index] for index in batch], model=model, answers=answers, tokens=tokens)
        (loss + settings.kl * kl).backward()
        loss_sum, kl_sum = loss_sum + float(loss.detach()), kl_sum + float(kl.detach())
    torch.nn.utils.clip_grad_norm_(run.policy.parameters(), settings.max_norm)
    for entry in run.optimizer.param_groups:
        entry["lr"] = rate_at(done, step=run.step, settings=settings)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    return loss_sum, kl_sum


def _loss(
    run: Run, groups: list[Group], *, model: Llama, answers: int, tokens: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """What one batch of groups adds to the step's surrogate loss and to its divergence."""
    settings = run.settings
    rows = [completion for group in groups for completion in group.completions]
    prompts, ids = [group.prompt for group in groups], [row.ids for row in rows]
    rewards = torch.tensor([group.rewards for group in groups])
    gain = advantages(rewards, scaled=settings.scale_rewards).flatten()
    new, mask = token_logprobs(run.policy.trained(model), prompts, ids, temperature=settings.temperature)
    sampler = torch.zeros_like(new)
    for index, row in enumerate(rows):
        sampler[index, : len(row.logprobs)] = torch.tensor(row.logprobs)
    weights = token_weights(mask.sum(1), settings=settings, answers=answers, tokens=tokens)
    loss = (policy_loss(new, new.detach(), sampler, gain, mask=mask, settings=settings) * weights).sum()
    if run.parent is None:
        return loss, torch.zeros(())
    with torch.no_grad():
        reference, _ = token_logprobs(run.parent, prompts, ids, temperature=settings.temperature)
    return loss, (divergence(new, new.detach(), reference, mask=mask) * weights).sum()
