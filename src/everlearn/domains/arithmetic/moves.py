"""Moves towards fewer digits: derived here without a model, asked of a model in words, and read from what it wrote.

    drop first digits    347 + 58  ->  7 + 8       both numbers lose digits in front, one of them where it has no more
    drop last digits     347 + 58  ->  34 + 5      both lose digits at the end
    keep a part          347 + 58  ->  4 + 8       both keep digits that stand side by side, anywhere

How many digits are lost is drawn at random, so that one problem has variants of every size below its own. Both numbers
lose as many: where one alone is shortened, few columns are left, and the size says little about the difficulty.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from everlearn.domains.arithmetic.grammar import read_calculation
from everlearn.errors import GrammarError

if TYPE_CHECKING:
    import random

    from everlearn.domains.arithmetic.grammar import Calculation

FIRST, LAST, PART = "drop first digits", "drop last digits", "keep a part"
MOVES = (FIRST, LAST, PART)
_ASKED = {
    FIRST: "Both numbers should lose digits at the front.",
    LAST: "Both numbers should lose digits at the end.",
    PART: "Both numbers should keep only a few digits that stand side by side.",
}


def derive(asked: Calculation, move: str, *, rng: random.Random) -> Calculation | None:
    """Return an easier calculation; None where the numbers have a digit each."""
    if asked.digits == 1:
        return None
    count = rng.randint(1, asked.digits - 1)
    left, right = (_part_of(number, count, move, rng=rng) for number in (asked.left, asked.right))
    return replace(asked, left=left, right=right)


def words(asked: Calculation, move: str) -> str:
    """Return the words that ask a model for a variant."""
    return (
        f"Write an easier {asked.operation} than {asked}, with fewer digits. {_ASKED[move]} Do not solve it. "
        f"Answer with the {asked.operation} alone, in the form A {asked.operation.symbol} B."
    )


def read(asked: Calculation, written: str) -> Calculation | None:
    """Return the calculation that was written, if it is of the same operation and has fewer digits, else None."""
    try:
        variant = read_calculation(written)
    except GrammarError:
        return None
    shorter = _all_digits(variant) < _all_digits(asked) and variant.digits <= asked.digits
    return variant if shorter and variant.operation is asked.operation else None


def _all_digits(asked: Calculation) -> int:
    return len(str(asked.left)) + len(str(asked.right))


def _part_of(number: int, count: int, move: str, *, rng: random.Random) -> int:
    """Return the number without that many digits; one digit stays."""
    digits = str(number)
    kept = max(1, len(digits) - count)
    start = {FIRST: len(digits) - kept, LAST: 0, PART: rng.randint(0, len(digits) - kept)}[move]
    return int(digits[start : start + kept])
