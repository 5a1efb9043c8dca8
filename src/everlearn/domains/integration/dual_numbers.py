"""Forward-mode automatic differentiation of a tree at many points at once, by dual numbers on complex128 arrays.

A dual is `(value, slope)`: numbers, or arrays of the shape of the points. The slope is None if the tree does not depend
on x, or if no slopes were requested. Multi-valued functions take their principal branch; a point on a branch cut counts
as approached from above, whatever the sign of its zero imaginary part. Nothing raises: an undefined value is not
finite, and the verifier skips that point.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from everlearn.domains.integration.random_rounding import RandomRounding

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.domains.integration.grammar import Expression

Dual: TypeAlias = tuple[Any, Any]  # (value, slope or None)

_EXACT = frozenset({"number", "name", "negative"})  # operations without rounding
_CURVED = frozenset({"power", "call"})
_CONSTANTS = {"e": math.e, "pi": math.pi, "i": 1j}
VISIBLE = 1e-6  # a term below this share of its sum at every point is lost in double precision
PLAIN = (1e-6, 1e9)  # and so are constants outside this range


class _Exceptions:
    """Counter of floating-point underflows and overflows."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, _kind: str, _flag: int) -> None:
        self.count += 1


_EXCEPTIONS = _Exceptions()


def watched() -> np.errstate:
    """Return a context in which undefined values are no errors, and underflows and overflows are counted."""
    return np.errstate(all="ignore", under="call", over="call", call=_EXCEPTIONS)


class DualEvaluator:
    """Evaluator at one array of points.

    `faint` is set if a value is too small or too large for double precision, `cancelled` if a sum is lost beside its terms.
    """

    def __init__(self, points: np.ndarray, *, slopes: bool = True) -> None:
        self.x: Dual = (points, 1.0 if slopes else None)
        self.faint = False
        self.cancelled = False

    def evaluate(self, tree: Expression) -> Dual:
        """Return value and slope of a whole tree. Sets `faint` on underflow and overflow, inside of `watched()`."""
        before = _EXCEPTIONS.count
        dual = self.at(tree)
        self.faint = self.faint or _EXCEPTIONS.count > before
        return dual

    def at(self, tree: Expression) -> Dual:
        """Return value and slope of a tree."""
        dual: Dual = _KINDS[tree[0]](self, tree)
        return dual

    def number(self, tree: Expression) -> Dual:
        """Round a number to double precision."""
        return self.constant(float(tree[1]))

    def constant(self, value: Any) -> Dual:
        """Return a constant; sets `faint` if its magnitude is outside `PLAIN`."""
        size = abs(value)
        if size and not PLAIN[0] <= size <= PLAIN[1]:
            self.faint = True
        return value, None

    def name(self, tree: Expression) -> Dual:
        """Return x, e, pi or i."""
        return self.x if tree[1] == "x" else (_CONSTANTS[tree[1]], None)

    def negative(self, tree: Expression) -> Dual:
        """Negate a tree."""
        value, slope = self.at(tree[1])
        return -value, None if slope is None else -slope

    def sum(self, tree: Expression) -> Dual:
        """Add terms; sets `faint` if one is lost beside the others."""
        duals = [self.at(term) for term in tree[1:]]
        value = duals[0][0]
        for dual in duals[1:]:
            value = value + dual[0]
        slopes = [dual[1] for dual in duals if dual[1] is not None]
        slope = slopes[0] if slopes else None
        for other in slopes[1:]:
            slope = slope + other
        if not isinstance(value, np.ndarray):
            self.constant(value)
            self.faint = self.faint or abs(value) < VISIBLE * max(abs(dual[0]) for dual in duals)
        elif not all(map(is_monomial, tree[1:])):
            sizes = _sizes([dual[0] for dual in duals], value)
            self.faint = self.faint or hides(sizes)
            self.cancelled = self.cancelled or _cancels(value, sizes)
            if len(slopes) > 1 and isinstance(slope, np.ndarray) and not self.cancelled:
                self.cancelled = _cancels(slope, _sizes(slopes, slope))
        return value, slope

    def product(self, tree: Expression) -> Dual:
        """Multiply factors; inverses divide."""
        value, slope = self.at(tree[1])
        scale = 1.0 if isinstance(value, np.ndarray) else value
        for factor in tree[2:]:
            if factor[0] == "inverse":
                below, fall = self.at(factor[1])
                scale = scale if isinstance(below, np.ndarray) else _quotient(scale, below)
                value = _quotient(value, below)
                if fall is not None:
                    slope = (-value * fall if slope is None else slope - value * fall) / below
                elif slope is not None:
                    slope = _quotient(slope, below)
            else:
                other, rise = self.at(factor)
                if rise is not None:
                    slope = value * rise if slope is None else slope * other + value * rise
                elif slope is not None:
                    slope = slope * other
                scale = scale if isinstance(other, np.ndarray) else scale * other
                value = value * other
        self.constant(scale)
        return value, slope

    def power(self, tree: Expression) -> Dual:
        """Raise to a power. No logarithm is taken of the base if the exponent is constant."""
        base, rise = self.at(tree[1])
        if tree[1] == _E:
            return _exp(self, *self.at(tree[2]))
        exponent, bend = self.at(tree[2])
        if not isinstance(base, np.ndarray) and not isinstance(exponent, np.ndarray):
            known = base != 0 or exponent.real > 0
            return self.constant(_scalar(np.power, complex(base), exponent) if known else math.nan)
        whole = not isinstance(exponent, np.ndarray) and abs(exponent) < 2000 and bool(exponent == int(exponent.real))
        if whole:
            value = base ** int(exponent.real)
        elif isinstance(exponent, float) and exponent == 0.5:
            value = np.sqrt(base + 0j)
        else:
            value = np.power(base + 0j, exponent)
        slope = None
        if rise is not None:
            slope = value * (exponent * rise) / base
        if bend is not None:
            turn = value * np.log(base + 0j) * bend
            slope = turn if slope is None else slope + turn
        return value, slope

    def call(self, tree: Expression) -> Dual:
        """Apply a function to a tree."""
        value, slope = self.at(tree[2])
        rule = FUNCTION_RULES[tree[1]]
        if isinstance(value, np.ndarray):
            return rule(self, value, slope)
        return self.constant(rule(self, np.array([value], dtype=complex), None)[0][0])


