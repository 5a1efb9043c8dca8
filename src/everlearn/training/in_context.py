"""In-context learning as a baseline: solved examples in the prompt, where training would change the weights.

The examples are what a night knows as solved: answers that its ladder rewarded, and references. They are chosen for
each problem, at random or by similarity, and the most similar one stands last. Similarity is the cosine of counts of
character trigrams: it needs no model, and any retrieval that a user has is at least as good.
"""

from __future__ import annotations

import logging
import random
import time
from bisect import bisect_left
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import count as count_from
from math import sqrt
from typing import TYPE_CHECKING, Unpack

from everlearn import counters
from everlearn.training.context_results import Choice, ContextResult
from everlearn.training.evaluation import CHUNK, examining
from everlearn.training.models.base_checks import context_of
from everlearn.training.rollouts import attempt, seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from everlearn.problem import Answer, Problem
    from everlearn.training.asking import Asking
    from everlearn.training.rollouts import Group, Solver

LOG = logging.getLogger("everlearn.learn")


class ExampleIndex:
    """Solved problems of one domain, of which each prompt gets some: never the problem itself."""

    def __init__(self, solved: Sequence[Answer]) -> None:
        self._solved = list({each.problem.statement: each for each in solved}.values())
        self._trigrams = [_trigrams(each.problem.statement) for each in self._solved]

    def __len__(self) -> int:
        """The number of different problems."""
        return len(self._solved)

    def choose(self, problem: Problem, *, count: int, choice: Choice, seed: int) -> list[Answer]:
        """Return up to `count` examples: drawn by seed and problem, or the most similar ones with the nearest last."""
        others = [at for at, each in enumerate(self._solved) if each.problem.statement != problem.statement]
        if choice is Choice.RANDOM:
            rng = random.Random(seed_of(seed, "examples", problem.key))
            return [self._solved[at] for at in rng.sample(others, min(count, len(others)))]
        own = _trigrams(problem.statement)
        nearest = sorted(others, key=lambda at: (-_cosine(own, self._trigrams[at]), at))[:count]
        return [self._solved[at] for at in reversed(nearest)]


def measure_in_context(
    base: Path,
    adapter: Path | None,
    problems: Sequence[Problem],
    solved: Sequence[Answer],
    *,
    policy: str,
    counts: Sequence[int],
    seed: int,
    up_to_window: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **asking: Unpack[Asking],
) -> Iterator[ContextResult]:
    """Answer the problems greedily with each number of examples in `counts`, chosen at random and by similarity.

    A count of 0 is measured once, without examples. Another one is left out where fewer problems are solved, or where
    the longest prompt with its answer exceeds the model's window. With `up_to_window`, the largest count that fits is
    measured as well, found for each choice by bisection; a model that states no window is logged instead. The same
    `seed` gives the prompts of `evaluation.measure`. `progress` is called before each count, and before each one that
    the bisection tries.

    Yields:
        The results, in the order of `counts`, the largest counts last.

    Raises:
        ModelError: as `evaluation.examining`.
    """
    if not problems:
        return
    names = sorted({problem.domain for problem in problems})
    indexes = {name: ExampleIndex([each for each in solved if each.problem.domain == name]) for name in names}
    plan = [(count, choice) for count in counts for choice in _choices(count)]
    known, window = min(map(len, indexes.values())), context_of(base)
    report = progress or (lambda *_: None)
    with examining(base, adapter, domains=names, **asking) as examination:

        def asked_with(count: int, choice: Choice) -> dict[str, Solver]:
            return {
                name: _with_examples(solver, indexes[name], count=count, choice=choice, seed=seed)
                for name, solver in examination.solvers.items()
            }

        def exceeds(count: int, choice: Choice) -> bool:
            if not count:  # answers are cut to what the window leaves, as where they are measured without examples
                return False
            return count > known or not _fits(asked_with(count, choice), problems, window=window, seed=seed)

        if up_to_window and window is None:
            LOG.warning("no window in the config of %s: as many examples as it holds are not measured", base)
        searched = _choices(known) if up_to_window and window is not None else ()
        total, probed = len(plan) + len(searched) * (1 + known.bit_length()), count_from()

        def probe(count: int, choice: Choice) -> bool:
            report(next(probed), total)
            return exceeds(count, choice)

        largest: dict[Choice, int] = {}
        for choice in searched:
            # Random examples are others for each count, so that a count that is a little larger may fit as well.
            largest[choice] = bisect_left(range(1, known + 1), True, key=partial(probe, choice=choice))
        plan += [(count, choice) for choice, count in largest.items() if count and (count, choice) not in plan]
        for done, (count, choice) in enumerate(plan, start=total - len(plan)):
            report(done, total)
            if not exceeds(count, choice):
                measured = _measured(
                    asked_with(count, choice), problems, policy=policy, count=count, choice=choice, seed=seed
                )
                yield replace(measured, is_largest=largest.get(choice) == count)


def _choices(count: int) -> tuple[Choice, ...]:
    return (Choice.RANDOM, Choice.SIMILAR) if count else (Choice.NONE,)


def _with_examples(solver: Solver, index: ExampleIndex, *, count: int, choice: Choice, seed: int) -> Solver:
    if not count:
        return solver
    return replace(solver, examples=partial(index.choose, count=count, choice=choice, seed=seed))


def _fits(solvers: Mapping[str, Solver], problems: Sequence[Problem], *, window: int | None, seed: int) -> bool:
    """Return whether every prompt and its longest answer are within the model's window, where it has one."""
    for problem in problems if window else ():
        solver = solvers[problem.domain]
        prompt = solver.prompt(problem, seed=seed)
        if len(prompt) + solver.form.max_tokens(prompt) > (window or 0):
            return False
    return True


def _measured(
    solvers: Mapping[str, Solver], problems: Sequence[Problem], *, policy: str, count: int, choice: Choice, seed: int
) -> ContextResult:
    started, cpu_started = time.monotonic(), counters.cpu_seconds()
    groups: dict[int, Group] = {}
    order = sorted(range(len(problems)), key=lambda at: (problems[at].domain, len(problems[at].statement)))
    for start in range(0, len(order), CHUNK):
        chunk = order[start : start + CHUNK]
        for name in sorted({problems[at].domain for at in chunk}):
            own = [at for at in chunk if problems[at].domain == name]
            asked = [problems[at] for at in own]
            groups |= dict(zip(own, attempt(solvers[name], asked, group=1, seed=seed, greedy=True), strict=True))
    each, seconds = 1 / len(problems), time.monotonic() - started
    on_gpu = any(solver.model.device.type == "cuda" for solver in solvers.values())
    return ContextResult(
        policy=policy,
        examples=count,
        choice=choice,
        right=tuple(groups[at].verdicts[0].is_correct for at in range(len(problems))),
        prompt_tokens=round(each * sum(len(group.prompt) for group in groups.values()), 1),
        answer_tokens=round(each * sum(len(group.completions[0].ids) for group in groups.values()), 1),
        seconds=round(each * seconds, 5),
        cpu_seconds=round(each * (counters.cpu_seconds() - cpu_started), 5),
        gpu_seconds=round(each * seconds, 5) if on_gpu else 0.0,
    )


def _trigrams(text: str) -> Counter[str]:
    padded = f"  {text} "
    return Counter(padded[at : at + 3] for at in range(len(padded) - 2))


def _cosine(one: Counter[str], other: Counter[str]) -> float:
    shared = sum(count * other[gram] for gram, count in one.items())
    return shared / sqrt(sum(n * n for n in one.values()) * sum(n * n for n in other.values()))
