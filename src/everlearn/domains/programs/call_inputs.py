"""Tests of pipelines: edge cases, lists that reach every boundary of the steps, and random lists, with their results.

They depend on the steps and a seed. Those whose result is long are left out.
"""

from __future__ import annotations

import functools
import random
from typing import TYPE_CHECKING, Any

from everlearn.domains.programs.harness import encode
from everlearn.domains.programs.hidden_tests import Case
from everlearn.domains.programs.steps import Kind

if TYPE_CHECKING:
    from everlearn.domains.programs.pipelines import Pipeline

VERIFIED, VERIFIED_LENGTH = 40, 14
"""Number of random lists of a verification, and numbers or words in the longest one."""
RECHECKED, RECHECKED_LENGTH = 60, 40
_DENSE = 140
_LONGEST_RESULT = 8000  # characters
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@functools.lru_cache(maxsize=512)
def cases_of(pipeline: Pipeline, *, seed: str, count: int = VERIFIED, longest: int = VERIFIED_LENGTH) -> list[Case]:
    """Return tests with different lists, the empty one first."""
    rng = random.Random(f"{seed} {pipeline}")
    draw = _number_lists if pipeline.takes is Kind.NUMBERS else _word_lists
    lists = draw(rng, sorted({step.number for step in pipeline.steps}), count=count, longest=longest)
    cases = [Case(arguments=[list(each)], result=pipeline.result(each)) for each in dict.fromkeys([(), *lists])]
    return [case for case in cases if len(encode(case.result)) <= _LONGEST_RESULT]


def _number_lists(rng: random.Random, marks: list[int], *, count: int, longest: int) -> list[tuple[int, ...]]:
    near = sorted({sign * (mark + off) for mark in [0, *marks] for off in (-1, 0, 1) for sign in (1, -1)})
    dense = list(range(-_DENSE, _DENSE + 1))
    rng.shuffle(dense)
    lists = [(0,), (1,), (-1,), (2,), (7, 7, 7), tuple(near), tuple(range(-longest, longest)), tuple(dense)]
    lists += [(mark,) for mark in near]
    for _ in range(count):
        reach = rng.choice((3, 12, 12, 40, 1000))
        drawn = [
            rng.choice(near) if rng.random() < 0.3 else rng.randint(-reach, reach)
            for _ in range(rng.randint(1, longest))
        ]
        lists.append(tuple(drawn))
    return lists


def _word_lists(rng: random.Random, marks: list[int], *, count: int, longest: int) -> list[tuple[str, ...]]:
    lengths = sorted({max(1, mark + off) for mark in [1, *marks] for off in (-1, 0, 1, 2)})
    lists = [("a",), ("word",), ("same", "same", "other", "same"), ("b", "ab", "a", "ba", "abc", "cba")]
    for _ in range(count):
        letters = rng.choice((_LETTERS[:2], _LETTERS[:5], _LETTERS))
        size = rng.randint(1, longest)
        words = ["".join(rng.choices(letters, k=rng.choice(lengths))) for _ in range(size)]
        lists.append(tuple(rng.choice(words) for _ in range(size)))
    return lists


def wide_inputs(pipeline: Pipeline) -> tuple[tuple[Any, ...], ...]:
    """Return the lists by which pipelines are compared: equal for all that take the same."""
    return _wide_inputs(pipeline.takes)


@functools.cache
def _wide_inputs(takes: Kind) -> tuple[tuple[Any, ...], ...]:
    rng = random.Random(f"compare {takes}")
    marks = list(range(1, 31)) if takes is Kind.NUMBERS else list(range(1, 10))
    draw = _number_lists if takes is Kind.NUMBERS else _word_lists
    return ((), *dict.fromkeys(draw(rng, marks, count=120, longest=30)))
