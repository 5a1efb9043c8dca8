"""Read an addition or multiplication of two whole numbers, and an answer to one. Nothing is evaluated as code.

    347 + 58    What is 347 plus 58?    12 * 345 =    the product of 1,200 and 7    Add 3 and 4.

A number has digits, with or without a comma before each group of three, and no leading zero. An answer may also have a
sign, an equals sign before it and a full stop after it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from everlearn.errors import GrammarError

MAX_DIGITS = 100
"""Most digits of a number in a problem."""
_LONGEST = 1000  # characters of a statement or an answer that are looked at

_NUMBER = r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|0|[1-9][0-9]*)"
_ASKING = r"(?:(?:what(?: is|'s)|calculate|compute|evaluate|find|solve)\s*:?\s+)?"
_BETWEEN = re.compile(
    rf"{_ASKING}({_NUMBER})\s*(\+|plus|\*|[×x·]|times|multiplied by)\s*({_NUMBER})\s*(?:=\s*)?[?.]?",  # noqa: RUF001
    re.IGNORECASE,
)
_BEFORE = re.compile(
    rf"{_ASKING}(?:the\s+)?(sum of|product of|add|multiply)\s+({_NUMBER})\s+(?:and|by|to)\s+({_NUMBER})\s*[?.]?",
    re.IGNORECASE,
)
_ANSWER = re.compile(r"=?\s*([+\-−]?)\s*([0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)\s*\.?")  # noqa: RUF001 (the minus sign of typography)
_ADDING = frozenset({"+", "plus", "sum of", "add"})


class Operation(StrEnum):
    """What is done with the two numbers."""

    ADDITION = "addition"
    MULTIPLICATION = "multiplication"

    @property
    def symbol(self) -> str:
        """The symbol between the numbers."""
        return "+" if self is Operation.ADDITION else "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calculation:
    """Two whole numbers and what is done with them."""

    operation: Operation
    left: int
    right: int

    def __str__(self) -> str:
        return f"{self.left} {self.operation.symbol} {self.right}"

    @property
    def result(self) -> int:
        """The exact result."""
        return self.left + self.right if self.operation is Operation.ADDITION else self.left * self.right

    @property
    def digits(self) -> int:
        """Number of digits of the longer number."""
        return max(len(str(self.left)), len(str(self.right)))


def read_calculation(text: str) -> Calculation:
    """Return the calculation that a text asks for, in symbols or words.

    Raises:
        GrammarError: it is none, or a number has more than `MAX_DIGITS` digits.
    """
    text = " ".join(text[:_LONGEST].split()) if len(text) <= _LONGEST else ""
    if found := _BETWEEN.fullmatch(text):
        left, named, right = found.groups()
    elif found := _BEFORE.fullmatch(text):
        named, left, right = found.groups()
    else:
        raise GrammarError("no addition or multiplication of two whole numbers: write it as 347 + 58 or 12 * 345")
    operation = Operation.ADDITION if named.lower() in _ADDING else Operation.MULTIPLICATION
    return Calculation(operation=operation, left=_number(left), right=_number(right))


def read_answer(text: str) -> int | None:
    """Return the number that an answer states; None if it is too long to be right.

    Raises:
        GrammarError: it is no whole number.
    """
    found = _ANSWER.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if found is None:
        shown = text if len(text) <= 40 else f"{text[:40]}…"
        raise GrammarError(f"the answer {shown!r} is no whole number such as 405, 1,234 or -7")
    sign, written = found.groups()
    digits = written.replace(",", "").lstrip("0")
    if len(digits) > 2 * MAX_DIGITS:
        return None
    return -int(digits or "0") if sign in ("-", "−") else int(digits or "0")  # noqa: RUF001


def _number(written: str) -> int:
    digits = written.replace(",", "")
    if len(digits) > MAX_DIGITS:
        raise GrammarError(f"a number of {len(digits)} digits: at most {MAX_DIGITS} are accepted")
    return int(digits)
