"""Anchors: answers that the night's parent gave to problems which earlier nights mastered, and what keeps the policy near them.

What tonight's ladder does not exercise may drift. With `learn.anchor_kl`, each update adds the divergence of the policy
from the parent on some anchors, KL(parent || policy): the answers are the parent's, so their mean over anchors
estimates it without a second model in memory. They are sampled once, before the training, with the log-probabilities of
the learner's own forward pass; training, its processes and a resumed run read them from the job. Answers are not
judged: a divergence is about all that the parent says.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import torch

from everlearn.domains.contract import load_domain
from everlearn.training.engines import collectives
from everlearn.training.engines.samplers import sampling
from everlearn.training.gpu import device_time
from everlearn.training.grpo import forward_divergence
from everlearn.training.job import Anchor
from everlearn.training.memory_plan import keep_freed_memory, plan_single_answers
from everlearn.training.models.formats.format_choice import choose_format
from everlearn.training.models.llama import answer_logprobs, token_logprobs
from everlearn.training.models.policy import load_policy
from everlearn.training.models.precision import use_bf16
from everlearn.training.preflight import check_identity
from everlearn.training.rollouts import Solver, batches, complete, seed_of

if TYPE_CHECKING:
    from everlearn.training.job import AnchorJob
    from everlearn.training.models.llama import Model
    from everlearn.training.training_run import TrainingRun


def answer_anchors(job: AnchorJob) -> tuple[Anchor, ...]:
    """Return the parent's answer to each of the job's problems that leaves room for one.

    Raises:
        ModelError: the base or the adapter cannot be used, or not with vLLM.
        ServiceError: vLLM failed.
    """
    keep_freed_memory()
    torch.set_num_threads(job.threads)
    check_identity(job.base, job.base_identity)
    domain, settings = load_domain(job.problems[0].domain), job.settings
    policy = load_policy(job.base, job.adapter, compute=job.compute)
    model, form = policy.snapshot(bf16=use_bf16(settings.bf16)), choose_format(policy, domain, job.form)
    seeds = [seed_of(settings.seed, "anchor", problem.key) for problem in job.problems]
    with (
        device_time(model.device),
        sampling(job.rollouts, base=job.base, policy=policy, threads=job.threads, version="parent") as sampler,
    ):
        solver = Solver(policy=policy, model=model, domain=domain, form=form, sampler=sampler)
        prompts = [solver.prompt(problem, seed=settings.seed) for problem in job.problems]
        rows = complete(solver, prompts, group=1, seeds=seeds, temperature=settings.temperature)
        given = [
            (problem.statement, prompt, row.ids)
            for problem, prompt, [row] in zip(job.problems, prompts, rows, strict=True)
            if row.ids
        ]
        scores: dict[int, list[float]] = {}
        for batch in batches([len(answer) for *_, answer in given], budget=settings.tokens):
            asked, answers = [given[index][1] for index in batch], [given[index][2] for index in batch]
            with torch.no_grad():
                flat = answer_logprobs(model, asked, answers, temperature=settings.temperature)
            parts = flat.split([len(answer) for answer in answers])
            scores |= {index: part.tolist() for index, part in zip(batch, parts, strict=True)}
    return tuple(
        Anchor(statement=statement, prompt=prompt, answer=answer, logprobs=scores[index])
        for index, (statement, prompt, answer) in enumerate(given)
    )


def add_anchor_gradient(run: TrainingRun, *, model: Model) -> float:
    """Add the gradient of this process's share of the step's anchors, and return its part of the loss.

    The loss is `anchor_kl` times the mean divergence of a token over the anchors of all processes, whose gradients
    simply add up. Which anchors a step has is a function of seed and step. `model` is the policy merged before the
    step.
    """
    settings = run.settings
    draw = random.Random(seed_of(run.seed, "anchors", run.step))
    chosen = draw.sample(run.anchors, min(settings.anchors, len(run.anchors)))
    tokens = sum(len(each.answer) for each in chosen)
    mine = collectives.share(sorted(chosen, key=lambda each: len(each.answer)))
    if not mine:
        return 0.0
    lengths = [len(each.answer) for each in mine]
    longest_prompt = max(len(each.prompt) for each in mine)
    cut = plan_single_answers(model, longest=max(lengths), prompt=longest_prompt, settings=settings)
    trained, total = run.policy.trained(model, checkpointing=cut.checkpointing), 0.0
    for batch in batches(lengths, budget=cut.tokens):
        rows = [mine[index] for index in batch]
        prompts, answers = [row.prompt for row in rows], [row.answer for row in rows]
        new, mask = token_logprobs(trained, prompts, answers, temperature=settings.temperature)
        parent = torch.zeros(mask.shape)
        parent[mask] = torch.tensor([score for row in rows for score in row.logprobs])
        loss = settings.anchor_kl * forward_divergence(new, parent, mask=mask).sum() / tokens
        loss.backward()
        total += float(loss.detach())
    return total
