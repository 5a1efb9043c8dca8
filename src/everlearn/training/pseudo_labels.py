"""Pseudo-labels: what most answers to a variant agree on, where only a reference could judge it (`learn.pseudo_labels`).

After TTRL (Zuo et al. 2025, arXiv 2504.16084). No verifier has judged what they reward: the verdicts stay UNDECIDED, so
no pass rate, statistic or replay counts them, and each answer is marked where it is stored as rewarded.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from everlearn.domains.contract import load_domain
from everlearn.errors import GrammarError
from everlearn.problem import REFERENCE_FIELD, Ruling

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from everlearn.problem import Problem
    from everlearn.training.rollouts import Group, Solver


def with_pseudo_labels(
    groups: Sequence[Group], *, solver: Solver, variants: Collection[str], share: float
) -> list[Group]:
    """Return the groups, those on `variants` (ids) with the majority of their answers where there is one.

    A majority is an answer that the domain, given it as the reference, finds in at least `share` of the group.
    """
    return [
        replace(group, agreed=_majority(group, solver=solver, share=share)) if group.problem.id in variants else group
        for group in groups
    ]


def _majority(group: Group, *, solver: Solver, share: float) -> tuple[bool, ...] | None:
    """Return which answers are those of the majority; None where there is none, or an answer could be judged."""
    if any(verdict.ruling in (Ruling.CORRECT, Ruling.WRONG) for verdict in group.verdicts):
        return None
    answers = list(dict.fromkeys(filter(None, group.answers)))
    for answer, _ in Counter(filter(None, group.answers)).most_common():
        labelled = _with_reference(group.problem, answer, solver=solver)
        if labelled is None:
            continue
        verdicts = solver.verdicts([(labelled, each) for each in answers])
        same = {each for each, verdict in zip(answers, verdicts, strict=True) if verdict.is_correct}
        agreed = tuple(each in same for each in group.answers)
        if answer in same and sum(agreed) >= share * len(agreed):
            return agreed
    return None


def _with_reference(problem: Problem, answer: str, *, solver: Solver) -> Problem | None:
    """Return the problem with that answer as its reference; None where the domain takes none, or not this one."""
    domain = solver.domain
    if len(domain.parts) > 1:  # the answers of a mixture are whole completions: `verify` finds the answer in them
        answer = load_domain(domain.part(problem.statement)).extract(answer)
    try:
        made = domain.problem({"statement": problem.statement, REFERENCE_FIELD: answer})
    except GrammarError:
        return None
    return replace(made, id=problem.id) if made.reference is not None else None
