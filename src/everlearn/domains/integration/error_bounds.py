"""Values of a tree at many points in double precision, each with a bound of its rounding error.

A value and its bound are arrays of the shape of the points, or of shape (1,) where the tree does not depend on x. The
bound is first-order and generous; it is infinite where a point is so near to a branch cut that the side is unknown.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from everlearn.domains.integration.dual_numbers import FUNCTION_RULES, DualEvaluator

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.domains.integration.grammar import Expression

Bounded: TypeAlias = tuple[np.ndarray, np.ndarray]  # values, bounds of their absolute errors

ROUNDING = 2.0**-52
_E = ("name", "e")
_CUT = frozenset({"log", "sqrt", *(name for name in FUNCTION_RULES if name.startswith("a"))})


def evaluate(tree: Expression, points: np.ndarray) -> Bounded:
    """Return values and error bounds of a tree at real points, both of shape (n,). Undefined values are not finite."""
    with np.errstate(all="ignore"):
        value, error = _Evaluator(points).at(tree)
    return np.broadcast_to(value, points.shape), np.broadcast_to(error, points.shape)


class _Evaluator:
    """Evaluator at one array of points."""

    def __init__(self, points: np.ndarray) -> None:
        self._x: Bounded = (points, np.zeros(1))
        self._duals = DualEvaluator(points, slopes=True)

    def at(self, tree: Expression) -> Bounded:
        return _KINDS[tree[0]](self, tree)

    def number(self, tree: Expression) -> Bounded:
        return _rounded(np.array([float(tree[1])]), np.zeros(1))

    def name(self, tree: Expression) -> Bounded:
        name = tree[1]
        return self._x if name == "x" else _rounded(np.array([math.e if name == "e" else math.pi]), np.zeros(1))

    def negative(self, tree: Expression) -> Bounded:
        value, error = self.at(tree[1])
        return -value, error

    def inverse(self, tree: Expression) -> Bounded:
        below, error = self.at(tree[1])
        value = 1 / below
        return _rounded(value, np.abs(value / below) * error)

    def sum(self, tree: Expression) -> Bounded:
        value, error = self.at(tree[1])
        for term in tree[2:]:
            other, bound = self.at(term)
            value, error = _rounded(value + other, error + bound)
        return value, error

    def product(self, tree: Expression) -> Bounded:
        value, error = self.at(tree[1])
        for factor in tree[2:]:
            other, bound = self.at(factor)
            value, error = _rounded(value * other, np.abs(value) * bound + np.abs(other) * error)
        return value, error

    def power(self, tree: Expression) -> Bounded:
        if tree[1] == _E:
            return self._apply("exp", *self.at(tree[2]))
        (base, error), (exponent, bound) = self.at(tree[1]), self.at(tree[2])
        whole = tree[2][0] == "number" and tree[2][1].denominator == 1
        value = base ** int(tree[2][1]) if whole else np.power(base + 0j, exponent)
        growth = np.abs(exponent * value / base) * error
        if not whole:
            turn = np.abs(value * np.log(base + 0j))
            growth = _near_cut(base, error, growth + turn * (bound + np.abs(exponent) * ROUNDING))
        return _rounded(value, growth + np.abs(exponent * value) * ROUNDING)

    def call(self, tree: Expression) -> Bounded:
        return self._apply(tree[1], *self.at(tree[2]))

    def _apply(self, name: str, argument: np.ndarray, error: np.ndarray) -> Bounded:
        value, slope = FUNCTION_RULES[name](self._duals, argument, np.ones(1))
        bound = np.abs(slope) * error
        return _rounded(value, _near_cut(argument, error, bound) if name in _CUT else bound)


def _rounded(value: np.ndarray, error: np.ndarray) -> Bounded:
    """Return the value with the error of its own rounding added; generous, for functions of the C library."""
    return value, error + 4 * ROUNDING * np.abs(value)


def _near_cut(argument: np.ndarray, error: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """Return the bound, infinite where rounding may have moved the argument across the real or the imaginary axis."""
    if not np.iscomplexobj(argument):
        return bound
    real, imaginary = np.abs(argument.real), np.abs(argument.imag)
    unsure = ((imaginary <= error) & (imaginary > 0)) | ((real <= error) & (real > 0))
    return np.where(unsure, np.inf, bound)


_KINDS: dict[str, Callable[[_Evaluator, Expression], Bounded]] = {
    "number": _Evaluator.number,
    "name": _Evaluator.name,
    "negative": _Evaluator.negative,
    "inverse": _Evaluator.inverse,
    "sum": _Evaluator.sum,
    "product": _Evaluator.product,
    "power": _Evaluator.power,
    "call": _Evaluator.call,
}
