"""Tests of pipelines: edge cases, lists that reach every boundary of the steps, and random lists, with their results.

They depend on the steps and a seed. Those whose result is long are left out.
"""

from __future__ import annotations

import functools
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

from everlearn.domains.programs.harness import encode
from everlearn.domains.programs.hidden_tests import Case
from everlearn.domains.programs.steps import Kind

if TYPE_CHECKING:
    from everlearn.domains.programs.pipelines import Pipeline

VERIFIED, VERIFIED_LENGTH = 64, 14
"""Number of random lists of a verification, and numbers or words in the longest one."""
RECHECKED, RECHECKED_LENGTH = 100, 30
_DENSE = 140
_SAME = 0.7
"""Largest share of tests with one result."""
_LONGEST_RESULT = 8000  # characters
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def cases_of(pipeline: Pipeline, *, seed: str, count: int = VERIFIED, longest: int = VERIFIED_LENGTH) -> list[Case]:
    """Return tests with different lists, the empty one first; none where most have one result, and tell too little."""
    rng = random.Random(f"{seed} {pipeline}")
    draw = _number_lists if pipeline.takes is Kind.NUMBERS else _word_lists
    lists = draw(rng, sorted({step.number for step in pipeline.steps}), count=count, longest=longest)
    cases = [Case(arguments=[list(each)], result=pipeline.result(each)) for each in dict.fromkeys([(), *lists])]
    written = [encode(case.result) for case in cases]
    if max(Counter(written).values()) > _SAME * len(cases):
        return []
    return [case for case, text in zip(cases, written, strict=True) if len(text) <= _LONGEST_RESULT]


def _number_lists(rng: random.Random, marks: list[int], *, count: int, longest: int) -> list[tuple[int, ...]]:
    near = sorted({sign * (mark + off) for mark in [0, *marks] for off in (-1, 0, 1) for sign in (1, -1)})
    dense = list(range(-_DENSE, _DENSE + 1))
    rng.shuffle(dense)
    lists = [(0,), (1,), (-1,), (2,), (7, 7, 7), tuple(near), tuple(range(-longest, longest)), tuple(dense)]
    lists += [(mark,) for mark in near[:: 1 + len(near) // 12]]
    for place, size in enumerate(_sizes(rng, count=count, longest=longest)):
        reach = rng.choice((3, 12, 12, 40, 40, 200, 1000))
        drawn = [rng.choice(near) if rng.random() < 0.3 else rng.randint(-reach, reach) for _ in range(size)]
        lists.append(tuple(_ordered(drawn, place)))
    return lists


def _word_lists(rng: random.Random, marks: list[int], *, count: int, longest: int) -> list[tuple[str, ...]]:
    lengths = sorted({max(1, mark + off) for mark in [1, *marks] for off in (-1, 0, 1, 2)})
    lists = [("a",), ("word",), ("same", "same", "other", "same"), ("b", "ab", "a", "ba", "abc", "cba")]
    for place, size in enumerate(_sizes(rng, count=count, longest=longest)):
        letters = rng.choice((_LETTERS[:2], _LETTERS[:5], _LETTERS))
        words = ["".join(rng.choices(letters, k=rng.choice(lengths))) for _ in range(size)]
        lists.append(tuple(_ordered([rng.choice(words) for _ in range(size)], place)))
    return lists


def _ordered(drawn: list[Any], place: int) -> list[Any]:
    """Return two of seven lists in order: the smallest or largest element stands behind all others."""
    return sorted(drawn, reverse=place % 7 == 0) if place % 7 < 2 else drawn


def _sizes(rng: random.Random, *, count: int, longest: int) -> list[int]:
    """Return numbers of elements, of which every fourth is up to five times as large."""
    return [rng.randint(longest, 5 * longest) if place % 4 == 0 else rng.randint(1, longest) for place in range(count)]


@functools.cache
def wide_lists(takes: Kind) -> tuple[tuple[Any, ...], ...]:
    """Return the lists by which pipelines are compared, with most boundaries among them."""
    rng = random.Random(f"compare {takes}")
    marks = list(range(1, 31)) if takes is Kind.NUMBERS else list(range(1, 10))
    draw = _number_lists if takes is Kind.NUMBERS else _word_lists
    return ((), *dict.fromkeys(draw(rng, marks, count=120, longest=30)))
