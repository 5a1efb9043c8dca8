"""Keys of equations: a canonical form for duplicates, and an equivalence key for leaks.

    equation                canonical                    equivalence
    2*x + 3 = 7             2*x + 3 - 7 = 0              the same key for 7 = 2*x + 3, 2*x = 7 - 3, 4*y + 6 = 14
    x^2 - 5*x = -6          x^2 - 5*x + 6 = 0            the same key for 2*y^2 = 10*y - 12, (x - 2)*(x - 3) = 0
    x - y = 1; 2*x + y = 5  2*x + y - 5 = 0; x - y - 1 = 0

In a linear equation with one unknown the terms are kept apart, brackets expanded: if they were added up and scaled, all
equations with the same solution would be one. Everything else is collected on one side.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations
from typing import TYPE_CHECKING, TypeAlias

from everlearn.canonical_json import digest_of
from everlearn.domains.equations.grammar import (
    Constant,
    EquationTree,
    Power,
    Quotient,
    SignedSum,
    Unknown,
    product_of,
    sum_of,
    unparse,
)
from everlearn.domains.equations.polynomials import Exponents, Polynomial, degree_of, polynomial_of, primitive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.domains.equations.statements import Equations

SCHEME = "equations/1"
Term: TypeAlias = tuple[Exponents, Fraction]


def canonical(asked: Equations) -> str:
    """Return a statement with all terms on the left, in one order."""
    rows = sorted((_signed(row) for row in _rows(asked)), reverse=True)
    return "; ".join(f"{written_sum(row, asked.unknowns)} = 0" for row in rows)


def lost_unknowns(asked: Equations) -> list[str]:
    """Return the unknowns that are in no term of the canonical form, as x in `0*x = 3`."""
    keys = [key for row in _rows(asked) for key, _ in row]
    return [name for place, name in enumerate(asked.unknowns) if not any(key[place] for key in keys)]


def equivalence(asked: Equations) -> str:
    """Return a key that is equal for scaled, rearranged and renamed equations."""
    forms = []
    for order in permutations(range(len(asked.unknowns))):
        rows = [[(tuple(key[place] for place in order), value) for key, value in row] for row in _rows(asked)]
        forms.append(sorted(_scaled(row) for row in rows))
    return digest_of(repr(min(forms)).encode())[:32]


def _rows(asked: Equations) -> list[list[Term]]:
    """Return the terms of each equation on the left side, sorted."""
    if len(asked.unknowns) == 1:
        [(left, right)] = asked.sides
        terms = _linear_terms(left, asked.unknowns)
        others = _linear_terms(right, asked.unknowns)
        if terms is not None and others is not None:
            return [[*terms, *((key, -value) for key, value in others)]]
    return [list(polynomial.items()) for polynomial in asked.polynomials]


def _signed(row: Sequence[Term]) -> list[Term]:
    """Return the row in order, with the sign that puts the larger first term first."""
    return max(sorted(row, reverse=True), sorted(((key, -value) for key, value in row), reverse=True))


def _scaled(row: Sequence[Term]) -> list[tuple[Exponents, int]]:
    if not row:
        return []
    ordered = _signed(row)
    scaled = primitive([value for _, value in ordered])
    return [(key, value) for (key, _), value in zip(ordered, scaled, strict=True)]


def _linear_terms(tree: EquationTree, unknowns: tuple[str, ...]) -> list[Term] | None:
    """Return the terms with brackets expanded and not added up; None if unknowns are multiplied."""
    match tree:
        case SignedSum(terms):
            found: list[Term] = []
            for sign, term in terms:
                part = _linear_terms(term, unknowns)
                if part is None:
                    return None
                found += [(key, sign * value) for key, value in part]
            return found
        case Quotient(factors):
            return _linear_product(factors, unknowns)
    polynomial = polynomial_of(tree, unknowns)
    return None if degree_of(polynomial) > 1 or isinstance(tree, Power) else list(polynomial.items())


def _linear_product(factors: Sequence[tuple[str, EquationTree]], unknowns: tuple[str, ...]) -> list[Term] | None:
    """Return the terms of the one factor with unknowns, multiplied by the numbers."""
    scale, found = Fraction(1), None
    for operation, factor in factors:
        polynomial = polynomial_of(factor, unknowns)
        if degree_of(polynomial) == 0:
            value = polynomial.get((0,) * len(unknowns), Fraction(0))
            scale = scale / value if operation == "/" else scale * value
        elif found is None:
            found = _linear_terms(factor, unknowns)
            if found is None:
                return None
        else:
            return None
    terms = [((0,) * len(unknowns), Fraction(1))] if found is None else found
    return [(key, scale * value) for key, value in terms if scale]


def written_sum(terms: Sequence[Term], unknowns: tuple[str, ...]) -> str:
    """Return the text of a sum of terms; `0` for none."""
    return unparse(tree_of(terms, unknowns))


def tree_of(terms: Sequence[Term], unknowns: tuple[str, ...]) -> EquationTree:
    """Return the tree of a sum of terms."""
    if not terms:
        return Constant(Fraction(0))
    return sum_of([(1 if value > 0 else -1, _monomial(key, abs(value), unknowns)) for key, value in terms])


def _monomial(key: Exponents, value: Fraction, unknowns: tuple[str, ...]) -> EquationTree:
    powers: list[tuple[str, EquationTree]] = [
        ("*", Unknown(name) if exponent == 1 else Power(Unknown(name), exponent))
        for name, exponent in zip(unknowns, key, strict=True)
        if exponent
    ]
    return product_of(powers if powers and value == 1 else [("*", Constant(value)), *powers])


def collected(polynomial: Polynomial) -> list[Term]:
    """Return the terms of a polynomial, the highest degree first."""
    return sorted(polynomial.items(), reverse=True)
