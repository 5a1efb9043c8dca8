"""Measure a policy on a suite: each problem answered once, greedily, in float32, and judged."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

from everlearn.domains.contract import load_domain
from everlearn.problem import Measurement
from everlearn.training.models.policy import load_policy
from everlearn.training.rollouts import attempt, judging

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from everlearn.problem import Problem

__all__ = ["measure"]

PART = 64
"""Problems measured between two calls of `progress`. The draw of a prompt depends on the problem, not on its part."""


def measure(
    base: Path,
    adapter: Path | None,
    problems: Sequence[Problem],
    *,
    seed: int,
    threads: int,
    verifiers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Measurement]:
    """One greedy answer to each problem, in their order; `progress` is told (done, of).

    Two policies measured with the same `seed` read the same prompts, so that their answers can be paired.

    Raises:
        ModelError: the base or the adapter cannot be used.
    """
    torch.set_num_threads(threads)
    policy = load_policy(base, adapter)
    model = policy.merged()
    order = sorted(range(len(problems)), key=lambda index: len(problems[index].statement))
    found: dict[int, Measurement] = {}
    with contextlib.ExitStack() as stack:
        judges = {
            name: stack.enter_context(judging(name, verifiers=verifiers)).judge
            for name in sorted({problem.domain for problem in problems})
        }
        for start in range(0, len(order), PART):
            part = order[start : start + PART]
            for domain_name in sorted({problems[index].domain for index in part}):
                chosen = [index for index in part if problems[index].domain == domain_name]
                groups = attempt(
                    policy, model, [problems[index].statement for index in chosen], domain=load_domain(domain_name),
                    group=1, seed=seed, greedy=True, judge=judges[domain_name],
                )  # fmt: skip
                for index, group in zip(chosen, groups, strict=True):
                    name = problems[index].id
                    found[index] = Measurement(item=name, root=name, verdict=group.verdicts[0], answer=group.answers[0])
            if progress is not None:
                progress(len(found), len(order))
    return [found[index] for index in range(len(problems))]
