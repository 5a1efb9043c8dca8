"""Judge solutions a second time, by SymPy: roots and their number by its polynomials, systems by its matrices.

It shares the reader with the first judgement, and no arithmetic: trees become SymPy's expressions, and no text does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everlearn.domains.equations.grammar import (
    Constant,
    EquationTree,
    Power,
    Quotient,
    SignedSum,
    Unknown,
)
from everlearn.problem import Ruling, Verdict

if TYPE_CHECKING:
    from everlearn.domains.equations.answers import Claim
    from everlearn.domains.equations.statements import Equations

_TOO_SMALL = "1e-50"


def judge_by_sympy(asked: Equations, claim: Claim) -> Verdict:
    """Return the verdict. UNDECIDED where SymPy does not show that an expression is zero, though it is very small."""
    import sympy

    symbols = [sympy.Symbol(name, real=True) for name in asked.unknowns]
    zeros = [to_sympy(left) - to_sympy(right) for left, right in asked.sides]
    points = {tuple(sympy.radsimp(to_sympy(each.tree, sign=each.sign)) for each in point) for point in claim.points}
    points = {tuple(sympy.expand(value) for value in point) for point in points}
    for point in points:
        for zero in zeros:
            rest = sympy.expand(zero.subs(dict(zip(symbols, point, strict=True)), simultaneous=True))
            if rest == 0:
                continue
            if abs(rest.evalf(60)) < sympy.Float(_TOO_SMALL):
                return Verdict(ruling=Ruling.UNDECIDED, reason="SymPy does not decide whether the equation holds")
            return Verdict(ruling=Ruling.WRONG, reason="the equation does not hold for a stated solution")
    expected = _number_of_solutions(zeros, symbols)
    if len(points) != expected:
        return Verdict(ruling=Ruling.WRONG, reason=f"{len(points)} solutions are stated, and there are {expected}")
    return Verdict(ruling=Ruling.CORRECT, reason="all solutions, by SymPy")


def _number_of_solutions(zeros: list[Any], symbols: list[Any]) -> int:
    import sympy

    if len(symbols) > 1:
        return len(sympy.linsolve(zeros, symbols))
    polynomial = sympy.Poly(zeros[0], symbols[0])
    return int(polynomial.sqf_part().count_roots()) if polynomial.degree() > 0 else 0


def to_sympy(tree: EquationTree, *, sign: int = 1) -> Any:
    """Convert a tree; ± stands for `sign`."""
    import sympy

    match tree:
        case Constant(value):
            return sympy.Rational(value.numerator, value.denominator)
        case Unknown(name):
            return sympy.Symbol(name, real=True)
        case SignedSum(terms):
            return sympy.Add(*((signed or sign) * to_sympy(term, sign=sign) for signed, term in terms))
        case Quotient(factors):
            parts = [(operation, to_sympy(factor, sign=sign)) for operation, factor in factors]
            return sympy.Mul(*(1 / part if operation == "/" else part for operation, part in parts))
        case Power(part, exponent):
            return to_sympy(part, sign=sign) ** exponent
    return sympy.sqrt(to_sympy(tree.radicand, sign=sign))