class RoundingEvaluator(DualEvaluator):
    """Evaluator that rounds its results at the last `echoes` points at random, see `random_rounding.py`."""

    def __init__(self, points: np.ndarray, *, slopes: bool = True, echoes: int) -> None:
        super().__init__(points, slopes=slopes)
        self._rounding = RandomRounding(echoes)

    def at(self, tree: Expression) -> Dual:
        """Return value and slope of a tree, rounded at random."""
        kind = tree[0]
        value, slope = super().at(tree)
        if kind in _EXACT:
            return value, slope
        # The slopes of sums and products are made of values and slopes that have been rounded.
        return self._rounding.of(value), self._rounding.of(slope) if kind in _CURVED else slope


_E = ("name", "e")


def _quotient(above: Any, below: Any) -> Any:
    """Return `above / below`, not a number where Python numbers would raise."""
    if isinstance(below, np.ndarray) or below != 0:
        return above / below
    return above * math.nan


def _scalar(function: Callable[..., Any], *values: Any) -> complex:
    return complex(function(*values))


def hides(sizes: np.ndarray) -> bool:
    """Return whether a term of a sum is lost beside the others at every point. `sizes` has shape (terms, points)."""
    seen = sizes >= VISIBLE * np.maximum.reduce(sizes, axis=0)
    return not bool(np.logical_or.reduce(seen, axis=1).all())


def is_monomial(tree: Expression) -> bool:
    """Return whether a tree is a multiple of a small power of x: such terms are never lost beside each other."""
    kind = tree[0]
    if kind in ("number", "name"):
        return kind == "name" or bool(tree[1] <= 9999)
    if kind == "power":
        return bool(tree[1] == ("name", "x") and tree[2][0] == "number" and 0 < tree[2][1] <= 9)
    return kind in ("negative", "product") and len(tree) <= 3 and all(is_monomial(child) for child in tree[1:])


def _sizes(terms: list[Any], total: np.ndarray) -> np.ndarray:
    """Return the absolute values of terms, shape (terms, points)."""
    sizes: np.ndarray = np.abs([np.broadcast_to(term, total.shape) for term in terms])
    return sizes


def _cancels(total: np.ndarray, sizes: np.ndarray) -> bool:
    """Return whether a sum is lost beside its terms at a point."""
    return bool((np.abs(total) < VISIBLE * np.maximum.reduce(sizes, axis=0)).any())


def _exp(_: DualEvaluator, value: Any, slope: Any) -> Dual:
    grown = np.exp(value)
    return grown, None if slope is None else grown * slope


def _abs(_: DualEvaluator, value: Any, slope: Any) -> Dual:
    """Return the absolute value. Its slope is the one along the real axis: in the plane it has no derivative."""
    size = np.abs(value)
    return size, None if slope is None else np.real(np.conj(value) * slope) / size


