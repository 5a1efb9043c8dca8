"""Grow a ladder: the policy proposes easier variants, the ladder filters them, rollouts measure their pass rates.

After LADDER (Simonds & Yoshiyama 2025, arXiv 2503.00735), with the model in training as the only proposer.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import torch

from everlearn.domains.contract import load_domain
from everlearn.ladder.tree import Ladder
from everlearn.training.engines import collectives
from everlearn.training.memory_plan import keep_freed_memory
from everlearn.training.models.policy import load_policy
from everlearn.training.models.precision import use_bf16
from everlearn.training.rollouts import Solver, attempt, complete, judging, seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everlearn.domains.contract import Domain
    from everlearn.ladder.tree import Rung
    from everlearn.settings import LadderSettings
    from everlearn.training.job import GrowthJob

    Proposal = tuple[Rung, str]

CHUNK = 64
"""Rungs measured between two reports of progress."""


def grow(job: GrowthJob, *, progress: Callable[[int, int], None] | None = None) -> Ladder:
    """Let the policy grow a ladder below the job's roots, and measure its pass rate on each rung.

    `progress` is called with the number of rungs measured and the number of all rungs.

    Raises:
        ModelError: the base or the adapter cannot be used.
    """
    keep_freed_memory()
    torch.set_num_threads(job.threads)
    domain = load_domain(job.roots[0].domain)
    policy = load_policy(job.base, job.adapter)
    model = policy.merged(bf16=use_bf16(job.bf16))
    ladder = plant([root.statement for root in job.roots], domain=domain, forbidden=job.forbidden)
    with judging(domain.name, verifiers=job.verifiers) as judges:
        solver = Solver(policy=policy, model=model, domain=domain, judge=judges.judge)
        extend(ladder, solver, forbidden=job.forbidden, settings=job.settings, seed=job.seed)
        digests = list(ladder.rungs)
        for start in range(0, len(digests), CHUNK):
            measure_rungs(
                solver,
                ladder,
                digests[start : start + CHUNK],
                rollouts=job.settings.rollouts,
                temperature=job.settings.answer_temperature,
                seed=seed_of(job.seed, "before"),
            )
            if progress is not None:
                progress(min(start + CHUNK, len(digests)), len(digests))
    return ladder


def plant(statements: Sequence[str], *, domain: Domain, forbidden: frozenset[str]) -> Ladder:
    """Return a ladder that has only roots."""
    ladder = Ladder()
    for statement in statements:
        ladder.add(statement, domain=domain, forbidden=forbidden)
    return ladder


def extend(
    ladder: Ladder, solver: Solver, *, forbidden: frozenset[str], settings: LadderSettings, seed: int
) -> list[Rung]:
    """Add up to `settings.rungs` variants to the ladder and return them.

    Breadth first from the roots. The budget is divided among the layers, so that the tree gets deep: layer d may use
    what d / depth of it leaves after the layers above.
    """
    rng = random.Random(seed_of(seed, "extend", len(ladder.rungs)))
    layer = ladder.roots()
    added: list[Rung] = []
    for depth in range(settings.depth):
        parents = rng.sample(layer, min(len(layer), settings.breadth))
        proposals = [
            (parent, move) for parent in parents for move in solver.domain.moves for _ in range(settings.tries)
        ]
        prompts = [solver.domain.propose(parent.statement, move, rng=rng) for parent, move in proposals]
        answers = complete(
            solver,
            [solver.policy.encode(prompt) for prompt in prompts],
            group=1,
            seeds=[seed_of(seed, "propose", depth, index) for index in range(len(proposals))],
            temperature=settings.temperature,
            copying=True,
        )
        room = settings.rungs * (depth + 1) // settings.depth - len(added)
        children: list[Rung] = []
        for index in rng.sample(range(len(proposals)), len(proposals)):
            if len(children) >= room:
                break
            parent, move = proposals[index]
            text = solver.policy.decode(answers[index][0].ids)
            variant = solver.domain.apply(parent.statement, move, prompts[index], text)
            if variant is None:
                ladder.counts["no such move"] += 1
                continue
            rung = ladder.add(variant, domain=solver.domain, forbidden=forbidden, parent=parent, move=move)
            if rung is not None:
                children.append(rung)
        added += children
        layer = children or layer
    return added


def measure_rungs(
    solver: Solver,
    ladder: Ladder,
    digests: Sequence[str],
    *,
    rollouts: int,
    temperature: float,
    seed: int,
    after: bool = False,
) -> None:
    """Measure the policy's pass rate on these rungs and record it in the ladder, as before or after the training."""
    mine = collectives.share([ladder.rungs[digest].statement for digest in digests])
    groups = collectives.gather(attempt(solver, mine, group=rollouts, seed=seed, temperature=temperature))
    for digest, group in zip(digests, groups, strict=True):
        ladder.set_pass_rate(digest, rollouts=rollouts, passed=group.passed, after=after)
