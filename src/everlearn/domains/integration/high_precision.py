"""Evaluation of a tree at one point, at any precision, by mpmath. Shares no code with the fast evaluator.

Values that are too large (an exponential of an exponential) count as undefined, so that the cost of an evaluation is
bounded by the length of the text. The last bits of each result are random, so that what is left of cancelled
digits is not the same at two precisions (`random_rounding.py` does so in double precision).
"""

from __future__ import annotations

import math
import random
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import mpmath

from everlearn.domains.integration.grammar import constant

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.domains.integration.grammar import Expression

LARGEST_ARGUMENT = 1e5
_LOST = 32  # bits of each result that random rounding changes: two changes almost never cancel
_HALF = 2 ** (_LOST - 1) - 0.5


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
        self._chance = random.Random(digits)
        self._unit = self.context.ldexp(1, 1 - self.context.prec)
        self._exactly = False
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

    def _rounded(self, value: Any) -> Any:
        return value if self._exactly else value * (1 + self._noise())

    def _noise(self) -> Any:
        return self._unit * (self._chance.getrandbits(_LOST) - _HALF)

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
        return self._rounded(self.context.fsum(values))

    def product(self, tree: Expression) -> Any:
        """Multiply factors."""
        return self._rounded(self.context.fprod([self._value(factor) for factor in tree[1:]]))

    def power(self, tree: Expression) -> Any:
        """Raise to a power, principal branch; undefined for the base zero."""
        value = self._rounded(self._power(tree))
        return self._vary(tree, value) if has_x(tree) else value

    def _power(self, tree: Expression) -> Any:
        exponent = self._exponent(tree[2])
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

    def _exponent(self, tree: Expression) -> Any:
        """Return an exponent, without random rounding if it is a number: `x^(4/2)` stays an integer power."""
        kept, self._exactly = self._exactly, constant(tree) is not None
        try:
            return self._value(tree)
        finally:
            self._exactly = kept

    def call(self, tree: Expression) -> Any:
        """Apply a function to a tree, principal branch."""
        value = self._rounded(self._call(tree))
        return self._vary(tree, value) if has_x(tree) else value

    def _call(self, tree: Expression) -> Any:
        argument = self._value(tree[2])
        self._record(tree, 0, self.order(argument))
        name = tree[1]
        if name == "abs":
            return self.context.mpc(abs(argument))
        inverse = name.startswith("a")
        if not inverse and name not in ("log", "sqrt"):
            self._require_moderate(argument)
        # mpmath loses the digits of small arguments in the plane, where it takes atanh(x) as a difference of logarithms.
        on_axis = argument.imag == 0
        value = self.context.mpc(getattr(self.context, name)(argument.real if on_axis else argument))
        return value if on_axis and value.imag == 0 else value + inverse * self._noise()

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
