"""Moves towards easier equations: derived here without a model, asked of a model in words, and read from what it wrote.

    smaller numbers    12*x + 35 = 71          ->  4*x + 9 = 21      the same form with smaller numbers and solutions
    fewer terms        3*(x - 1) = 2*x + 5     ->  3*x = 2*x + 5     a term is left out
    lower degree       x^2 - 5*x + 6 = 0       ->  x - 3 = 0         a known solution is divided out, or the first term left out
    fewer unknowns     2*x + y = 5; x - y = 1  ->  2*x + 1 = 5       a known value is put in

Every variant has a smaller weight (`weights.py`), and a solution where the given equation has one.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from everlearn.domains.equations.grammar import (
    Constant,
    EquationTree,
    Power,
    Quotient,
    SignedSum,
    Unknown,
    product_of,
    sum_of,
)
from everlearn.domains.equations.keys import canonical, collected, tree_of
from everlearn.domains.equations.polynomials import Polynomial, divide, univariate
from everlearn.domains.equations.similar_equations import Sides, draw_similar, smaller, written
from everlearn.domains.equations.statements import Equations, read_equations
from everlearn.domains.equations.weights import weight
from everlearn.errors import GrammarError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

NUMBERS, TERMS, DEGREE, UNKNOWNS = "smaller numbers", "fewer terms", "lower degree", "fewer unknowns"
MOVES = (NUMBERS, TERMS, DEGREE, UNKNOWNS)
_ASKED = {
    NUMBERS: "Keep its form, and use smaller numbers.",
    TERMS: "Leave out a term or a bracket.",
    DEGREE: "Use a lower power of the unknown.",
    UNKNOWNS: "Use one equation and one unknown less.",
}
_TRIES = 8


def words(asked: Equations, move: str) -> str:
    """Return the words that ask a model for a variant."""
    what = "equation" if len(asked.unknowns) == 1 else "system of equations"
    return (
        f"Write an easier {what} than {asked.text}. {_ASKED[move]} Do not solve it. "
        "Answer with the equation alone on one line, with ; between equations."
    )


def read_easier(asked: Equations, text: str) -> Equations | None:
    """Return the equation that was written, if it is easier, else None."""
    try:
        found = read_equations(text)
    except GrammarError:
        return None
    return found if _is_easier(found, asked) else None


def derive(asked: Equations, move: str, *, rng: random.Random) -> Equations | None:
    """Return an easier equation; None if the move does not apply."""
    for _ in range(_TRIES):
        sides = _BUILT[move](asked, rng)
        if sides is None:
            return None
        found = read_easier(asked, written(sides))
        if found is not None:
            return found
    return None


def _is_easier(found: Equations, asked: Equations) -> bool:
    has_solution = bool(found.solutions) or not asked.solutions
    return has_solution and weight(found) < weight(asked) and canonical(found) != canonical(asked)


def _smaller_numbers(asked: Equations, rng: random.Random) -> Sides | None:
    found = draw_similar(rng, asked, draw=smaller(rng))
    return None if found is None else found.sides


def _fewer_terms(asked: Equations, rng: random.Random) -> Sides | None:
    found = []
    for place, (left, right) in enumerate(asked.sides):
        pairs = [(each, right) for each in _shortened(left)] + [(left, each) for each in _shortened(right)]
        found += [(*asked.sides[:place], pair, *asked.sides[place + 1 :]) for pair in pairs]
    return rng.choice(found) if found else None


def _shortened(tree: EquationTree) -> Iterator[EquationTree]:
    """Yield the trees with one term of one sum left out."""
    match tree:
        case SignedSum(terms):
            for place, (sign, term) in enumerate(terms):
                before, after = list(terms[:place]), list(terms[place + 1 :])
                if before or after:
                    yield sum_of([*before, *after])
                yield from (sum_of([*before, (sign, each), *after]) for each in _shortened(term))
        case Quotient(factors):
            for place, (operation, factor) in enumerate(factors):
                before_it, after_it = list(factors[:place]), list(factors[place + 1 :])
                yield from (product_of([*before_it, (operation, each), *after_it]) for each in _shortened(factor))
        case Power(base, exponent):
            yield from (Power(each, exponent) for each in _shortened(base))


def _lower_degree(asked: Equations, rng: random.Random) -> Sides | None:
    if asked.degree == 1:
        return None
    polynomial = univariate(asked.polynomials[0])
    found = [polynomial[:-1]]
    for (root,) in asked.solutions:
        value = root.as_fraction
        if value is not None:
            found.append(divide(polynomial, (-value, Fraction(1)))[0])
    terms: Polynomial = {(place,): value for place, value in enumerate(rng.choice(found)) if value}
    return ((tree_of(collected(terms), asked.unknowns), Constant(Fraction(0))),)


def _fewer_unknowns(asked: Equations, rng: random.Random) -> Sides | None:
    if len(asked.unknowns) == 1 or not asked.solutions:
        return None
    place = rng.randrange(len(asked.unknowns))
    left_out = rng.randrange(len(asked.sides))
    value = asked.solutions[0][place].as_fraction or Fraction(0)
    if value.denominator > 1:
        return None
    number = sum_of([(-1 if value < 0 else 1, Constant(abs(value)))])
    return tuple(
        (_put_in(left, asked.unknowns[place], number), _put_in(right, asked.unknowns[place], number))
        for each, (left, right) in enumerate(asked.sides)
        if each != left_out
    )


def _put_in(tree: EquationTree, name: str, number: EquationTree) -> EquationTree:
    """Return the tree with a number for an unknown."""
    match tree:
        case Unknown(other):
            return number if other == name else tree
        case SignedSum(terms):
            return sum_of([_without_bracket(sign, _put_in(term, name, number)) for sign, term in terms])
        case Quotient(factors):
            return product_of([(operation, _put_in(factor, name, number)) for operation, factor in factors])
        case Power(base, exponent):
            return Power(_put_in(base, name, number), exponent)
    return tree


def _without_bracket(sign: int, term: EquationTree) -> tuple[int, EquationTree]:
    """Return `-3` for `+(-3)`."""
    match term:
        case SignedSum(((own, Constant() as number),)):
            return sign * own, number
    return sign, term


_BUILT: dict[str, Callable[[Equations, random.Random], Sides | None]] = {
    NUMBERS: _smaller_numbers,
    TERMS: _fewer_terms,
    DEGREE: _lower_degree,
    UNKNOWNS: _fewer_unknowns,
}
