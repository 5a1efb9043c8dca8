"""Results in columns of digits, as on paper: a second way that shares no operation on large numbers with the first."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from everlearn.domains.arithmetic.grammar import Operation

if TYPE_CHECKING:
    from everlearn.domains.arithmetic.grammar import Calculation


def written_result(asked: Calculation) -> str:
    """Return the decimal digits of the result."""
    left, right = _digits(asked.left), _digits(asked.right)
    columns = _sums(left, right) if asked.operation is Operation.ADDITION else _products(left, right)
    return _carried(columns)


def _digits(number: int) -> list[int]:
    """Return the digits, the last one first."""
    return [int(digit) for digit in reversed(str(number))]


def _sums(left: list[int], right: list[int]) -> list[int]:
    return [one + other for one, other in zip_longest(left, right, fillvalue=0)]


def _products(left: list[int], right: list[int]) -> list[int]:
    columns = [0] * (len(left) + len(right))
    for i, one in enumerate(left):
        for j, other in enumerate(right):
            columns[i + j] += one * other
    return columns


def _carried(columns: list[int]) -> str:
    """Carry from column to column, and return the digits in the usual order, without leading zeros."""
    written, carry = "", 0
    for column in [*columns, 0]:
        carry, digit = divmod(carry + column, 10)
        written = f"{digit}{written}"
    return written.lstrip("0") or "0"
