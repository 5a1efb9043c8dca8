"""The update of a step: the GRPO loss on batches that fit into memory, and one optimizer step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from everlearn.training.anchors import add_anchor_gradient
from everlearn.training.engines import collectives
from everlearn.training.grpo import advantages, divergence, policy_loss, token_weights
from everlearn.training.memory_plan import plan
from everlearn.training.models.llama import token_logprobs
from everlearn.training.rollouts import batches

if TYPE_CHECKING:
    from everlearn.settings import LearnSettings
    from everlearn.training.models.llama import Model
    from everlearn.training.rollouts import Group
    from everlearn.training.training_run import TrainingRun


def learning_rate(budget_used: float, *, step: int, settings: LearnSettings) -> float:
    """Return the learning rate: a linear warm-up by steps, then linear decay to the share `settings.decay`."""
    warm = min(1.0, (step + 1) / settings.warmup)
    return settings.rate * warm * (1 - (1 - settings.decay) * min(1.0, budget_used))


def update(run: TrainingRun, groups: list[Group], *, model: Model, budget_used: float) -> float:
    """Take `updates` optimizer steps on the groups and return the loss of the first. `model` is the policy merged before.

    Several processes share the groups and sum their gradients. A non-finite gradient changes nothing and stops the run.
    """
    settings = run.settings
    mine = collectives.share(sorted(groups, key=longest_answer))
    lengths = [settings.group * longest_answer(group) for group in mine]
    prompt = max(len(group.prompt) for group in groups)
    cut = plan(model, longest=max(map(longest_answer, groups)) * settings.group, prompt=prompt, settings=settings)
    parts = [_Part(groups=[mine[index] for index in batch]) for batch in batches(lengths, budget=cut.tokens)]
    counts = {
        "answers": settings.group * len(groups),
        "tokens": sum(len(completion.ids) for group in groups for completion in group.completions),
    }
    losses = []
    for number in range(settings.updates):
        snapshot = run.policy.snapshot(bf16=run.bf16) if number else model
        trained, total = run.policy.trained(snapshot, checkpointing=cut.checkpointing), 0.0
        for part in parts:
            # The loss is normalized by the whole step's answers and tokens, so the batches' gradients simply add up.
            loss = _loss(run, part, model=trained, **counts)
            loss.backward()
            total += float(loss.detach())
        if settings.anchor_kl and run.anchors:
            total += add_anchor_gradient(run, model=snapshot)
        losses.append(total)
        _step_optimizer(run, budget_used=budget_used)
        if run.stopped is not None:
            break
    return sum(collectives.gather(losses[:1]))


def _step_optimizer(run: TrainingRun, *, budget_used: float) -> None:
    """Sum the gradients of all processes, clip them and change the parameters; stop the run where they are not finite."""
    collectives.add_gradients(run.policy.parameters())
    norm = torch.nn.utils.clip_grad_norm_(run.policy.parameters(), run.settings.max_norm)
    if torch.isfinite(norm):
        for entry in run.optimizer.param_groups:
            entry["lr"] = learning_rate(budget_used, step=run.step - 1, settings=run.settings)
        run.optimizer.step()
    else:
        run.stopped = "non-finite gradient"
    run.optimizer.zero_grad(set_to_none=True)


def longest_answer(group: Group) -> int:
    """Return the number of tokens of the group's longest answer."""
    return max(len(row.ids) for row in group.completions)


@dataclass(slots=True, kw_only=True)
class _Part:
    """Groups of one batch. `old`, (answers, tokens): their log-probabilities before the first update of the step."""

    groups: list[Group]
    old: torch.Tensor | None = None


def _loss(run: TrainingRun, part: _Part, *, model: Model, answers: int, tokens: int) -> torch.Tensor:
    """Return the part of the step's loss that one batch of groups adds, divergence from the start included."""
    settings, groups = run.settings, part.groups
    rows = [completion for group in groups for completion in group.completions]
    prompts, ids = [group.prompt for group in groups], [row.ids for row in rows]
    rewards = torch.tensor([group.learned for group in groups])
    gain = advantages(rewards, scaled=settings.scale_rewards).flatten()
    new, mask = token_logprobs(model, prompts, ids, temperature=settings.temperature)
    # In the first update of a step, the policy before it is the policy being differentiated.
    old = part.old = new.detach() if part.old is None else part.old
    sampler = torch.zeros(mask.shape)
    sampler[mask] = torch.tensor([score for row in rows for score in row.logprobs])
    loss = policy_loss(new, old, sampler, gain, mask=mask, settings=settings)
    if settings.kl:
        with torch.no_grad():
            reference, _ = token_logprobs(run.start, prompts, ids, temperature=settings.temperature)
        loss = loss + settings.kl * divergence(new, old, reference, mask=mask)
    return (loss * token_weights(mask.sum(1), settings=settings, answers=answers, tokens=tokens)).sum()
