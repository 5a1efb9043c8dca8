"""Evaluation of a tree at one point, at any precision, by mpmath. Shares no code with the fast evaluator.

Values that are too large (an exponential of an exponential) count as undefined, so that the cost of an evaluation is
bounded by the length of the text.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import mpmath

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.domains.integration.grammar import Expression

LARGEST_ARGUMENT = 1e5


class UndefinedError(ArithmeticError):
    """The tree has no value at this point, or one too large to compute."""


class HighPrecisionEvaluator:
    """Evaluator at `digits` decimal digits that records the largest magnitude of every part over all points.

    Magnitudes are binary orders: the exponent of the next power of two, minus infinity for zero.
    """

    def __init__(self, digits: int) -> None:
        self.context: Any = mpmath.mp.clone()
        self.context.dps = digits
        self.point: Any = self.context.mpc(0)
        self.largest: dict[tuple[int, int], float] = {}
        self.first: dict[int, tuple[Any, Any]] = {}
        self.least = 0.0  # the smallest magnitude of a term relative to its sum, so far

    def at(self, tree: Expression, point: Any) -> Any:
        """Return the value of a tree at a point.

        Raises:
            UndefinedError: the value does not exist, or is too large.
        """
        self.point = self.context.mpc(point)
        try:
            value = self._value(tree)
        except (ZeroDivisionError, OverflowError, ValueError) as error:
            raise UndefinedError(str(error)) from error
        if not self.context.isfinite(value):
            raise UndefinedError("infinite")
        return value

    def faintest(self) -> float:
        """Return the smallest of the recorded magnitudes.

        Recorded are each term relative to its sum, each argument, and the change of each function of x.
        """
        return min(self.largest.values(), default=0.0)

    def order(self, value: Any) -> float:
        """Return the magnitude of a value."""
        return float(self.context.mag(value)) if value else -math.inf

    def _value(self, tree: Expression) -> Any:
        return _KINDS[tree[0]](self, tree)

    def _record(self, tree: Expression, index: int, size: float) -> None:
        key = (id(tree), index)
        self.largest[key] = max(size, self.largest.get(key, -math.inf))

    def _vary(self, tree: Expression, value: Any) -> Any:
        """Record how much the value of a function of x differs from its first one."""
        first = self.first.setdefault(id(tree), (self.point, value))
        if first[0] != self.point:
            size = max(self.order(value), self.order(first[1]))
            self._record(tree, -1, self.order(value - first[1]) - size if size > -math.inf else size)
        return value

    def number(self, tree: Expression) -> Any:
        """Round a number correctly."""
        return self.context.mpc(self.context.mpf(tree[1].numerator) / tree[1].denominator)

    def name(self, tree: Expression) -> Any:
        """Return x, e, pi or i."""
        context = self.context
        return {"x": self.point, "e": context.e, "pi": context.pi, "i": context.j}[tree[1]] * context.mpc(1)

    def sum(self, tree: Expression) -> Any:
        """Add terms and record their relative magnitudes."""
        values = [self._value(term) for term in tree[1:]]
        sizes = [self.order(value) for value in values]
        top = max(sizes)
        for index, size in enumerate(sizes):
            if size > -math.inf:
                self._record(tree, index, size - top)
                self.least = min(self.least, size - top)
        return self.context.fsum(values)

    def product(self, tree: Expression) -> Any:
        """Multiply factors."""
        return self.context.fprod([self._value(factor) for factor in tree[1:]])

    def power(self, tree: Expression) -> Any:
        """Raise to a power, principal branch; undefined for the base zero."""
        return self._vary(tree, self._power(tree)) if has_x(tree) else self._power(tree)

    def _power(self, tree: Expression) -> Any:
        exponent = self._value(tree[2])
        if tree[1] == ("name", "e"):
            return self.context.exp(self._require_moderate(exponent))
        base = self._value(tree[1])
        if base == 0:
            raise UndefinedError("a power of zero")
        self._record(tree, 0, self.order(base))
        self._require_moderate(exponent * self.context.log(base))
        if exponent.imag == 0 and exponent.real == int(exponent.real):
            return base ** int(exponent.real)
        return base**exponent

    def call(self, tree: Expression) -> Any:
        """Apply a function to a tree, principal branch."""
        return self._vary(tree, self._call(tree)) if has_x(tree) else self._call(tree)

    def _call(self, tree: Expression) -> Any:
        argument = self._value(tree[2])
        self._record(tree, 0, self.order(argument))
        name = tree[1]
        if name == "abs":
            return self.context.mpc(abs(argument))
        if name in ("log", "sqrt") or name.startswith("a"):
            return getattr(self.context, name)(argument)
        return getattr(self.context, name)(self._require_moderate(argument))

    def _require_moderate(self, argument: Any) -> Any:
        if not abs(argument) <= LARGEST_ARGUMENT:
            raise UndefinedError("too large")
        return argument


@lru_cache(maxsize=4096)
def has_x(tree: Expression) -> bool:
    """Return whether x occurs in a tree."""
    return tree == ("name", "x") or any(has_x(child) for child in tree[1:] if isinstance(child, tuple))


_KINDS: dict[str, Callable[[HighPrecisionEvaluator, Expression], Any]] = {
    "number": HighPrecisionEvaluator.number,
    "name": HighPrecisionEvaluator.name,
    "negative": lambda precise, tree: -precise._value(tree[1]),  # noqa: SLF001
    "inverse": lambda precise, tree: 1 / precise._value(tree[1]),  # noqa: SLF001
    "sum": HighPrecisionEvaluator.sum,
    "product": HighPrecisionEvaluator.product,
    "power": HighPrecisionEvaluator.power,
    "call": HighPrecisionEvaluator.call,
}
