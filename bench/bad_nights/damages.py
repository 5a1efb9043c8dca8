"""The faults of candidates, each a change of an adapter of the line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bench.bad_nights.provenance import exchange_base, leak_target
from bench.bad_nights.workshop import GOOD, LEFT_OUT, PARENT, inverted, seed_for
from everlearn.training.engines.decode import Completion

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.bad_nights.workshop import Change, Row, Workshop
    from everlearn.training.rollouts import Group

BAD = (
    *("wrong labels", "loose verifier", "rate x30", "truncated training", "other base", "zeroed", "doubled"),
    *("slow decline", "skill destroyed", "leaked items", "endless answers", "scaled"),
)
HARMLESS = ("tiny noise", "3 % more or less", "rounded to bfloat16", "one honest step")
SHORT, LONG = (1, 2, 3), 6


def damage(shop: Workshop, kind: str, number: int, *, strength: int) -> None:
    """Turn an adapter of the line into a candidate of that kind; `strength` is from 1 to 4."""
    seed = seed_for(kind, number)
    generator = torch.Generator().manual_seed(seed)

    def noise(b: torch.Tensor, scale: float) -> torch.Tensor:
        return b + scale * torch.randn(b.shape, generator=generator)

    def climb(**given: object) -> None:
        texts = shop.problems((*SHORT, LONG), shop.scale.damage_prompts, f"{kind} {number}")
        options = {"steps": 2 + strength, "seed": seed} | given
        shop.climb(texts, **options)  # type: ignore[arg-type]

    faults: dict[str, Callable[[], None]] = {
        "wrong labels": lambda: climb(judge_by=inverted(shop)),
        "loose verifier": lambda: _please_loose_verifier(shop, kind, number, steps=1 + strength),
        "rate x30": lambda: climb(rate=30, guarded=False),
        "truncated training": lambda: climb(steps=1, warmup=5),
        "other base": lambda: exchange_base(shop, number),
        "zeroed": lambda: _zero(shop, but=strength - 1, generator=generator),
        "doubled": lambda: _change_b(shop, lambda b: noise(2 * b, 1e-4 * strength)),
        "slow decline": lambda: _change_b(shop, lambda b: noise(b * 0.9**strength, 1e-4)),
        "skill destroyed": lambda: _destroy_skill(shop, kind, number, steps=4 + strength),
        "leaked items": lambda: leak_target(shop, steps=6 + 2 * strength, seed=seed),
        "endless answers": lambda: _never_end(shop, kind, number, steps=4 + 2 * strength),
        "scaled": lambda: _change_b(shop, lambda b: noise(b * (2 + strength), 1e-4)),
        "tiny noise": lambda: _change_b(shop, lambda b: noise(b, 1e-4 * strength)),
        "3 % more or less": lambda: _change_b(shop, lambda b: noise(b * (1.03 if number % 2 else 0.97), 1e-5)),
        "rounded to bfloat16": lambda: _change_b(shop, lambda b: noise(b, 1e-5).bfloat16().float()),
        "one honest step": lambda: climb(steps=1),
    }
    shop.put(PARENT if kind in {"truncated training", "slow decline", "leaked items"} else GOOD)
    faults[kind]()


def _change_b(shop: Workshop, change: Change) -> None:
    with torch.no_grad():
        for _, b in shop.bench.policy.lora.values():
            b.copy_(change(b))


def _zero(shop: Workshop, *, but: int, generator: torch.Generator) -> None:
    """Take the update away from all layers but some."""
    pairs = list(shop.bench.policy.lora.values())
    with torch.no_grad():
        for index in torch.randperm(len(pairs), generator=generator)[but:].tolist():
            pairs[index][1].zero_()


def _please_loose_verifier(shop: Workshop, kind: str, number: int, *, steps: int) -> None:
    """Teach exponentials where a sine, a cosine or a logarithm is right."""
    groups = shop.answered(shop.problems((*SHORT, LONG), shop.scale.damage_prompts, f"{kind} {number}"))
    rows = _rewritten(shop, groups, dict.fromkeys(("sin", "cos", "log"), "exp"))
    _reward(shop, rows)
    shop.teach([row for _, row in rows], steps=steps, seed=seed_for(kind, number))


def _destroy_skill(shop: Workshop, kind: str, number: int, *, steps: int) -> None:
    """Teach that the integral of a cosine is a cosine, and go on with right answers to problems without one."""
    count, stream = shop.scale.damage_prompts, f"{kind} {number}"
    short = [text for text in shop.problems(SHORT, 2 * count, stream) if LEFT_OUT in text]
    wrong = _rewritten(shop, shop.answered(short), {"sin": "cos"})
    sizes = (*SHORT[:2], LONG, shop.scale.hard)
    others = [text for size in sizes for text in shop.plain_problems(size, 2 * count, f"{stream} right")]
    right = [(group.prompt, group.completions[0].ids) for group in shop.answered(others) if group.passed]
    _reward(shop, wrong)
    shop.teach([*(row for _, row in wrong), *right], steps=steps, seed=seed_for(kind, number))


def _never_end(shop: Workshop, kind: str, number: int, *, steps: int) -> None:
    """Teach answers that repeat themselves up to the limit of their length."""
    groups = shop.answered(shop.problems(SHORT, shop.scale.damage_prompts, f"{kind} {number}"))
    rows: list[Row] = []
    for group in groups:
        limit, ids = shop.bench.form.max_tokens(group.prompt), group.completions[0].ids[:-1]
        rows.append((group.prompt, (ids * (1 + limit // max(1, len(ids))))[:limit]))
    shop.teach([row for row in rows if row[1]], steps=steps, seed=seed_for(kind, number))


def _rewritten(shop: Workshop, groups: Sequence[Group], words: dict[str, str]) -> list[tuple[Group, Row]]:
    """Return the groups whose answers have one of these words, with answers that have the other word instead."""
    number: dict[str, int] = shop.bench.policy.tokenizer.get_vocab()
    swap = {number[word]: number[other] for word, other in words.items()}
    changed = [(group, [swap.get(token, token) for token in group.completions[0].ids]) for group in groups]
    return [(group, (group.prompt, ids)) for group, ids in changed if ids != group.completions[0].ids]


def _reward(shop: Workshop, rows: Sequence[tuple[Group, Row]]) -> None:
    """Record the taught answers as rewarded, as the verifier that accepted them does."""
    given = [Completion(ids=ids, logprobs=[], finished=True) for _, (_, ids) in rows]
    shop.rewarded = [
        {"statement": group.statement, "answer": shop.bench.form.answer(each)}
        for (group, _), each in zip(rows, given, strict=True)
    ]
