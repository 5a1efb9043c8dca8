"""Rollouts: ask the policy a problem several times, read each answer, let the verifier judge it."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from everlearn import tally
from everlearn.learn.decode import decode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.domains import Domain
    from everlearn.learn.decode import Completion
    from everlearn.learn.llama import Llama
    from everlearn.learn.policy import Policy
    from everlearn.problem import Verdict


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
    model: Llama,
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
            limit=16 + max(len(prompts[index]) for index in batch) * 3 // 2,
            temperature=temperature,
            copying=copying,
        )
        for index, completions in zip(batch, drawn, strict=True):
            done[index] = completions
    return done


def attempt(
    policy: Policy,
    model: Llama,
    statements: Sequence[str],
    *,
    domain: Domain,
    group: int,
    seed: int,
    greedy: bool = False,
    temperature: float = 1.0,
) -> list[Group]:
    """`group` verified answers to each statement; `seed` names the draw (run and step)."""
    prompts = [
        policy.encode(domain.prompt(statement, rng=random.Random(seed_of(seed, "prompt", statement))))
        for statement in statements
    ]
    seeds = [seed_of(seed, "answer", statement, k) for statement in statements for k in range(group)]
    drawn = complete(policy, model, prompts, group=group, seeds=None if greedy else seeds, temperature=temperature)
    tally.count("rollouts", by=group * len(statements))
    return [
        _judged(statement, prompt, completions, policy=policy, domain=domain)
        for statement, prompt, completions in zip(statements, prompts, drawn, strict=True)
    ]


def _judged(
    statement: str, prompt: list[int], completions: list[Completion], *, policy: Policy, domain: Domain
) -> Group:
    answers = [domain.extract(policy.decode(completion.ids)) for completion in completions]
    known: dict[str, Verdict] = {}
    for answer in answers:
        if answer not in known:
            known[answer] = domain.verify(statement, answer)
    tally.count("verdicts", by=len(answers))
    return Group(
        statement=statement,
        prompt=prompt,
        completions=completions,
        answers=answers,
        verdicts=[known[answer] for answer in answers],
    )
