"""The value of a tree at one point, at any precision, by mpmath: shares no code with the fast evaluator.

What is too large to be worth computing (an exponential of an exponential) counts as undefined, so that no text can
make a value cost more than its length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mpmath

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.domains.integration.grammar import Expression

LARGEST_ARGUMENT = 1e5


class UndefinedError(ArithmeticError):
    """The tree has no value at this point, or one too large to be computed."""


class Precise:
    """An evaluator at `digits` decimal digits, which remembers how large everything it met was at its largest."""

    def __init__(self, digits: int) -> None:
        self.context: Any = mpmath.mp.clone()
        self.context.dps = digits
        self.point: Any = self.context.mpc(0)
        self.largest: dict[tuple[int, int], Any] = {}

    def at(self, tree: Expression, point: Any) -> Any:
        """The value of a tree at a point.

        Raises:
            UndefinedError: there is none.
        """
        self.point = self.context.mpc(point)
        try:
            return self._value(tree)
        except (ZeroDivisionError, OverflowError, ValueError) as error:
            raise UndefinedError(str(error)) from error

    def faintest(self) -> Any:
        """The smallest of all largest sizes: of each term beside its sum, of each argument, over the points so far."""
        return min(self.largest.values(), default=self.context.mpf(1))

    def _value(self, tree: Expression) -> Any:
        return _KINDS[tree[0]](self, tree)

    def _note(self, tree: Expression, index: int, size: Any) -> None:
        key = (id(tree), index)
        if size > self.largest.get(key, -1):
            self.largest[key] = size

    def number(self, tree: Expression) -> Any:
        return self.context.mpc(self.context.mpf(tree[1].numerator) / tree[1].denominator)

    def name(self, tree: Expression) -> Any:
        return {"x": self.point, "e": self.context.e, "pi": self.context.pi}[tree[1]] * self.context.mpc(1)

    def sum(self, tree: Expression) -> Any:
        values = [self._value(term) for term in tree[1:]]
        sizes = [abs(value) for value in values]
        top = max(sizes)
        if top:
            for index, size in enumerate(sizes):
                self._note(tree, index, size / top)
        return self.context.fsum(values)

    def product(self, tree: Expression) -> Any:
        return self.context.fprod([self._value(factor) for factor in tree[1:]])

    def power(self, tree: Expression) -> Any:
        exponent = self._value(tree[2])
        if tree[1] == ("name", "e"):
            return self.context.exp(self._modest(exponent))
        base = self._value(tree[1])
        if base == 0:
            raise UndefinedError("a power of zero")
        self._note(tree, 0, abs(base))
        self._modest(exponent * self.context.log(base))
        if exponent.imag == 0 and exponent.real == int(exponent.real):
            return base ** int(exponent.real)
        return base**exponent

    def call(self, tree: Expression) -> Any:
        argument = self._value(tree[2])
        self._note(tree, 0, abs(argument))
        name = tree[1]
        if name in ("log", "sqrt") or name.startswith("a"):
            return getattr(self.context, name)(argument)
        return getattr(self.context, name)(self._modest(argument))

    def _modest(self, argument: Any) -> Any:
        if not abs(argument) <= LARGEST_ARGUMENT:
            raise UndefinedError("too large")
        return argument


_KINDS: dict[str, Callable[[Precise, Expression], Any]] = {
    "number": Precise.number,
    "name": Precise.name,
    "negative": lambda precise, tree: -precise._value(tree[1]),  # noqa: SLF001
    "inverse": lambda precise, tree: 1 / precise._value(tree[1]),  # noqa: SLF001
    "sum": Precise.sum,
    "product": Precise.product,
    "power": Precise.power,
    "call": Precise.call,
}
