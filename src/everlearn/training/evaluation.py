"""Measure a policy on a suite: one verified answer to each problem, greedy or sampled; by the fast policy in float32."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

import torch

from everlearn.domains.contract import load_domain
from everlearn.problem import Measurement, Ruling, Verdict
from everlearn.settings import FormatSettings, RolloutSettings
from everlearn.training.engines.samplers import sampling
from everlearn.training.gpu import device_time
from everlearn.training.journal import Journal
from everlearn.training.models.formats.format_choice import choose_format
from everlearn.training.models.policy import load_policy
from everlearn.training.rollouts import Solver, attempt, judging

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from everlearn.problem import Problem
    from everlearn.training.asking import Asking

__all__ = ["Examination", "examining", "measure"]

CHUNK = 64
"""Problems measured between two reports of progress, as one unit of the journal. No prompt depends on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """A loaded policy with a solver for each domain, to measure suites with until the block of `examining` ends."""

    solvers: Mapping[str, Solver]
    journal: Journal
    progress: Callable[[int, int], None] | None = None

    def measure(self, problems: Sequence[Problem], *, seed: int, temperature: float = 0.0) -> list[Measurement]:
        """Return one verified answer to each problem, in their order. Finished chunks of the journal are not repeated.

        Equal seeds give equal prompts. The answers are greedy, or sampled at a temperature above 0.
        """
        order = sorted(range(len(problems)), key=lambda index: len(problems[index].statement))
        measured: dict[int, Measurement] = {}
        for start in range(0, len(order), CHUNK):
            chunk = order[start : start + CHUNK]
            for name in sorted({problems[index].domain for index in chunk}):
                chosen = {index: problems[index] for index in chunk if problems[index].domain == name}
                measured |= self._answer(chosen, solver=self.solvers[name], seed=seed, temperature=temperature)
            if self.progress is not None:
                self.progress(len(measured), len(order))
        return [measured[index] for index in range(len(problems))]

    def _answer(
        self, problems: dict[int, Problem], *, solver: Solver, seed: int, temperature: float
    ) -> dict[int, Measurement]:
        def answer() -> list[list[str]]:
            groups = attempt(
                solver,
                list(problems.values()),
                group=1,
                seed=seed,
                greedy=not temperature,
                temperature=temperature or 1.0,
            )
            return [[group.answers[0], group.verdicts[0].ruling, group.verdicts[0].reason] for group in groups]

        unit = f"answers at {temperature}" if temperature else "answers"
        rows = self.journal.once(
            unit, [solver.domain.name, str(seed), *(problem.key for problem in problems.values())], answer
        )
        return {
            index: Measurement(
                item=problem.id,
                root=problem.root or problem.id,
                verdict=Verdict(ruling=Ruling(ruling), reason=reason),
                answer=given,
            )
            for (index, problem), (given, ruling, reason) in zip(problems.items(), rows, strict=True)
        }


@contextlib.contextmanager
def examining(
    base: Path,
    adapter: Path | None,
    *,
    domains: Collection[str],
    progress: Callable[[int, int], None] | None = None,
    journal: Journal | None = None,
    **asking: Unpack[Asking],
) -> Iterator[Examination]:
    """Load a policy for problems of these domains, and yield it as an `Examination`.

    `progress` is called with the number of problems measured and of all problems. Finished chunks are kept in
    `journal`.

    Raises:
        ModelError: the base or the adapter cannot be used, or not with vLLM.
        ServiceError: vLLM failed.
    """
    threads, form = asking["threads"], asking.get("form") or FormatSettings()
    torch.set_num_threads(threads)
    policy = load_policy(base, adapter, compute=asking.get("compute"))
    model = policy.snapshot()
    with contextlib.ExitStack() as stack:
        sampler = stack.enter_context(
            sampling(
                asking.get("rollouts") or RolloutSettings(),
                base=base,
                policy=policy,
                threads=threads,
                version="measured",
            )
        )
        stack.enter_context(device_time(model.device))
        solvers = {}
        for name in sorted(domains):
            domain = load_domain(name)
            solvers[name] = Solver(
                policy=policy,
                model=model,
                domain=domain,
                form=choose_format(policy, domain, form),
                sampler=sampler,
                judge=stack.enter_context(judging(name, verifiers=asking.get("verifiers", 0))).judge,
            )
        yield Examination(solvers=solvers, journal=journal or Journal(), progress=progress)


def measure(
    base: Path,
    adapter: Path | None,
    problems: Sequence[Problem],
    *,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
    **asking: Unpack[Asking],
) -> list[Measurement]:
    """Return one verified greedy answer to each problem, in their order. See `examining`.

    Two policies measured with the same `seed` get the same prompts, so that their answers are paired.
    """
    domains = {problem.domain for problem in problems}
    with examining(base, adapter, domains=domains, progress=progress, **asking) as examination:
        return examination.measure(problems, seed=seed)
