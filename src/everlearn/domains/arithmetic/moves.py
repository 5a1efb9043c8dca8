"""Moves towards fewer digits: derived here without a model, asked of a model in words, and read from what it wrote.

    drop first digits    347 + 58  ->  7 + 8       both numbers lose digits in front, one of them where it has no more
    drop last digits     347 + 58  ->  34 + 5      both lose digits at the end
    shorten one          347 + 58  ->  347 + 8     one of the numbers loses digits in front

How many digits are lost is drawn at random, so that one problem has variants of every size below its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from everlearn.domains.arithmetic.grammar import read_calculation
from everlearn.errors import GrammarError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from everlearn.domains.arithmetic.grammar import Calculation

FIRST, LAST, ONE = "drop first digits", "drop last digits", "shorten one"
MOVES = (FIRST, LAST, ONE)
_ASKED = {
    FIRST: "Both numbers should lose digits at the front.",
    LAST: "Both numbers should lose digits at the end.",
    ONE: "Only one of the numbers should lose digits.",
}


def derive(asked: Calculation, move: str, *, rng: random.Random) -> Calculation | None:
    """Return an easier calculation; None where the numbers have a digit each."""
    if asked.digits == 1:
        return None
    count = rng.randint(1, asked.digits - 1)
    if move == ONE:
        return _with_one_shorter(asked, rng=rng)
    shorten: Callable[[int, int], int] = _without_first if move == FIRST else _without_last
    return replace(asked, left=shorten(asked.left, count), right=shorten(asked.right, count))


def _with_one_shorter(asked: Calculation, *, rng: random.Random) -> Calculation:
    is_left = rng.choice([side for side, number in ((True, asked.left), (False, asked.right)) if number > 9])
    number = asked.left if is_left else asked.right
    shorter = _without_first(number, rng.randint(1, len(str(number)) - 1))
    return replace(asked, left=shorter) if is_left else replace(asked, right=shorter)


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


def _without_first(number: int, count: int) -> int:
    """Return the number without that many digits in front; the last digit stays."""
    kept = max(1, len(str(number)) - count)
    return int(str(number)[-kept:])


def _without_last(number: int, count: int) -> int:
    """Return the number without that many digits at the end; the first digit stays."""
    return int(str(number)[: max(1, len(str(number)) - count)])
