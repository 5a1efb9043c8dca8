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
from dataclasses import dataclass, replace
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
        contexts = _Contexts(
            solvers=examination.solvers, indexes=indexes, problems=problems, known=known, window=window, seed=seed
        )
        if up_to_window and window is None:
            LOG.warning("no window in the config of %s: as many examples as it holds are not measured", base)
        searched = _choices(known) if up_to_window and window is not None else ()
        total, probed = len(plan) + len(searched) * (1 + known.bit_length()), count_from()

        def probe(count: int, choice: Choice) -> bool:
            report(next(probed), total)
            return contexts.exceeds(count, choice)

        largest: dict[Choice, int] = {}
        for choice in searched:
            # Random examples are others for each count, so that a count that is a little larger may fit as well.
            largest[choice] = bisect_left(range(1, known + 1), True, key=partial(probe, choice=choice))
        plan += [(count, choice) for choice, count in largest.items() if count and (count, choice) not in plan]
        for done, (count, choice) in enumerate(plan, start=total - len(plan)):
            report(done, total)
            if not contexts.exceeds(count, choice):
                result = contexts.measure(count, choice, policy=policy)
                yield replace(result, is_largest=largest.get(choice) == count)


def _choices(count: int) -> tuple[Choice, ...]:
    return (Choice.RANDOM, Choice.SIMILAR) if count else (Choice.NONE,)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contexts:
    """The problems of a suite, and what their prompts may show: `known` examples of each domain, within `window` tokens."""

    solvers: Mapping[str, Solver]
    indexes: Mapping[str, ExampleIndex]
    problems: Sequence[Problem]
    known: int
    window: int | None
    seed: int

    def exceeds(self, count: int, choice: Choice) -> bool:
        """Return whether fewer examples are known, or a prompt and its longest answer exceed the window; never for a count of 0."""
        if not count:  # answers are cut to what the window leaves, as where they are measured without examples
            return False
        return count > self.known or not self._fit(count, choice)

    def measure(self, count: int, choice: Choice, *, policy: str) -> ContextResult:
        """Answer the problems greedily with `count` examples in each prompt; `policy` names the result."""
        solvers, problems = self._with_examples(count, choice), self.problems
        started, cpu_started = time.monotonic(), counters.cpu_seconds()
        groups: dict[int, Group] = {}
        order = sorted(range(len(problems)), key=lambda at: (problems[at].domain, len(problems[at].statement)))
        for start in range(0, len(order), CHUNK):
            chunk = order[start : start + CHUNK]
            for name in sorted({problems[at].domain for at in chunk}):
                own = [at for at in chunk if problems[at].domain == name]
                asked = [problems[at] for at in own]
                answered = attempt(solvers[name], asked, group=1, seed=self.seed, greedy=True)
                groups |= dict(zip(own, answered, strict=True))
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

    def _fit(self, count: int, choice: Choice) -> bool:
        if not self.window:
            return True
        solvers = self._with_examples(count, choice)
        for problem in self.problems:
            solver = solvers[problem.domain]
            prompt = solver.prompt(problem, seed=self.seed)
            if len(prompt) + solver.form.max_tokens(prompt) > self.window:
                return False
        return True

    def _with_examples(self, count: int, choice: Choice) -> dict[str, Solver]:
        if not count:
            return dict(self.solvers)
        return {
            name: replace(
                solver, examples=partial(self.indexes[name].choose, count=count, choice=choice, seed=self.seed)
            )
            for name, solver in self.solvers.items()
        }


def _trigrams(text: str) -> Counter[str]:
    padded = f"  {text} "
    return Counter(padded[at : at + 3] for at in range(len(padded) - 2))


def _cosine(one: Counter[str], other: Counter[str]) -> float:
    shared = sum(count * other[gram] for gram, count in one.items())
    return shared / sqrt(sum(n * n for n in one.values()) * sum(n * n for n in other.values()))
