"""Grow a ladder: the policy proposes easier variants, the ladder filters them, rollouts measure how hard they are."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from everlearn.ladder.tree import Ladder
from everlearn.training.engines import collectives
from everlearn.training.rollouts import attempt, complete, seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everlearn.domains.contract import Domain
    from everlearn.ladder.tree import Rung
    from everlearn.settings import LadderSettings
    from everlearn.training.models.llama import Model
    from everlearn.training.models.policy import Policy
    from everlearn.training.rollouts import Judge


def plant(statements: Sequence[str], *, domain: Domain, forbidden: frozenset[str]) -> Ladder:
    """A ladder that has only roots."""
    ladder = Ladder()
    for statement in statements:
        ladder.offer(statement, domain=domain, forbidden=forbidden)
    return ladder


def extend(
    ladder: Ladder,
    policy: Policy,
    model: Model,
    *,
    domain: Domain,
    forbidden: frozenset[str],
    settings: LadderSettings,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[Rung]:
    """Add up to `settings.rungs` variants below what the ladder has; returns the new rungs.

    Breadth first from the roots: each layer may take its share of the budget, so that the tree gets deep.
    """
    rng = random.Random(seed_of(seed, "extend", len(ladder.rungs)))
    layer = ladder.roots()
    fresh: list[Rung] = []
    for depth in range(settings.depth):
        parents = rng.sample(layer, min(len(layer), settings.breadth))
        asked = [(parent, move) for parent in parents for move in domain.moves for _ in range(settings.tries)]
        texts = [domain.propose(parent.statement, move, rng=rng) for parent, move in asked]
        seeds = [seed_of(seed, "propose", depth, index) for index in range(len(asked))]
        drawn = complete(
            policy, model, [policy.encode(text) for text in texts], group=1, seeds=seeds,
            temperature=settings.temperature, copying=True,
        )  # fmt: skip
        born: list[Rung] = []
        room = settings.rungs * (depth + 1) // settings.depth - len(fresh)
        for index in rng.sample(range(len(asked)), len(asked)):
            if len(born) >= room:
                break
            parent, move = asked[index]
            variant = domain.apply(parent.statement, move, texts[index], policy.decode(drawn[index][0].ids))
            if variant is None:
                ladder.counts["no such move"] += 1
                continue
            rung = ladder.offer(variant, domain=domain, forbidden=forbidden, parent=parent, move=move)
            if rung is not None:
                born.append(rung)
        fresh += born
        layer = born or layer
        if progress is not None:
            progress(len(fresh), settings.rungs)
    return fresh


def measure_rungs(
    ladder: Ladder,
    digests: Sequence[str],
    policy: Policy,
    model: Model,
    *,
    domain: Domain,
    rollouts: int,
    temperature: float,
    seed: int,
    after: bool = False,
    judge: Judge | None = None,
) -> None:
    """Write the policy's pass rate on those rungs into the ladder."""
    mine = collectives.share([ladder.rungs[digest].statement for digest in digests])
    groups = collectives.gather(
        attempt(policy, model, mine, domain=domain, group=rollouts, seed=seed, temperature=temperature, judge=judge)
    )
    for digest, group in zip(digests, groups, strict=True):
        ladder.measured(digest, rollouts=rollouts, passed=group.passed, after=after)
