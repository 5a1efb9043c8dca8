"""Draw equations of the same kind and form as a given one, with other numbers.

Linear equations and systems keep what is written: numbers are drawn with as many digits, a solution is drawn too, and one
number of each equation is changed so that it is the solution. Equations of a higher degree are built from roots like those
of the given one, and written as it is: as a product, as a polynomial, or with terms on both sides.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from everlearn.domains.equations.grammar import (
    Constant,
    EquationTree,
    Power,
    Quotient,
    SignedSum,
    product_of,
    sum_of,
    unparse,
)
from everlearn.domains.equations.keys import collected, tree_of
from everlearn.domains.equations.polynomials import (
    Polynomial,
    Univariate,
    divide,
    plus,
    polynomial_of,
    primitive,
    rational_roots,
    squarefree,
    times,
    univariate,
)
from everlearn.domains.equations.solver import quadratic_factors
from everlearn.domains.equations.statements import Equations, leaves_of, read_equations
from everlearn.errors import GrammarError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

Drawn: TypeAlias = "Callable[[int], int]"
Sides: TypeAlias = tuple[tuple[EquationTree, EquationTree], ...]
_TRIES = 20
_TEMPLATES = (
    "x + 1 = 2",
    "2*x = 6",
    "2*x + 3 = 7",
    "3*(x - 1) = 6",
    "5*x - 7 = 2*x + 8",
    "x^2 = 9",
    "x^2 - 5*x + 6 = 0",
    "x/3 + 1 = 5",
    "x + y = 5; x - y = 1",
    "12*(x - 5) + 4 = 4*(2*x + 7)",
    "2*x^2 - 3*x - 9 = 0",
    "x^2 + x - 3 = 0",
    "2*x + 3*y = 12; 5*x - y = 13",
    "15*x^2 - 38*x + 24 = 0",
    "x^3 - 6*x^2 + 11*x - 6 = 0",
    "14*x + 23*y = 143; 35*x - 12*y = 10",
    "x + y + z = 6; x - y + z = 2; 2*x + y - z = 1",
    "x^4 - 5*x^2 + 4 = 0",
    "2*x + 3*y - z = 5; 5*x - y + 4*z = 15; 3*x + 2*y + 7*z = 28",
    "13*x + 25*y - 31*z = -30; 52*x - 16*y + 44*z = 152; 37*x + 28*y + 75*z = 318",
)


def templates() -> list[Equations]:
    """Return one equation of each form that is drawn where none is given."""
    return [read_equations(text) for text in _TEMPLATES]


def digits_alike(rng: random.Random) -> Drawn:
    """Return the function that draws a number with as many digits as a given one; zero stays."""

    def draw(number: int) -> int:
        digits = len(str(number))
        return rng.randint(10 ** (digits - 1), 10**digits - 1) if number else 0

    return draw


def smaller(rng: random.Random) -> Drawn:
    """Return the function that draws a number below a given one, but not below one; zero stays."""
    return lambda number: rng.randint(1, max(1, number - 1)) if number else 0


def draw_similar(rng: random.Random, asked: Equations, *, draw: Drawn | None = None) -> Equations | None:
    """Return an equation of the same kind with drawn numbers, and with solutions if the given one has some.

    None if none of some tries is one.
    """
    draw = draw or digits_alike(rng)
    build = _from_roots if len(asked.unknowns) == 1 and asked.degree > 1 else _with_other_numbers
    for _ in range(_TRIES):
        try:
            sides = build(rng, asked, draw)
            found = None if sides is None else read_equations(written(sides))
        except GrammarError:
            continue
        if found and (found.kind, bool(found.solutions)) == (asked.kind, bool(asked.solutions)):
            return found
    return None


def written(sides: Sides) -> str:
    """Return the statement."""
    return "; ".join(f"{unparse(left)} = {unparse(right)}" for left, right in sides)


def _with_other_numbers(rng: random.Random, asked: Equations, draw: Drawn) -> Sides | None:
    """Return linear equations with drawn numbers that have a drawn solution; without solutions, with other constants."""
    if not asked.solutions:
        return tuple((_other_constant(left, draw), _other_constant(right, draw)) for left, right in asked.sides)
    values = [value.as_fraction or Fraction(0) for value in asked.solutions[0]]
    point = [_like_root(value, rng, draw) for value in values]
    found = []
    for left, right in asked.sides:
        pair = (_redrawn(left, draw), _redrawn(right, draw))
        if any(value.denominator > 1 for value in values):  # fractions come by themselves, and fit no whole number
            found.append(pair)
            continue
        polynomial = plus(*(polynomial_of(side, asked.unknowns) for side in pair), scale=-1)
        excess = sum((value * _power(point, key) for key, value in polynomial.items()), Fraction(0))
        mended = _mended(*pair, excess)
        if mended is None:
            return None
        found.append(mended)
    return tuple(found)


def _power(point: Sequence[Fraction], exponents: Sequence[int]) -> Fraction:
    """Return the value of a monomial of degree 0 or 1."""
    return next((value for value, exponent in zip(point, exponents, strict=True) if exponent), Fraction(1))


def _redrawn(tree: EquationTree, draw: Drawn) -> EquationTree:
    match tree:
        case Constant(value):
            return Constant(_drawn_fraction(value, draw))
        case SignedSum(terms):
            return sum_of([(sign, _redrawn(term, draw)) for sign, term in terms])
        case Quotient(factors):
            parts = [(operation, _redrawn(factor, draw)) for operation, factor in factors]
            return product_of([part for part in parts if part[1] != Constant(Fraction(1))] or parts[:1])
        case Power(base, exponent):
            return Power(_redrawn(base, draw), exponent)
    return tree


def _drawn_fraction(value: Fraction, draw: Drawn) -> Fraction:
    return Fraction(draw(value.numerator), draw(value.denominator) if value.denominator > 1 else 1)


def _other_constant(tree: EquationTree, draw: Drawn) -> EquationTree:
    """Return a side with other numbers among its terms, and the same factors."""
    if isinstance(tree, Constant):
        return _redrawn(tree, draw)
    if not isinstance(tree, SignedSum):
        return tree
    terms: list[tuple[int, EquationTree]] = []
    for sign, term in tree.terms:
        is_number = all(isinstance(leaf, Constant) for leaf in leaves_of(term))
        terms.append((sign, _redrawn(term, draw) if is_number else term))
    return sum_of(terms)


def _mended(left: EquationTree, right: EquationTree, excess: Fraction) -> tuple[EquationTree, EquationTree] | None:
    """Return the sides with a number changed by the excess of the left side; None if there is no such number."""
    if excess == 0:
        return left, right
    on_left, on_right = _changed(left, -excess), _changed(right, excess)
    if on_right is not None and (right != Constant(Fraction(0)) or on_left is None):
        return left, on_right
    return None if on_left is None else (on_left, right)


def _changed(tree: EquationTree, by: Fraction) -> EquationTree | None:
    """Return a sum with its last number changed; None if that is a fraction, zero or too long, or there is none."""
    terms: list[tuple[int, EquationTree]] = list(tree.terms) if isinstance(tree, SignedSum) else [(1, tree)]
    for place in reversed(range(len(terms))):
        sign, term = terms[place]
        if isinstance(term, Constant):
            value = sign * term.value + by
            is_longer = len(str(abs(value.numerator))) > len(str(term.value.numerator)) + 1
            if value.denominator > term.value.denominator or is_longer or not value:
                return None
            terms[place] = (1 if value > 0 else -1, Constant(abs(value)))
            return sum_of(terms)
    return None


def _from_roots(rng: random.Random, asked: Equations, draw: Drawn) -> Sides:
    """Return an equation of a higher degree with roots like those of the given one, written like it."""
    [(left, right)] = asked.sides
    polynomial = univariate(asked.polynomials[0])
    factors = [_like_factor(factor, rng, draw) for factor in _factors(polynomial)]
    lead = abs(primitive(polynomial)[-1])
    for factor in _factors(polynomial):
        lead //= int(factor[-1])
    scale = Fraction(draw(lead) if lead > 1 else 1)
    if right == Constant(Fraction(0)) and not isinstance(left, SignedSum):
        parts: list[tuple[str, EquationTree]] = [("*", tree_of(_terms(factor), asked.unknowns)) for factor in factors]
        return ((product_of(([("*", Constant(scale))] if scale != 1 else []) + parts), right),)
    product: Polynomial = times({(0,): scale}, *map(_polynomial, factors), unknowns=1)
    moved = {key: -value for key, value in product.items() if key in polynomial_of(right, asked.unknowns)}
    kept = plus(product, moved)
    return ((tree_of(collected(kept), asked.unknowns), tree_of(collected(moved), asked.unknowns)),)


def _polynomial(factor: Univariate) -> Polynomial:
    return {(place,): value for place, value in enumerate(factor) if value}


def _terms(factor: Univariate) -> list[tuple[tuple[int, ...], Fraction]]:
    return collected(_polynomial(factor))


@lru_cache(maxsize=256)
def _factors(polynomial: Univariate) -> tuple[Univariate, ...]:
    """Return the factors over the rationals that are found, with whole coefficients: linear, then quadratic ones."""
    found: list[Univariate] = []
    rest = polynomial
    for root in rational_roots(polynomial):
        factor: Univariate = (Fraction(-root.numerator), Fraction(root.denominator))
        while not (parts := divide(rest, factor))[1]:
            rest = parts[0]
            found.append(factor)
    for quadratic in quadratic_factors(squarefree(rest)):
        whole = tuple(map(Fraction, primitive(quadratic)))
        found += [whole] * ((len(rest) - 1) // (len(squarefree(rest)) - 1))
    return tuple(found)


def _like_factor(factor: Univariate, rng: random.Random, draw: Drawn) -> Univariate:
    """Return a linear factor with a root like the given one, or a quadratic one without rational roots."""
    if len(factor) == 2:
        root = _like_root(-factor[0] / factor[1], rng, draw)
        return (Fraction(-root.numerator), Fraction(root.denominator))
    drawn = tuple(rng.choice((-1, 1)) * draw(abs(int(value))) for value in factor[:2])
    found = (*map(Fraction, drawn), Fraction(draw(int(factor[2])) if factor[2] > 1 else 1))
    old, new = (int(each[1] ** 2 - 4 * each[0] * each[2]) for each in (factor, found))
    if (new < 0) != (old < 0) or math.isqrt(max(new, 0)) ** 2 == new:
        raise GrammarError("another kind of roots")
    return found


def _like_root(value: Fraction, rng: random.Random, draw: Drawn) -> Fraction:
    drawn = _drawn_fraction(abs(value), draw)
    return drawn if rng.random() < 0.5 else -drawn
