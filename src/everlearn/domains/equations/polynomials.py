"""Exact polynomials with rational coefficients: of trees in several unknowns, and in one unknown with its real roots.

A polynomial in several unknowns maps exponents to coefficients. One in a single unknown is a tuple of coefficients, the
constant first, without zeros at the end; the zero polynomial is ().
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

from everlearn.domains.equations.grammar import (
    Constant,
    EquationTree,
    Power,
    Quotient,
    SignedSum,
    Unknown,
)
from everlearn.errors import GrammarError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Exponents: TypeAlias = tuple[int, ...]
Polynomial: TypeAlias = dict[Exponents, Fraction]
Univariate: TypeAlias = tuple[Fraction, ...]

LARGEST = 10**15
"""Largest numerator or denominator of a coefficient."""
HIGHEST = 8
"""Highest degree of a part of an equation; higher terms may cancel."""


def polynomial_of(tree: EquationTree, unknowns: Sequence[str]) -> Polynomial:
    """Return the polynomial of a tree.

    Raises:
        GrammarError: it is none, or exceeds a limit.
    """
    match tree:
        case Constant(value):
            return _bounded({(0,) * len(unknowns): value})
        case Unknown(name):
            return {tuple(int(name == each) for each in unknowns): Fraction(1)}
        case SignedSum(terms):
            total: Polynomial = {}
            for sign, term in terms:
                if sign == 0:
                    raise GrammarError("± is not read in an equation")
                total = plus(total, polynomial_of(term, unknowns), scale=sign)
            return total
        case Quotient(factors):
            return _product(factors, unknowns)
        case Power(base, exponent):
            return times(*[polynomial_of(base, unknowns)] * exponent, unknowns=len(unknowns))
    raise GrammarError("square roots are not read in an equation")


def _product(factors: Sequence[tuple[str, EquationTree]], unknowns: Sequence[str]) -> Polynomial:
    found = times(unknowns=len(unknowns))
    for operation, factor in factors:
        part = polynomial_of(factor, unknowns)
        if operation == "/":
            if degree_of(part) > 0 or not part:
                raise GrammarError("a division by zero or by an unknown")
            part = {exponents: 1 / value for exponents, value in part.items()}
        found = times(found, part, unknowns=len(unknowns))
    return found


def plus(one: Polynomial, other: Polynomial, *, scale: int | Fraction = 1) -> Polynomial:
    """Return the sum of the first and `scale` times the second."""
    total = dict(one)
    for exponents, value in other.items():
        total[exponents] = total.get(exponents, Fraction(0)) + scale * value
    return _bounded(total)


def times(*parts: Polynomial, unknowns: int) -> Polynomial:
    """Return the product; of no parts, 1."""
    found: Polynomial = {(0,) * unknowns: Fraction(1)}
    for part in parts:
        result: Polynomial = {}
        for (left, one), (right, other) in ((a, b) for a in found.items() for b in part.items()):
            exponents = tuple(map(sum, zip(left, right, strict=True)))
            result[exponents] = result.get(exponents, Fraction(0)) + one * other
        found = _bounded(result)
    return found


def _bounded(polynomial: Polynomial) -> Polynomial:
    kept = {exponents: value for exponents, value in polynomial.items() if value}
    if any(max(abs(value.numerator), value.denominator) > LARGEST for value in kept.values()):
        raise GrammarError("the numbers of the equation become too large")
    if degree_of(kept) > HIGHEST:
        raise GrammarError(f"a part of a degree above {HIGHEST}")
    return kept


def degree_of(polynomial: Polynomial) -> int:
    """Return the total degree; 0 for the zero polynomial."""
    return max(map(sum, polynomial), default=0)


def univariate(polynomial: Polynomial) -> Univariate:
    """Return the coefficients of a polynomial in one unknown."""
    size = max((exponent for (exponent,) in polynomial), default=-1) + 1
    return tuple(polynomial.get((exponent,), Fraction(0)) for exponent in range(size))


def primitive(coefficients: Sequence[Fraction]) -> tuple[int, ...]:
    """Return the proportional whole numbers without a common factor, by a positive scale."""
    scale = math.lcm(*(value.denominator for value in coefficients))
    whole = [int(value * scale) for value in coefficients]
    common = math.gcd(*whole) or 1
    return tuple(value // common for value in whole)


def divide(dividend: Univariate, divisor: Univariate) -> tuple[Univariate, Univariate]:
    """Return quotient and remainder. The divisor is not zero."""
    rest, quotient = list(dividend), [Fraction(0)] * max(0, len(dividend) - len(divisor) + 1)
    for place in reversed(range(len(quotient))):
        quotient[place] = rest[place + len(divisor) - 1] / divisor[-1]
        for offset, value in enumerate(divisor):
            rest[place + offset] -= quotient[place] * value
    return tuple(quotient), _trimmed(rest)


def _trimmed(coefficients: Sequence[Fraction]) -> Univariate:
    size = max((place for place, value in enumerate(coefficients) if value), default=-1) + 1
    return tuple(coefficients[:size])


def derivative(polynomial: Univariate) -> Univariate:
    """Return the derivative."""
    return tuple(place * value for place, value in enumerate(polynomial))[1:]


def squarefree(polynomial: Univariate) -> Univariate:
    """Return the polynomial that has each root once. The argument is not zero."""
    one, other = polynomial, derivative(polynomial)
    while other:
        one, other = other, divide(one, other)[1]
    return divide(polynomial, one)[0]


def value_at(polynomial: Univariate, point: Fraction) -> Fraction:
    """Return the value at a point."""
    total = Fraction(0)
    for coefficient in reversed(polynomial):
        total = total * point + coefficient
    return total


def count_real_roots(polynomial: Univariate) -> int:
    """Return the number of distinct real roots of a polynomial that is not zero, by Sturm's theorem."""
    chain = sturm_chain(squarefree(polynomial))
    at_infinity = [each[-1] for each in chain]
    at_minus_infinity = [each[-1] * (-1) ** (len(each) - 1) for each in chain]
    return sign_changes(at_minus_infinity) - sign_changes(at_infinity)


