"""Templates of terms, learned from given problems: a problem without the numbers that may be drawn anew.

Three kinds of numbers are free; all others are part of the template:

    coefficient   the integer factor of the term
    argument      scale and shift of `a*x + b` in a function, power or denominator, if it is the only such argument of
                  the term and x occurs elsewhere at most as a factor `x^n`
    exponent      an integer exponent

A term that has an elementary antiderivative keeps it under another coefficient or argument: these scale and shift it.
For other exponents that is not so (`x^2*exp(x^3)`); `similar_problems.py` says which numbers are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from everlearn.domains.integration.grammar import parse, render

if TYPE_CHECKING:
    from everlearn.domains.integration.grammar import Expression

Argument: TypeAlias = "tuple[int, int]"
"""Scale and shift of `a*x + b` without their signs, which are part of the template."""

_X: Expression = ("name", "x")
_ONE: Expression = ("number", 1)
_ARGUMENT = "argument"  # placeholder: ("argument", whether the scale is negative, sign of the shift: -1, 0 or 1)
_EXPONENT = "exponent"  # placeholder: ("exponent", index in `exponents`)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summand:
    """A signed term: a template, and the free numbers. None stands for a number that the template does not have."""

    template: Expression
    negative: bool
    coefficient: int | None
    argument: Argument | None
    exponents: tuple[int, ...]

    def to_text(self) -> str:
        """Return the term without its sign, as text of the grammar."""
        factors = [self._filled(factor) for factor in self.template[1:]]
        if self.coefficient is not None and (self.coefficient != 1 or not factors):
            factors.insert(0, ("number", self.coefficient))
        body = factors[0] if len(factors) == 1 else ("product", *factors)
        return f"({render(body)})" if body[0] == "sum" else render(body)

    def _filled(self, tree: Expression) -> Expression:
        kind = tree[0]
        if kind == _EXPONENT:
            return ("number", self.exponents[tree[1]])
        if kind == _ARGUMENT and self.argument is not None:
            return _linear(self.argument, negative=tree[1], shift=tree[2])
        if kind == "call":
            return ("call", tree[1], self._filled(tree[2]))
        return tree if kind in ("number", "name") else (kind, *map(self._filled, tree[1:]))


def summands_of(statement: str) -> tuple[Summand, ...]:
    """Return the terms of a problem. Raises GrammarError if it is not in the grammar."""
    tree = parse(statement)
    return tuple(_summand(part) for part in (tree[1:] if tree[0] == "sum" else (tree,)))


def _summand(tree: Expression) -> Summand:
    negative, factors = _split_sign(tree)
    coefficient, factors = _split_coefficient(factors)
    found = _FreeNumbers()
    template = tuple(found.remove(factor) for factor in factors)
    has_argument = len(set(found.arguments)) == 1 and all(map(_is_power_of_x, template))
    if not has_argument:
        found = _FreeNumbers(keep_arguments=True)
        template = tuple(found.remove(factor) for factor in factors)
    return Summand(
        template=("product", *template),
        negative=negative,
        coefficient=coefficient,
        argument=found.arguments[0][0] if has_argument else None,
        exponents=tuple(found.exponents),
    )


def _split_sign(tree: Expression) -> tuple[bool, list[Expression]]:
    """Return whether the term is negative, and its factors without sign."""
    negative = False
    factors = list(tree[1:]) if tree[0] == "product" else [tree]
    while factors[0][0] == "negative":
        negative = not negative
        inner = factors[0][1]
        factors[:1] = inner[1:] if inner[0] == "product" else [inner]
    return negative, factors


def _split_coefficient(factors: list[Expression]) -> tuple[int | None, list[Expression]]:
    """Return the integer factor and the others; None and all factors where the constant factor is of another form."""
    constants = [factor for factor in factors if not _has_x(factor)]
    if not constants:
        return 1, factors
    value = constants[0][1] if constants[0][0] == "number" else None
    if len(constants) > 1 or not isinstance(value, int) or value < 1:
        return None, factors
    return value, [factor for factor in factors if factor is not constants[0]]


@dataclass(slots=True)
class _FreeNumbers:
    """Collects the free numbers of a term while it replaces them by placeholders."""

    keep_arguments: bool = False
    arguments: list[tuple[Argument, Expression]] = field(default_factory=list)
    exponents: list[int] = field(default_factory=list)

    def remove(self, tree: Expression) -> Expression:
        """Return the tree with placeholders."""
        kind = tree[0]
        if kind in ("number", "name"):
            return tree
        if kind == "call":
            return ("call", tree[1], self._argument(tree[2]) or self.remove(tree[2]))
        if kind == "inverse":
            return ("inverse", self._inside(tree[1]))
        if kind == "power":
            return ("power", self._inside(tree[1]), self._exponent(tree[2]))
        return (kind, *map(self.remove, tree[1:]))

    def _inside(self, tree: Expression) -> Expression:
        """Replace a base or denominator; plain x is no argument there, but a factor."""
        return self.remove(tree) if tree == _X else self._argument(tree) or self.remove(tree)

    def _argument(self, tree: Expression) -> Expression | None:
        found = None if self.keep_arguments else _read_linear(tree)
        if found is not None:
            self.arguments.append(found)
        return found and found[1]

    def _exponent(self, tree: Expression) -> Expression:
        if tree[0] != "number" or not isinstance(tree[1], int):
            return self.remove(tree)
        self.exponents.append(tree[1])
        return (_EXPONENT, len(self.exponents) - 1)


def _read_linear(tree: Expression) -> tuple[Argument, Expression] | None:
    """Return the scale and shift of `a*x + b` with their placeholder, or None for any other tree."""
    head, shift = (tree[1], _integer(tree[2])) if tree[0] == "sum" and len(tree) == 3 else (tree, 0)
    negative = head[0] == "negative"
    head = head[1] if negative else head
    scale = _integer(head[1]) if head[0] == "product" and len(head) == 3 and head[2] == _X else int(head == _X)
    if not scale or shift is None or (tree[0] == "sum" and not shift):
        return None
    sign = (shift > 0) - (shift < 0)
    return (abs(scale), abs(shift)), (_ARGUMENT, negative != (scale < 0), sign)


def _linear(argument: Argument, *, negative: bool, shift: int) -> Expression:
    """Invert `_read_linear`."""
    scale, distance = argument
    number: Expression = ("number", scale)
    if negative:
        head = ("negative", _X) if scale == 1 else ("product", ("negative", number), _X)
    else:
        head = _X if scale == 1 else ("product", number, _X)
    if not shift:
        return head
    return ("sum", head, ("number", distance) if shift > 0 else ("negative", ("number", distance)))


def _integer(tree: Expression) -> int | None:
    if tree[0] == "negative":
        inner = _integer(tree[1])
        return None if inner is None else -inner
    return tree[1] if tree[0] == "number" and isinstance(tree[1], int) else None


def _is_power_of_x(factor: Expression) -> bool:
    """Return whether x occurs in a factor outside of placeholders only as the factor itself: `x`, `x^n` or `1/x^n`."""
    inner = factor[1] if factor[0] == "inverse" else factor
    inner = inner[1] if inner[0] == "power" else inner
    return inner == _X or not _has_x(factor)


def _has_x(tree: Expression) -> bool:
    if tree[0] in ("number", "name", _ARGUMENT, _EXPONENT):
        return tree == _X
    return any(_has_x(child) for child in tree[1:] if isinstance(child, tuple))
