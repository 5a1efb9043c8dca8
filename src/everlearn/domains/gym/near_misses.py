"""Answers that are close to a right one and wrong by construction.

Of a number: another sign, one more, another digit, ten times. Of numbers that the question states and the answer
repeats, as a sorted list does: one of them replaced by a number that the question does not have.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,39})(?:\.[0-9]{1,20})?")
_STEPS = (1, 2, 3, 5, 10, 100)
_NUMBERS = re.compile(r"""[-0-9.,;\s\[\]()"']+""")
_LISTED = re.compile(r"(?<![0-9.])-?[0-9]{1,40}(?:\.[0-9]{1,20})?(?!\.?[0-9])")
_REPLACED = 8
"""Numbers of a list that are replaced, one an answer."""


def is_number(text: str) -> bool:
    """Return whether a text is a whole number or a decimal, as in `-12` or `3.50`."""
    return _NUMBER.fullmatch(text) is not None


def near_misses(answer: str, *, rng: random.Random) -> list[str]:
    """Return numbers that differ from `answer`, a number, by 1 at least or by its sign; nothing for any other text.

    A decimal is not changed in its last digit: it may be rounded, and a neighbour of it as right.
    """
    if not is_number(answer):
        return []
    right = Decimal(answer)
    whole, point, places = answer.partition(".")
    digits = whole.removeprefix("-")
    sign = whole.removesuffix(digits)
    other_last = rng.choice([digit for digit in "0123456789" if digit != digits[-1]])
    near = [
        *(f"{right + step * way:f}" for step in _STEPS for way in (1, -1)),
        f"{-right:f}",
        f"{whole}0{point}{places}",
        f"{sign}1{digits}{point}{places}",
        f"{sign}{digits[:-1]}{other_last}{point}{places}",
        f"{sign}{digits[::-1]}{point}{places}",
        f"{sign}{digits[:-1] or '0'}{point}{places}",
        f"{sign}{digits[1:] or '0'}{point}{places}",
    ]
    different = {text: None for text in near if abs(Decimal(text) - right) >= 1}
    return list(different) + ([f"{-right:f}"] if 0 < abs(right) < Decimal("0.5") else [])


def other_copies(answer: str, question: str, *, rng: random.Random) -> list[str]:
    """Return the answer with one number replaced; nothing unless it is several numbers, all of them in the question.

    Such numbers are copied and never rounded, so that a number which differs by a tenth is as wrong as any other.
    """
    stated = {Decimal(found) for found in _LISTED.findall(question)}
    places = list(_LISTED.finditer(answer))
    if len(places) < 2 or not _NUMBERS.fullmatch(answer) or not stated.issuperset(Decimal(at[0]) for at in places):
        return []
    others = []
    for at in rng.sample(places, min(_REPLACED, len(places))):
        step = Decimal(rng.choice((1, 2, 9))) / (10 if "." in at[0] else 1)
        other = Decimal(at[0]) + rng.choice((-1, 1)) * step
        if other not in stated:
            others.append(f"{answer[: at.start()]}{other:f}{answer[at.end() :]}")
    return list(dict.fromkeys(others))
