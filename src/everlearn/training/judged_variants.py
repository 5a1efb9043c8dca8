"""Which problems have variants that can be judged.

A variant has no reference: what is right for its root says nothing about it. Where nothing else can judge an answer, no
variant ever has a reward, and proposing, measuring and drawing variants is wasted.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from everlearn.canonical_json import digest_of
from everlearn.ladder.tree import problem_of
from everlearn.training.engines import collectives

if TYPE_CHECKING:
    from collections.abc import Mapping

    from everlearn.ladder.tree import Ladder
    from everlearn.problem import Problem
    from everlearn.training.journal import Journal
    from everlearn.training.rollouts import Solver

LOG = logging.getLogger("everlearn.learn")


def without_judged_variants(
    ladder: Ladder, *, solver: Solver, references: Mapping[str, str], journal: Journal
) -> frozenset[str]:
    """Return the digests of the roots whose variants nothing can judge.

    These are the roots with a reference of which a known right answer is not accepted without it.
    """
    domain = solver.domain
    roots = [problem_of(root, domain=domain.name, references=references) for root in ladder.roots()]
    asked = [root for root in roots if root.reference is not None]

    def judge() -> list[str]:
        known = [(root, answer) for root in asked if (answer := domain.solve(root)) is not None]
        verdicts = solver.verdicts([(replace(root, reference=None), answer) for root, answer in known])
        return [root.id for (root, _), verdict in zip(known, verdicts, strict=True) if not verdict.is_correct]

    if not asked:
        return frozenset()
    found = collectives.broadcast(journal.once("judged variants", list(map(unit_of, asked)), judge))
    if found:
        LOG.info(
            "no variants of %d problems: domain %s judges them by their references alone, and a variant has none "
            "(learn.pseudo_labels rewards what most answers to a variant agree on)",
            len(found),
            domain.name,
        )
    return frozenset(found)


def unit_of(problem: Problem) -> str:
    """Return the name of a rung's problem in the journal: its digest, and that of its reference if it has one."""
    return problem.id if problem.reference is None else f"{problem.id} {digest_of(problem.key.encode())}"