def _rule(
    value_of: Callable[[Any], Any], slope_of: Callable[[Any, Any], Any], *, cut: bool = False
) -> Callable[[DualEvaluator, Any, Any], Dual]:
    """Build a function from its value and its derivative, which is given argument and value. `cut`: it has branch cuts."""

    def rule(_: DualEvaluator, argument: Any, slope: Any) -> Dual:
        if cut:
            argument = argument + 0j
        value = value_of(argument)
        return value, None if slope is None else slope_of(argument, value) * slope

    return rule


FUNCTION_RULES: dict[str, Callable[[DualEvaluator, Any, Any], Dual]] = {
    "exp": _exp,
    "log": _rule(np.log, lambda a, _: 1 / a, cut=True),
    "sqrt": _rule(np.sqrt, lambda _, v: 0.5 / v, cut=True),
    "sin": _rule(np.sin, lambda a, _: np.cos(a)),
    "cos": _rule(np.cos, lambda a, _: -np.sin(a)),
    "tan": _rule(np.tan, lambda a, _: np.cos(a) ** -2),
    "sec": _rule(lambda a: 1 / np.cos(a), lambda a, v: v * np.tan(a)),
    "csc": _rule(lambda a: 1 / np.sin(a), lambda a, v: -v / np.tan(a)),
    "cot": _rule(lambda a: 1 / np.tan(a), lambda a, _: -(np.sin(a) ** -2)),
    "asin": _rule(np.arcsin, lambda a, _: 1 / np.sqrt(1 - a * a + 0j), cut=True),
    "acos": _rule(np.arccos, lambda a, _: -1 / np.sqrt(1 - a * a + 0j), cut=True),
    "atan": _rule(np.arctan, lambda a, _: 1 / (1 + a * a), cut=True),
    "acot": _rule(lambda a: np.arctan(1 / a + 0j), lambda a, _: -1 / (1 + a * a), cut=True),
    "asec": _rule(lambda a: np.arccos(1 / a + 0j), lambda a, _: 1 / (a * a * np.sqrt(1 - 1 / (a * a) + 0j)), cut=True),
    "acsc": _rule(lambda a: np.arcsin(1 / a + 0j), lambda a, _: -1 / (a * a * np.sqrt(1 - 1 / (a * a) + 0j)), cut=True),
    "sinh": _rule(np.sinh, lambda a, _: np.cosh(a)),
    "cosh": _rule(np.cosh, lambda a, _: np.sinh(a)),
    "tanh": _rule(np.tanh, lambda a, _: np.cosh(a) ** -2),
    "coth": _rule(lambda a: 1 / np.tanh(a), lambda a, _: -(np.sinh(a) ** -2)),
    "sech": _rule(lambda a: 1 / np.cosh(a), lambda a, v: -v * np.tanh(a)),
    "csch": _rule(lambda a: 1 / np.sinh(a), lambda a, v: -v / np.tanh(a)),
    "asinh": _rule(np.arcsinh, lambda a, _: 1 / np.sqrt(1 + a * a + 0j), cut=True),
    "acosh": _rule(np.arccosh, lambda a, _: 1 / (np.sqrt(a - 1 + 0j) * np.sqrt(a + 1 + 0j)), cut=True),
    "atanh": _rule(np.arctanh, lambda a, _: 1 / (1 - a * a), cut=True),
    "acoth": _rule(lambda a: np.arctanh(1 / a + 0j), lambda a, _: 1 / (1 - a * a), cut=True),
    "asech": _rule(
        lambda a: np.arccosh(1 / a + 0j),
        lambda a, _: -1 / (a * a * np.sqrt(1 / a - 1 + 0j) * np.sqrt(1 / a + 1 + 0j)),
        cut=True,
    ),
    "acsch": _rule(
        lambda a: np.arcsinh(1 / a + 0j), lambda a, _: -1 / (a * a * np.sqrt(1 + 1 / (a * a) + 0j)), cut=True
    ),
    "abs": _abs,
}
_KINDS: dict[str, Callable[[DualEvaluator, Expression], Dual]] = {
    "number": DualEvaluator.number,
    "name": DualEvaluator.name,
    "negative": DualEvaluator.negative,
    "inverse": lambda duals, tree: duals.product(("product", ("number", 1), tree)),
    "sum": DualEvaluator.sum,
    "product": DualEvaluator.product,
    "power": DualEvaluator.power,
    "call": DualEvaluator.call,
}
