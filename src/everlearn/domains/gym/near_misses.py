"""Answers that are close to a right number and wrong by construction: another sign, one more, another digit, ten times."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,39})(?:\.[0-9]{1,20})?")
_STEPS = (1, 2, 3, 5, 10, 100)


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
