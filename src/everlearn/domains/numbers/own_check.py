"""Compare an answer with a reference: numbers exactly, symbolic expressions at points, with 300 digits.

The points are positive rational numbers that are fixed by the names of the letters. Expressions are short (`references.py`),
so that no number of theirs comes near another one by chance to 250 digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mpmath

from everlearn.domains.equations.grammar import PI, Constant, EquationTree, Power, Quotient, SignedSum, Unknown
from everlearn.domains.numbers.quantities import Quantity
from everlearn.domains.numbers.references import leaves_of
from everlearn.problem import Ruling, Verdict

if TYPE_CHECKING:
    from everlearn.domains.numbers.references import Stated

_DIGITS = 300
_SAME = 250
_POINTS = 3
_FAR = 1e-6
"""Relative difference above which math-verify, which rounds to six places and is slow here, is not asked."""
_LONGER = 1  # more numbers and letters than the reference that an expression may have


@dataclass(frozen=True, slots=True)
class ReferenceComparison:
    """The verdict of this check alone, and whether another way of comparing could come to another one."""

    verdict: Verdict
    is_final: bool


def compare(reference: Stated, answer: Stated) -> ReferenceComparison:
    """Compare an answer with a reference. Reasons quote no number."""
    if isinstance(reference, Quantity):
        if isinstance(answer, Quantity):
            return _compare_quantities(reference, answer)
        return _final(Ruling.UNREADABLE, "an expression, where one number is asked for")
    if isinstance(answer, Quantity):
        match reference.tree:
            case Quotient((("*", Constant(value)), ("*", Unknown()))) if value == answer.value:
                return _final(Ruling.UNDECIDED, "the letter of the reference may be a unit or a factor")
        amount = Constant(abs(answer.amount))
        return _compare_expressions(reference.tree, amount if answer.amount >= 0 else SignedSum(((-1, amount),)))
    found = _compare_expressions(reference.tree, answer.tree)
    if found.verdict.is_correct and len(leaves_of(answer.tree)) > len(leaves_of(reference.tree)) + _LONGER:
        return _final(Ruling.UNDECIDED, "an equal expression that is longer, and may not be simplified")
    return found


def _final(ruling: Ruling, reason: str) -> ReferenceComparison:
    return ReferenceComparison(Verdict(ruling=ruling, reason=reason), is_final=True)


def _open(ruling: Ruling, reason: str) -> ReferenceComparison:
    return ReferenceComparison(Verdict(ruling=ruling, reason=reason), is_final=False)


def _compare_quantities(reference: Quantity, answer: Quantity) -> ReferenceComparison:
    if reference.amount != answer.amount:
        if reference.value == answer.value:
            return _final(Ruling.UNDECIDED, "only one of reference and answer has a percent sign")
        return _open(Ruling.WRONG, "another number")
    for what, one, other in (
        ("unit", reference.unit, answer.unit),
        ("currency", reference.currency, answer.currency),
    ):
        if one and other and one != other:
            return _final(Ruling.UNDECIDED, f"the same number with another {what}")
    return _open(Ruling.CORRECT, "the same number")


def _compare_expressions(reference: EquationTree, answer: EquationTree) -> ReferenceComparison:
    with mpmath.workdps(_DIGITS):
        largest = mpmath.mpf(0)
        for number in range(_POINTS):
            try:
                one, other = (_value(tree, number) for tree in (reference, answer))
            except ZeroDivisionError:
                return _final(Ruling.UNDECIDED, "a division by zero")
            largest = max(largest, abs(one - other) / max(abs(one), abs(other), 1))
        if largest > _FAR:
            return _final(Ruling.WRONG, "another expression, with other values")
        if largest > mpmath.mpf(10) ** -_SAME:
            return _open(Ruling.WRONG, "another expression, with values that are close")
    return _open(Ruling.CORRECT, "the same expression")


def _value(tree: EquationTree, number: int) -> Any:
    """Return the value at a point; complex where a root is."""
    match tree:
        case Constant(value):
            return mpmath.mpf(value.numerator) / value.denominator
        case Unknown(name):
            return mpmath.pi() if name == PI else _coordinate(name, number)
        case SignedSum(terms):
            return sum((sign * _value(term, number) for sign, term in terms), mpmath.mpf(0))
        case Quotient(factors):
            total = mpmath.mpf(1)
            for operation, factor in factors:
                part = _value(factor, number)
                total = total / part if operation == "/" else total * part
            return total
        case Power(base, exponent):
            return _value(base, number) ** exponent
    return mpmath.sqrt(_value(tree.radicand, number))


def _coordinate(name: str, number: int) -> Any:
    """Return a rational number between 1 and 8 that differs for letters and points."""
    place = ord(name) - ord("a")
    return 1 + mpmath.mpf(7919 * (place + 1) * (2 * number + 3) % 10007) / (1433 + 2 * place)
