"""Parts of an expression that have no value for any x: a quotient by zero, or a function of a constant at its pole.

Only what is certain counts: denominators whose normal form is zero, as in `1/0` and `1/(x - x)`, and functions of constants
that mpmath refuses, as in `log(0)`. A value that is too large to compute is not undefined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everlearn.domains.integration.canonical import is_zero
from everlearn.domains.integration.grammar import constant, render
from everlearn.domains.integration.high_precision import LARGEST_ARGUMENT, HighPrecisionEvaluator, UndefinedError, has_x
from everlearn.errors import GrammarError

if TYPE_CHECKING:
    from everlearn.domains.integration.grammar import Expression

_DIGITS = 15


def check_defined(tree: Expression) -> None:
    """Check that every part of an expression can have a value.

    Raises:
        GrammarError: a part of it is defined nowhere.
    """
    if _is_undefined(tree):
        raise GrammarError(f"{render(tree)[:40]} is defined nowhere: it divides by zero, or has a pole for every x")
    for child in tree[1:]:
        if isinstance(child, tuple):
            check_defined(child)


def _is_undefined(tree: Expression) -> bool:
    kind = tree[0]
    if kind == "inverse":
        return _vanishes(tree[1])
    if kind == "power":
        return (constant(tree[2]) or 0.0) < 0 and _vanishes(tree[1])
    return kind == "call" and not has_x(tree[2]) and _is_pole(tree)


def _vanishes(tree: Expression) -> bool:
    """Return whether a tree is zero for every x, as far as its normal form or, for a constant, its value shows."""
    if is_zero(tree):
        return True
    return not has_x(tree) and _value(tree) == 0


def _is_pole(tree: Expression) -> bool:
    """Return whether a function of a constant has no value, though the constant has one of moderate size."""
    argument = _value(tree[2])
    return argument is not None and abs(argument) <= LARGEST_ARGUMENT and _value(tree) is None


def _value(tree: Expression) -> Any | None:
    try:
        return HighPrecisionEvaluator(_DIGITS).at(tree, 1)
    except UndefinedError:
        return None
