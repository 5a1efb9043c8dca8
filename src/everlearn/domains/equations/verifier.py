"""Judge solutions exactly: each one is put into the equation, and their number is compared with that of the real roots.

The number of distinct real roots is counted by Sturm's theorem, so that a missing solution is noticed without solving.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from everlearn.domains.equations.polynomials import count_real_roots, univariate
from everlearn.domains.equations.surds import SurdSum
from everlearn.problem import Ruling, Verdict

if TYPE_CHECKING:
    from everlearn.domains.equations.answers import Claim
    from everlearn.domains.equations.polynomials import Polynomial
    from everlearn.domains.equations.statements import Equations


def judge_exactly(asked: Equations, claim: Claim) -> Verdict:
    """Return the verdict. Raises GrammarError if a stated number is not real or exceeds a limit."""
    points, polynomials = claim.values, asked.polynomials
    for point in points:
        if any(value_at_point(each, point).terms for each in polynomials):
            return Verdict(ruling=Ruling.WRONG, reason="the equation does not hold for a stated solution")
    # A system was solved when it was read: it has one solution or none.
    expected = count_real_roots(univariate(polynomials[0])) if len(asked.unknowns) == 1 else len(asked.solutions)
    if len(points) != expected:
        return Verdict(ruling=Ruling.WRONG, reason=f"{len(points)} solutions are stated, and there are {expected}")
    return Verdict(ruling=Ruling.CORRECT, reason="all solutions, and no other number")


def value_at_point(polynomial: Polynomial, point: tuple[SurdSum, ...]) -> SurdSum:
    """Return the value of a polynomial."""
    total = SurdSum.rational(Fraction(0))
    for exponents, coefficient in polynomial.items():
        term = SurdSum.rational(coefficient)
        for value, exponent in zip(point, exponents, strict=True):
            for _ in range(exponent):
                term = term * value
        total = total + term
    return total
