"""Supervised fine-tuning on reference answers: the first stage of a night on rows that have some.

An answer is used only if the domain judges it right as the completion of the model that it would be, and if it ends
within the limit of tokens. The loss is the mean negative log-likelihood of the answer's tokens, its end included, and
of nothing in the prompt. The order of the rows is a function of the seed.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

import torch

from everlearn.domains.contract import load_domain
from everlearn.errors import SettingsError
from everlearn.training.engines.decode import Completion
from everlearn.training.gpu import device_time
from everlearn.training.job import FineTuned
from everlearn.training.memory_plan import keep_freed_memory, plan_single_answers
from everlearn.training.models.base_checks import NO_WORDS
from everlearn.training.models.formats.chat import ChatFormat
from everlearn.training.models.formats.format_choice import choose_format
from everlearn.training.models.llama import token_logprobs
from everlearn.training.models.policy import load_policy
from everlearn.training.preflight import check_identity, check_policy, check_saved
from everlearn.training.rollouts import Solver, batches, seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everlearn.problem import Problem
    from everlearn.training.job import SupervisedJob
    from everlearn.training.models.policy import Policy

LOG = logging.getLogger("everlearn.learn")
WARM = 0.1
"""Share of the steps in which the learning rate rises; after them it falls to nothing."""

Pair = tuple[list[int], list[int]]
"""The tokens of a prompt and of its answer."""


def learn_answers(job: SupervisedJob, *, on_step: Callable[[int, int, str], None] = lambda *_: None) -> FineTuned:
    """Train a copy of the parent's adapter on the reference answers of the job's problems.

    The result is the same, bit for bit on one machine, whenever it is called.

    Args:
        job: the input.
        on_step: called after each step with its number, the number of steps, and the loss in words.

    Raises:
        SettingsError: the model is addressed in the format `marked`, which has no answers in words.
        ModelError: the base or the adapter cannot be used, or a check finds a silent fault (`preflight`).
    """
    keep_freed_memory()
    torch.set_num_threads(job.threads)
    check_identity(job.base, job.base_identity)
    seed, domain = job.learn.seed, load_domain(job.problems[0].domain)
    policy = load_policy(
        job.base, job.adapter, rank=job.learn.rank, alpha=job.learn.alpha, seed=seed, compute=job.compute
    )
    form = choose_format(policy, domain, job.form)
    solver = Solver(policy=policy, model=policy.snapshot(), domain=domain, form=form)
    check_policy(solver, job.problems)
    pairs = demonstrations(solver, job.problems)
    refused = sum(problem.reference is not None for problem in job.problems) - len(pairs)
    LOG.info("supervised: %d reference answers, %d others not judged right or too long", len(pairs), refused)
    if not pairs:
        return FineTuned(adapter=None, used=0, refused=refused, losses=())
    with device_time(policy.base_model.device):
        losses = _learn(policy, pairs, job, on_step=on_step)
    check_saved(policy, policy.save(job.out))
    return FineTuned(adapter=job.out, used=len(pairs), refused=refused, losses=tuple(losses))


def demonstrations(solver: Solver, problems: Sequence[Problem]) -> list[Pair]:
    """Return prompts and answers of the problems whose reference is right as a completion.

    Of a long text that is not, a domain that takes references may give the answer in it (`solve`).

    Raises:
        SettingsError: the solver's format has no answers in words.
    """
    form, domain, pairs = solver.form, solver.domain, []
    if not isinstance(form, ChatFormat):
        raise SettingsError(NO_WORDS)
    for problem in problems:
        if problem.reference is None:
            continue
        prompt = form.prompt(problem, rng=random.Random(0)).ids
        shorter = domain.solve(problem) if domain.takes_references else None
        for text in dict.fromkeys((problem.reference, shorter)):
            ids = form.demonstration(text) if text else []
            said = form.answer(Completion(ids=ids, logprobs=[], finished=True)) if ids else ""
            if ids and len(ids) <= solver.limit(prompt) and domain.verify(problem, said).is_correct:
                pairs.append((prompt, ids))
                break
    return pairs


def _learn(
    policy: Policy, pairs: Sequence[Pair], job: SupervisedJob, *, on_step: Callable[[int, int, str], None]
) -> list[float]:
    """Train the policy in place; return the mean loss of each epoch, in nats a token."""
    settings, losses = job.settings, []
    optimizer = torch.optim.AdamW(policy.parameters(), lr=settings.rate, betas=(0.9, 0.99), weight_decay=0.0)
    starts = range(0, len(pairs), settings.rows)
    steps, step = settings.epochs * len(starts), 0
    for epoch in range(settings.epochs):
        order = random.Random(seed_of(job.learn.seed, "supervised", epoch)).sample(pairs, len(pairs))
        total, tokens = 0.0, sum(len(answer) for _, answer in order)
        for start in starts:
            rising, falling = (step + 1) / max(1.0, WARM * steps), (steps - step) / max(1.0, (1 - WARM) * steps)
            optimizer.param_groups[0]["lr"] = settings.rate * min(1.0, rising, falling)
            total += _step(policy, order[start : start + settings.rows], job)
            torch.nn.utils.clip_grad_norm_(policy.parameters(), job.learn.max_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            on_step(step, steps, f"epoch {epoch + 1} of {settings.epochs}")
        losses.append(total / tokens)
        LOG.info("supervised: epoch %d of %d, %.3f nats a token", epoch + 1, settings.epochs, losses[-1])
    return losses


def _step(policy: Policy, rows: Sequence[Pair], job: SupervisedJob) -> float:
    """Add the gradient of a step, in batches that fit into memory; return its summed loss."""
    model = policy.snapshot()
    lengths = [len(answer) for _, answer in rows]
    longest_prompt = max(len(prompt) for prompt, _ in rows)
    cut = plan_single_answers(model, longest=max(lengths), prompt=longest_prompt, settings=job.learn)
    trained, total = policy.trained(model, checkpointing=cut.checkpointing), 0.0
    for batch in batches(lengths, budget=cut.tokens):
        prompts, answers = [rows[index][0] for index in batch], [rows[index][1] for index in batch]
        scores, mask = token_logprobs(trained, prompts, answers)
        loss = -(scores * mask).sum()
        (loss / sum(lengths)).backward()
        total += float(loss.detach())
    return total
