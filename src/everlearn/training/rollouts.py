"""Rollouts: ask the policy a problem several times, read each answer, let the verifier judge it."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from everlearn import counters
from everlearn.domains.pool import VerifierPool
from everlearn.training.engines.decode import decode

if TYPE_CHECKING:
    from everlearn.domains.contract import Domain
    from everlearn.problem import Verdict
    from everlearn.training.engines.decode import Completion
    from everlearn.training.models.llama import Model
    from everlearn.training.models.policy import Policy


class Sampler(Protocol):
    """Whoever answers prompts in the policy's stead, as `replicas.Replicas` do."""

    def complete(
        self,
        prompts: Sequence[list[int]],
        *,
        group: int,
        seeds: Sequence[int] | None,
        limits: Sequence[int],
        temperature: float = 1.0,
    ) -> list[list[Completion]]:
        """`group` completions for each prompt, at most `limits[prompt]` tokens long; greedy without seeds."""
        ...


Judge = Callable[[Sequence[tuple[str, str]]], "list[Verdict]"]
"""(statement, answer) pairs -> their verdicts, in order, as `VerifierPool.verify_many` gives them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judges:
    """Who judges, and what could not be judged so far: a mapping that grows (`VerifierPool.recorded`)."""

    judge: Judge | None
    recorded: dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The answers sampled for one problem, and what the verifier said of each."""

    statement: str
    prompt: list[int]
    completions: list[Completion]
    answers: list[str]
    verdicts: list[Verdict]

    @property
    def rewards(self) -> list[float]:
        """One for `CORRECT`, nothing for anything else."""
        return [float(verdict.is_correct) for verdict in self.verdicts]

    @property
    def passed(self) -> int:
        """How many answers were correct."""
        return sum(verdict.is_correct for verdict in self.verdicts)


@contextlib.contextmanager
def judging(
    domain: str, *, verifiers: int, recorded: Mapping[str, Mapping[str, str]] | None = None
) -> Iterator[Judges]:
    """Warm verifiers in processes of their own while the block runs; with none of them, judge here."""
    if not verifiers:
        yield Judges(judge=None, recorded={})
        return
    with VerifierPool(domain, workers=verifiers, recorded=recorded) as pool:
        yield Judges(judge=pool.verify_many, recorded=pool.recorded)


def seed_of(*parts: object) -> int:
    """A 64-bit seed from what names a random draw (run, step, problem, k), the same on every machine."""
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def batches(lengths: Sequence[int], *, budget: int) -> list[list[int]]:
    """Indices in order of length, cut so that rows x longest stays within `budget` tokens (at least one row each)."""
    cut: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if cut and (len(cut[-1]) + 1) * lengths[index] <= budget:
            cut[-1].append(index)
        else:
            cut.append([index])
    return cut


def complete(
    policy: Policy,
    model: Model,
    prompts: Sequence[list[int]],
    *,
    group: int,
    seeds: Sequence[int] | None,
    temperature: float = 1.0,
    copying: bool = False,
    budget: int = 32_768,
) -> list[list[Completion]]:
    """Completions in the order of the prompts, decoded in batches of similar length.

    An answer may be half as long again as its prompt, and 16 tokens more; `seeds` are ordered by prompt, and with
    `copying` an answer may name only the markers of its prompt.
    """
    done: list[list[Completion]] = [[] for _ in prompts]
    for batch in batches([len(prompt) * group for prompt in prompts], budget=budget):
        drawn = decode(
            model,
            [prompts[index] for index in batch],
            group=group,
            seeds=None if seeds is None else [seeds[i * group + k] for i in batch for k in range(group)],
            end=policy.end,
            limit=max(limit_of(prompts[index]) for index in batch),
            temperature=temperature,
            copying=copying,
        )
        for index, completions in zip(batch, drawn, strict=True):
            done[index] = completions
    return done


def limit_of(prompt: Sequence[int]) -> int:
    """Tokens that an answer may have: half as many again as its prompt, and 16 more."""
    return 16 + len(prompt) * 3 // 2


def attempt(
    policy: Policy,
    model: Model,
    statements: Sequence[str],
    *,
    domain: Domain,
    group: int,
    seed: int,
    greedy: bool = False,
    temperature: float = 1.0,
    sampler: Sampler | None = None,
    judge: Judge | None = None,
) -> list[Group]:
    """`group` verified answers to each statement; `seed` names the draw (run and step).

    Answers are sampled from `model` or else by the `sampler`, and judged in this process or else by the `judge`.
    """
    prompts = [
        policy.encode(domain.prompt(statement, rng=random.Random(seed_of(seed, "prompt", statement))))
        for statement in statements
    ]
    numbers = [seed_of(seed, "answer", statement, k) for statement in statements for k in range(group)]
    seeds = None if greedy else numbers
    if sampler is None:
        drawn = complete(policy, model, prompts, group=group, seeds=seeds, temperature=temperature)
    else:
        limits = [limit_of(prompt) for prompt in prompts]
        drawn = sampler.complete(prompts, group=group, seeds=seeds, limits=limits, temperature=temperature)
    counters.increment("rollouts", by=group * len(statements))
    answers = [[domain.extract(policy.decode(row.ids)) for row in completions] for completions in drawn]
    asked = [(statement, answer) for statement, each in zip(statements, answers, strict=True) for answer in each]
    distinct = list(dict.fromkeys(asked))
    judged = [domain.verify(*pair) for pair in distinct] if judge is None else judge(distinct)
    verdicts = dict(zip(distinct, judged, strict=True))
    counters.increment("verdicts", by=len(asked))
    return [
        Group(
            statement=statement, prompt=prompt, completions=completions, answers=each,
            verdicts=[verdicts[statement, answer] for answer in each],
        )
        for statement, prompt, completions, each in zip(statements, prompts, drawn, answers, strict=True)
    ]  # fmt: skip
