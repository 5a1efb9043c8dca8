"""Right and wrong answers by construction, to certify the verifier. None is used in prompts or rewards."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from everlearn.domains.equations.grammar import unparse
from everlearn.domains.numbers.references import Symbolic

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from everlearn.domains.numbers.quantities import Quantity
    from everlearn.domains.numbers.references import Stated

MOST_WRONG = 40


def right_text(stated: Stated) -> str:
    """Return a reference in plain notation, without unit or currency."""
    if isinstance(stated, Symbolic):
        return unparse(stated.tree)
    return f"{plain_number(stated.value)}{'%' if stated.is_percent else ''}"


def plain_number(value: Fraction) -> str:
    """Return a whole number, a finite decimal of at most six places, or a fraction."""
    if value.denominator == 1:
        return str(value.numerator)
    scaled = value * 10**6
    if scaled.denominator != 1:
        return str(value)
    digits = f"{abs(scaled.numerator):07d}"
    return f"{'-' if value < 0 else ''}{digits[:-6]}.{digits[-6:].rstrip('0')}"


def other_texts(stated: Stated) -> list[str]:
    """Return the reference in other notations that are read."""
    text = right_text(stated)
    found = [
        f" {text} ",
        f"{text}.",
        f"${text.replace('%', chr(92) + '%')}$",
        f"**{text}**",
        f"= {text}",
        f"#### {text}",
    ]
    if isinstance(stated, Symbolic):
        return [*found[:2], f"{text} "]
    return [*found, *_other_numbers(stated)]


def _other_numbers(stated: Quantity) -> Iterator[str]:
    sign, value = "-" if stated.value < 0 else "", abs(stated.value)
    percent = "%" if stated.is_percent else ""
    if value.denominator == 1:
        yield f"{sign}{value.numerator:,}.00{percent}"
        yield f"{sign}{value.numerator:,}{percent}"
    else:
        yield f"{sign}{value}{percent}"
        yield rf"{sign}\frac{{{value.numerator}}}{{{value.denominator}}}{percent}"
    if value > 1 and value.denominator > 1 and not sign:
        whole, rest = divmod(value, 1)
        yield f"{whole} {rest}{percent}"
    if not percent and not stated.currency and not stated.unit:
        yield f"${right_text(stated)}" if not sign else f"-${right_text(stated)[1:]}"


def wrong_texts(stated: Stated, rng: random.Random) -> list[str]:
    """Return other numbers, or other expressions, than the reference."""
    if isinstance(stated, Symbolic):
        text = unparse(stated.tree)
        drawn = [f"{text} + {number}" for number in range(1, 5)] + [f"{number}*({text})" for number in range(2, 6)]
        return [*drawn, f"{text} - 1/{rng.randint(2, 9)}", f"-({text})", "12345678917", "-98765432123"]
    value = stated.value
    near = [
        value + offset for offset in (1, -1, 2, -2, 10, -10, Fraction(1, 10), Fraction(-1, 1000), rng.randint(3, 9))
    ]
    near += [value * factor for factor in (10, 2, 3, Fraction(1, 2), Fraction(1, 10))]
    near += [-value, Fraction(value.denominator, value.numerator) if value else Fraction(7), value + Fraction(1, 3)]
    percent = "%" if stated.is_percent else ""
    texts = dict.fromkeys(f"{plain_number(each)}{percent}" for each in near if each != value)
    return [*texts][:MOST_WRONG]
