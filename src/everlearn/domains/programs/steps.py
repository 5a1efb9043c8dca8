"""The steps of the small language: their words, what they take and give, what they compute, and Python code that does it.

`apply` is the interpreter that tests are made with; `code` is text, which only ever runs in the sandbox.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


_GROWING = ("square each", "write each word twice", "replace the numbers by their running")


class Kind(StrEnum):
    """What a step takes or gives."""

    NUMBERS = "numbers"
    WORDS = "words"
    RESULT = "result"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepForm:
    """A kind of step. `words` and `code` may have a place `K` for a number between `least` and `most`."""

    words: str
    takes: Kind
    gives: Kind
    apply: Callable[[list[Any], int], Any]
    code: str
    least: int = 0
    most: int = 0

    @property
    def grows(self) -> bool:
        """Whether values may get much longer."""
        return self.words.startswith(_GROWING)

    @property
    def has_number(self) -> bool:
        """Whether the step has a number."""
        return self.most > 0

    @property
    def pattern(self) -> re.Pattern[str]:
        """What the words look like."""
        return re.compile(re.escape(self.words).replace("K", "(0|[1-9][0-9]{0,2})"))


def _numbers(words: str, apply: Callable[[list[int], int], Any], code: str, least: int = 0, most: int = 0) -> StepForm:
    return StepForm(words=words, takes=Kind.NUMBERS, gives=Kind.NUMBERS, apply=apply, code=code, least=least, most=most)


def _words(words: str, apply: Callable[[list[str], int], Any], code: str, least: int = 0, most: int = 0) -> StepForm:
    return StepForm(words=words, takes=Kind.WORDS, gives=Kind.WORDS, apply=apply, code=code, least=least, most=most)


def _result(takes: Kind, words: str, apply: Callable[[list[Any]], Any], code: str) -> StepForm:
    return StepForm(words=words, takes=takes, gives=Kind.RESULT, apply=lambda v, _: apply(v), code=code)


FORMS = (
    _numbers("keep the even numbers", lambda v, _: [n for n in v if not n & 1], "[n for n in v if n % 2 == 0]"),
    _numbers("keep the odd numbers", lambda v, _: [n for n in v if n & 1], "[n for n in v if n % 2 == 1]"),
    _numbers("keep the numbers greater than K", lambda v, k: [n for n in v if n > k], "[n for n in v if n > K]", 0, 30),
    _numbers("keep the numbers less than K", lambda v, k: [n for n in v if n < k], "[n for n in v if n < K]", 1, 30),
    _numbers(
        "keep the numbers divisible by K",
        lambda v, k: [n for n in v if not n % k],
        "[n for n in v if n % K == 0]",
        3,
        9,
    ),
    _numbers("keep the first K numbers", lambda v, k: v[:k], "v[:K]", 2, 9),
    _numbers("drop the first K numbers", lambda v, k: v[k:], "v[K:]", 2, 9),
    _numbers("add K to each number", lambda v, k: [n + k for n in v], "[n + K for n in v]", 1, 30),
    _numbers("subtract K from each number", lambda v, k: [n - k for n in v], "[n - K for n in v]", 1, 30),
    _numbers("multiply each number by K", lambda v, k: [n * k for n in v], "[n * K for n in v]", 2, 9),
    _numbers("square each number", lambda v, _: [n * n for n in v], "[n ** 2 for n in v]"),
    _numbers("change the sign of each number", lambda v, _: [-n for n in v], "[-n for n in v]"),
    _numbers("replace each number by its absolute value", lambda v, _: [abs(n) for n in v], "[abs(n) for n in v]"),
    _numbers("replace each number n by n % K", lambda v, k: [n - n // k * k for n in v], "[n % K for n in v]", 2, 9),
    _numbers("reverse the order of the numbers", lambda v, _: v[::-1], "list(reversed(v))"),
    _numbers("sort the numbers in ascending order", lambda v, _: sorted(v), "sorted(v)"),
    _numbers("sort the numbers in descending order", lambda v, _: sorted(v)[::-1], "sorted(v, reverse=True)"),
    _numbers(
        "keep only the first of equal numbers",
        lambda v, _: [n for place, n in enumerate(v) if n not in v[:place]],
        "list(dict.fromkeys(v))",
    ),
    _numbers(
        "replace the numbers by their running totals",
        lambda v, _: list(accumulate(v)),
        "[sum(v[: i + 1]) for i in range(len(v))]",
    ),
    _words(
        "keep the words longer than K letters",
        lambda v, k: [w for w in v if len(w) > k],
        "[w for w in v if len(w) > K]",
        2,
        7,
    ),
    _words(
        "keep the words shorter than K letters",
        lambda v, k: [w for w in v if len(w) < k],
        "[w for w in v if len(w) < K]",
        2,
        7,
    ),
    _words("keep the first K words", lambda v, k: v[:k], "v[:K]", 2, 9),
    _words("drop the first K words", lambda v, k: v[k:], "v[K:]", 2, 9),
    _words("keep the first K letters of each word", lambda v, k: [w[:k] for w in v], "[w[:K] for w in v]", 2, 5),
    _words("reverse the letters of each word", lambda v, _: [w[::-1] for w in v], '["".join(reversed(w)) for w in v]'),
    _words("write each word in capital letters", lambda v, _: [w.upper() for w in v], "[w.upper() for w in v]"),
    _words("write each word twice without a space", lambda v, _: [w + w for w in v], "[w * 2 for w in v]"),
    _words("reverse the order of the words", lambda v, _: v[::-1], "list(reversed(v))"),
    _words("sort the words in alphabetical order", lambda v, _: sorted(v), "sorted(v)"),
    _words(
        "keep only the first of equal words",
        lambda v, _: [w for place, w in enumerate(v) if w not in v[:place]],
        "list(dict.fromkeys(v))",
    ),
    StepForm(
        words="replace each word by its number of letters",
        takes=Kind.WORDS,
        gives=Kind.NUMBERS,
        apply=lambda v, _: [len(w) for w in v],
        code="[len(w) for w in v]",
    ),
    _result(Kind.NUMBERS, "return the list of numbers", lambda v: v, "v"),
    _result(Kind.NUMBERS, "return the sum of the numbers", sum, "sum(v)"),
    _result(Kind.NUMBERS, "return how many numbers there are", len, "len(v)"),
    _result(
        Kind.NUMBERS, "return the product of the numbers or 1 if there is none", prod, "__import__('math').prod(v)"
    ),
    _result(
        Kind.NUMBERS,
        "return the largest number or 0 if there is none",
        lambda v: max(v, default=0),
        "max(v, default=0)",
    ),
    _result(
        Kind.NUMBERS,
        "return the smallest number or 0 if there is none",
        lambda v: min(v, default=0),
        "min(v, default=0)",
    ),
    _result(Kind.WORDS, "return the list of words", lambda v: v, "v"),
    _result(Kind.WORDS, "return how many words there are", len, "len(v)"),
    _result(Kind.WORDS, "return the words joined by single spaces", " ".join, '" ".join(v)'),
)
