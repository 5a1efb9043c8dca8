"""Exact computer algebra on parsed expressions, by SymPy: canonical forms and proofs of antiderivatives.

Only trees of `grammar.parse` are converted; no text reaches SymPy's own parser, which evaluates Python. SymPy can take
unbounded time, so callers run it in a process that can be killed (`everlearn.domains.exact_proofs`). Never used for
rewards: the numeric verifier is thousands of times faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sympy

from everlearn.domains.integration.grammar import ANSWER_NAMES, parse
from everlearn.domains.plugin import ExactProof
from everlearn.errors import GrammarError

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.domains.integration.grammar import Expression

X = sympy.Symbol("x")
_NAMES = {"x": X, "e": sympy.E, "pi": sympy.pi, "i": sympy.I}
_UNDEFINED = (sympy.nan, sympy.zoo, sympy.oo, -sympy.oo)


class UndefinedExpressionError(ArithmeticError):
    """A part of the expression is undefined or infinite for every x, such as 1/0."""


def prove_antiderivative(integrand: str, answer: str) -> ExactProof:
    """Differentiate the answer exactly and simplify the difference to the integrand: `proved` if it is zero.

    A difference that does not simplify to zero decides nothing: zero is undecidable for these expressions.

    Raises:
        GrammarError: the integrand is not an expression of the grammar.
    """
    wanted = parse(integrand)
    try:
        form = to_sympy(parse(answer, names=ANSWER_NAMES))
        derivative = sympy.diff(form, X)
        difference = _simplified(derivative - to_sympy(wanted))
    except (GrammarError, UndefinedExpressionError):
        return ExactProof.not_decided()
    return ExactProof(
        canonical=_text(form), derivative=_text(derivative), difference=_text(difference), proved=difference == 0
    )


def to_sympy(tree: Expression) -> Any:
    """Convert a parsed expression.

    Raises:
        UndefinedExpressionError: a part of it has no value. Checked in every node, because SymPy evaluates
            1/(1/0) to zero.
    """
    converted = _CONVERTERS[tree[0]](tree)
    if converted.has(*_UNDEFINED):
        raise UndefinedExpressionError(str(converted))
    return converted


def _simplified(difference: Any) -> Any:
    expanded = sympy.expand(difference)  # decides most answers in milliseconds
    return expanded if expanded == 0 else sympy.simplify(difference)


def _text(expression: Any) -> str:
    return str(expression).replace("**", "^")


def _convert_call(tree: Expression) -> Any:
    name = "Abs" if tree[1] == "abs" else tree[1]
    return getattr(sympy, name)(to_sympy(tree[2]))  # the grammar admits names of its own list only


_CONVERTERS: dict[str, Callable[[Expression], Any]] = {
    "number": lambda tree: sympy.Rational(tree[1].numerator, tree[1].denominator),
    "name": lambda tree: _NAMES[tree[1]],
    "negative": lambda tree: -to_sympy(tree[1]),
    "inverse": lambda tree: 1 / to_sympy(tree[1]),
    "sum": lambda tree: sympy.Add(*map(to_sympy, tree[1:])),
    "product": lambda tree: sympy.Mul(*map(to_sympy, tree[1:])),
    "power": lambda tree: sympy.Pow(to_sympy(tree[1]), to_sympy(tree[2])),
    "call": _convert_call,
}