def sturm_chain(polynomial: Univariate) -> list[Univariate]:
    """Return Sturm's chain of a polynomial without multiple roots."""
    chain = [polynomial]
    following = derivative(polynomial)
    while following:
        chain.append(following)
        following = tuple(-value for value in divide(chain[-2], chain[-1])[1])
    return chain


def sign_changes(values: Sequence[Fraction]) -> int:
    """Return how often the sign changes, zeros left out."""
    signs = [value > 0 for value in values if value]
    return sum(one != other for one, other in pairwise(signs))


def rational_roots(polynomial: Univariate) -> Iterator[Fraction]:
    """Yield the distinct rational roots of a polynomial that is not zero, the smallest first.

    With leading coefficient a, the numbers a times root are the integer roots of a monic integer polynomial. These lie in
    intervals of length 1 that Sturm's theorem finds by halving.
    """
    whole = primitive(squarefree(polynomial))
    degree, lead = len(whole) - 1, whole[-1]
    if degree < 1:
        return
    monic = (*(Fraction(whole[k] * lead ** (degree - 1 - k)) for k in range(degree)), Fraction(1))
    chain, bound = sturm_chain(monic), 2 + max(abs(int(value)) for value in monic)
    intervals = [(-bound, bound)]
    found = []
    while intervals:
        low, high = intervals.pop()
        if not _changes_at(chain, low) - _changes_at(chain, high):
            continue
        if high - low > 1:
            middle = (low + high) // 2
            intervals += [(middle, high), (low, middle)]
        elif value_at(monic, Fraction(high)) == 0:
            found.append(Fraction(high, lead))
    yield from sorted(found)


def _changes_at(chain: list[Univariate], point: int) -> int:
    return sign_changes([value_at(each, Fraction(point)) for each in chain])
