"""All real solutions, exactly: of a polynomial in one unknown by rational roots and square roots, of a system by elimination.

Used to decide whether an equation belongs to the domain, to write right answers, and to draw equations. The verifier does
not use it: it puts an answer into the equation.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

from everlearn.domains.equations.polynomials import (
    Univariate,
    count_real_roots,
    divide,
    rational_roots,
    squarefree,
)
from everlearn.domains.equations.surds import SurdSum
from everlearn.errors import GrammarError

if TYPE_CHECKING:
    from collections.abc import Sequence


def real_roots(polynomial: Univariate) -> tuple[SurdSum, ...]:
    """Return the distinct real roots of a polynomial of degree 0 to 4, the smallest first.

    Raises:
        GrammarError: a root needs more than square roots of rational numbers, or has too large a radicand.
    """
    rest = squarefree(polynomial)
    found = []
    for root in rational_roots(rest):
        found.append(SurdSum.rational(root))
        rest = divide(rest, (-root, Fraction(1)))[0]
    for factor in quadratic_factors(rest):
        found += _roots_of_quadratic(factor)
    if len(found) != count_real_roots(polynomial):
        raise GrammarError("a solution of this equation needs more than square roots: the equation is not read")
    return tuple(sorted(found))


def quadratic_factors(polynomial: Univariate) -> list[Univariate]:
    """Return quadratic factors with rational coefficients of a polynomial without rational roots, as far as there are any.

    A quartic y^4 + p*y^2 + q*y + r is (y^2 + a*y + b)*(y^2 - a*y + c), where a^2 is a root of the resolvent cubic.
    """
    if len(polynomial) == 3:
        return [polynomial]
    if len(polynomial) != 5:
        return []
    shift, (r, q, p) = _depressed(polynomial)
    resolvent = (-q * q, p * p - 4 * r, 2 * p, Fraction(1))
    for square in rational_roots(resolvent):
        a = _rational_square_root(square)
        if a is None:
            continue
        if a:
            b, c = (p + square - q / a) / 2, (p + square + q / a) / 2
        else:
            half = _rational_square_root(p * p / 4 - r)
            if half is None:
                continue
            b, c = p / 2 - half, p / 2 + half
        return [_shifted(linear, constant, shift) for linear, constant in ((a, b), (-a, c))]
    return []


def _depressed(polynomial: Univariate) -> tuple[Fraction, tuple[Fraction, Fraction, Fraction]]:
    """Return the shift s and the lower coefficients of the monic quartic in y = x + s that has no cubic term."""
    d, c, b, a, _ = (value / polynomial[-1] for value in polynomial)
    s = a / 4
    return s, (d - c * s + b * s**2 - 3 * s**4, c - 2 * b * s + 8 * s**3, b - 6 * s**2)


def _shifted(linear: Fraction, constant: Fraction, shift: Fraction) -> Univariate:
    """Return y^2 + linear*y + constant with y = x + shift."""
    return (constant + linear * shift + shift**2, linear + 2 * shift, Fraction(1))


def _rational_square_root(value: Fraction) -> Fraction | None:
    if value < 0:
        return None
    root = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
    return root if root * root == value else None


def _roots_of_quadratic(polynomial: Univariate) -> list[SurdSum]:
    c, b, a = polynomial
    discriminant = b * b - 4 * a * c
    if discriminant < 0:
        return []
    middle, half = SurdSum.rational(-b / (2 * a)), SurdSum.square_root(discriminant / (4 * a * a))
    return [middle - half, middle + half]


def solve_system(rows: Sequence[Sequence[Fraction]]) -> tuple[Fraction, ...] | None:
    """Return the solution of linear equations, given as coefficients and right side; None if there is none.

    Raises:
        GrammarError: there are infinitely many.
    """
    matrix = [list(row) for row in rows]
    unknowns = len(matrix[0]) - 1
    rank = 0
    for column in range(unknowns):
        pivot = next((place for place in range(rank, len(matrix)) if matrix[place][column]), None)
        if pivot is None:
            continue
        matrix[rank], matrix[pivot] = matrix[pivot], matrix[rank]
        matrix[rank] = [value / matrix[rank][column] for value in matrix[rank]]
        for place, row in enumerate(matrix):
            if place != rank:
                matrix[place] = [one - row[column] * other for one, other in zip(row, matrix[rank], strict=True)]
        rank += 1
    if any(row[-1] for row in matrix[rank:]):
        return None
    if rank < unknowns:
        raise GrammarError("the system has infinitely many solutions")
    return tuple(row[-1] for row in matrix[:rank])
