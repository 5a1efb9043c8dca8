"""Rollouts: sample answers of a policy to problems, extract them from the text, and verify them."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from everlearn import counters
from everlearn.domains.pool import VerifierPool
from everlearn.problem import Ruling, Verdict
from everlearn.training.engines.decode import Completion, decode
from everlearn.training.memory_plan import decoded_tokens

if TYPE_CHECKING:
    from everlearn.domains.contract import Domain
    from everlearn.problem import Answer, Problem
    from everlearn.training.models.formats.format import Format
    from everlearn.training.models.llama import Model
    from everlearn.training.models.policy import Policy

LOG = logging.getLogger("everlearn.learn")
BATCH_TOKENS = 32_768
"""Prompt tokens, padding included, that are decoded at once."""


class Sampler(Protocol):
    """A remote rollout backend, such as `engines.vllm.Replicas`."""

    @property
    def context(self) -> int | None:
        """The most tokens of a prompt with its completion, None where the backend does not say."""
        ...

    def complete(
        self,
        prompts: Sequence[list[int]],
        *,
        group: int,
        seeds: Sequence[int] | None,
        limits: Sequence[int],
        temperature: float = 1.0,
    ) -> list[list[Completion]]:
        """Return `group` completions for each prompt, at most `limits[prompt]` tokens long; greedy without seeds."""
        ...


Judge = Callable[[Sequence[tuple["Problem", str]]], "list[Verdict]"]
"""Maps (problem, answer) pairs to their verdicts, in order, as `VerifierPool.verify_many` does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judges:
    """A judge (None: this process), and a growing record of the pairs that could not be judged in time."""

    judge: Judge | None
    recorded: dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Solver:
    """A policy that solves problems of one domain: its merged weights, and the backends that sample and judge.

    `model` is `policy.snapshot()` at the moment of sampling, `form` the format of its prompts, and `examples` maps a
    problem to the solved ones that its prompt shows. Without `sampler` and `judge`, this process does both.
    """

    policy: Policy
    model: Model
    domain: Domain
    form: Format
    sampler: Sampler | None = None
    judge: Judge | None = None
    examples: Callable[[Problem], Sequence[Answer]] = lambda _: ()

    @property
    def context(self) -> int | None:
        """The most tokens of a prompt with its completion, None where neither model nor sampler states it."""
        stated = (self.policy.context, self.sampler.context if self.sampler else None)
        return min((each for each in stated if each is not None), default=None)

    def limit(self, prompt: Sequence[int]) -> int:
        """Return how many tokens a completion may have: what the format allows, or what the context leaves, at least 0."""
        most = self.form.max_tokens(prompt)
        return most if self.context is None else max(0, min(most, self.context - len(prompt)))

    def prompt(self, problem: Problem, *, seed: int) -> list[int]:
        """Return the tokens of the prompt, with the solver's examples. See `prompt_tokens`."""
        return prompt_tokens(self.form, problem, seed=seed, solved=self.examples(problem))

    def verdicts(self, pairs: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """Return the verdict of each pair of problem and answer, by the judge or in this process."""
        return [self.domain.verify(*pair) for pair in pairs] if self.judge is None else self.judge(pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The answers sampled for one problem, with their verdicts. They are empty where the context has no room for any.

    `agreed` marks the answers of the majority, where a pseudo-label stands for verdicts (pseudo_labels.py).
    """

    problem: Problem
    prompt: list[int]
    completions: list[Completion]
    answers: list[str]
    verdicts: list[Verdict]
    agreed: tuple[bool, ...] | None = None

    @property
    def is_asked(self) -> bool:
        """Whether there was room for an answer."""
        return bool(self.completions[0].ids)

    @property
    def statement(self) -> str:
        """The statement of the problem."""
        return self.problem.statement

    @property
    def rewards(self) -> list[float]:
        """One for `CORRECT`, zero for anything else."""
        return [float(verdict.is_correct) for verdict in self.verdicts]

    @property
    def learned(self) -> list[float]:
        """What an update learns: the rewards, or the pseudo-label where there is one."""
        return self.rewards if self.agreed is None else list(map(float, self.agreed))

    @property
    def passed(self) -> int:
        """How many answers were correct."""
        return sum(verdict.is_correct for verdict in self.verdicts)


@contextlib.contextmanager
def judging(
    domain: str, *, verifiers: int, recorded: Mapping[str, Mapping[str, str]] | None = None
) -> Iterator[Judges]:
    """Keep `verifiers` warm verifier processes while the block runs; with 0, this process judges.

    `recorded` are verdicts that were given up in an earlier run; the processes repeat them instead of trying again.
    This process has no limit of time, so it tries them, but keeps the record for a later run with processes.
    """
    if not verifiers:
        yield Judges(judge=None, recorded={key: dict(entry) for key, entry in (recorded or {}).items()})
        return
    with VerifierPool(domain, workers=verifiers, recorded=recorded) as pool:
        yield Judges(judge=pool.verify_many, recorded=pool.recorded)


def seed_of(*parts: object) -> int:
    """Return a 64-bit seed from the names of a random draw (run, step, problem, k), equal on every machine."""
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def prompt_tokens(form: Format, problem: Problem, *, seed: int, solved: Sequence[Answer] = ()) -> list[int]:
    """Return the tokens of a prompt. Equal seeds give equal prompts, whatever other problems are asked.

    Measurements are paired by this rule, and the endpoint asks as the gate has measured.

    Raises:
        GrammarError: the format cannot state the problem.
    """
    return form.prompt(problem, rng=random.Random(seed_of(seed, "prompt", problem.statement)), solved=solved).ids


def batches(lengths: Sequence[int], *, budget: int) -> list[list[int]]:
    """Return indices in order of length, cut so that rows x longest stays within `budget` (at least one row each)."""
    cut: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if cut and (len(cut[-1]) + 1) * lengths[index] <= budget:
            cut[-1].append(index)
        else:
            cut.append([index])
    return cut


def complete(
    solver: Solver,
    prompts: Sequence[list[int]],
    *,
    group: int,
    seeds: Sequence[int] | None,
    temperature: float = 1.0,
    copying: bool = False,
) -> list[list[Completion]]:
    """Decode completions by the solver's sampler, or in this process; return them in the order of the prompts.

    `seeds` holds `len(prompts) * group` numbers, ordered by prompt; without them decoding is greedy. With `copying` an
    answer may use only the markers of its prompt, and this process decodes. Where the context has no room for an
    answer, completions are empty.
    """
    limits = [solver.limit(prompt) for prompt in prompts]
    done = [[Completion(ids=[], logprobs=[], finished=False)] * group for _ in prompts]
    fitting = [index for index, limit in enumerate(limits) if limit]
    if len(fitting) < len(prompts):
        LOG.warning(
            "%d of %d prompts fill the model's context: not answered", len(prompts) - len(fitting), len(prompts)
        )
    asked, limits = [prompts[index] for index in fitting], [limits[index] for index in fitting]
    if seeds is not None:
        seeds = [seeds[index * group + k] for index in fitting for k in range(group)]
    if solver.sampler is not None and not copying:
        drawn = solver.sampler.complete(asked, group=group, seeds=seeds, limits=limits, temperature=temperature)
    else:
        drawn = _decode_here(
            solver, asked, group=group, seeds=seeds, limits=limits, temperature=temperature, copying=copying
        )
    for index, rows in zip(fitting, drawn, strict=True):
        done[index] = rows
    counters.increment("tokens", by=sum(len(row.ids) for rows in done for row in rows))
    return done


def _decode_here(
    solver: Solver,
    prompts: Sequence[list[int]],
    *,
    group: int,
    seeds: Sequence[int] | None,
    limits: Sequence[int],
    temperature: float,
    copying: bool,
) -> list[list[Completion]]:
    """Decode in this process, in batches of similar length whose keys and values fit. The order is that of the prompts."""
    done: list[list[Completion]] = [[] for _ in prompts]
    # A batch is decoded up to the largest limit in it: a prompt whose own one the context has cut stays alone.
    cut = [index for index, prompt in enumerate(prompts) if limits[index] < solver.form.max_tokens(prompt)]
    whole = sorted(set(range(len(prompts))) - set(cut))
    room = decoded_tokens(solver.model)
    shared = batches(
        [
            group * max(len(prompts[index]), math.ceil((len(prompts[index]) + limits[index]) * BATCH_TOKENS / room))
            for index in whole
        ],
        budget=BATCH_TOKENS,
    )
    for batch in [*([whole[place] for place in batch] for batch in shared), *([index] for index in cut)]:
        completions = decode(
            solver.model,
            [prompts[index] for index in batch],
            group=group,
            seeds=None if seeds is None else [seeds[i * group + k] for i in batch for k in range(group)],
            stops=solver.form.stops,
            limit=max(limits[index] for index in batch),
            temperature=temperature,
            copying=copying,
        )
        for index, rows in zip(batch, completions, strict=True):
            done[index] = [row.cut(limits[index]) for row in rows]
    return done


def attempt(
    solver: Solver,
    problems: Sequence[Problem],
    *,
    group: int,
    seed: int,
    greedy: bool = False,
    temperature: float = 1.0,
) -> list[Group]:
    """Return `group` verified answers to each problem. `seed` names the draw (run and step).

    Equal answers to one problem are verified once.
    """
    statements = [problem.statement for problem in problems]
    prompts = [solver.prompt(problem, seed=seed) for problem in problems]
    completions = _sample(
        solver, statements, prompts, group=group, seed=None if greedy else seed, temperature=temperature
    )
    answers = [[solver.form.answer(row) for row in rows] for rows in completions]
    verdicts = [
        [_as_cut_off(verdict, row=row, answer=answer) for verdict, row, answer in zip(*judged, strict=True)]
        for judged in zip(_verdicts(solver, problems, answers), completions, answers, strict=True)
    ]
    return [
        Group(problem=problem, prompt=prompt, completions=rows, answers=given, verdicts=judged)
        for problem, prompt, rows, given, judged in zip(problems, prompts, completions, answers, verdicts, strict=True)
    ]


def _as_cut_off(verdict: Verdict, *, row: Completion, answer: str) -> Verdict:
    """Return the verdict; that of a completion that was cut off is never `CORRECT`, also where no answer would be right."""
    if row.finished or answer or not verdict.is_correct:
        return verdict
    return Verdict(ruling=Ruling.UNREADABLE, reason="the answer was cut off")


def _sample(
    solver: Solver,
    statements: Sequence[str],
    prompts: list[list[int]],
    *,
    group: int,
    seed: int | None,
    temperature: float,
) -> list[list[Completion]]:
    seeds = None
    if seed is not None:
        seeds = [seed_of(seed, "answer", statement, k) for statement in statements for k in range(group)]
    completions = complete(solver, prompts, group=group, seeds=seeds, temperature=temperature)
    counters.increment("rollouts", by=group * len(statements))
    return completions


def _verdicts(solver: Solver, problems: Sequence[Problem], answers: list[list[str]]) -> list[list[Verdict]]:
    pairs = [(problem, answer) for problem, given in zip(problems, answers, strict=True) for answer in given]
    distinct = list(dict.fromkeys(pairs))
    verdict_of = dict(zip(distinct, solver.verdicts(distinct), strict=True))
    counters.increment("verdicts", by=len(pairs))
    return [[verdict_of[problem, answer] for answer in given] for problem, given in zip(problems, answers, strict=True)]
