"""The constant of integration in an answer: right where its derivative is zero, as in `x^2 + C` and `(x^2 + C)/2`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.domains.integration.notation.tokens import CONSTANT_OF_INTEGRATION
from everlearn.errors import GrammarError

if TYPE_CHECKING:
    from everlearn.domains.integration.grammar import Expression

CONSTANT: Expression = ("name", CONSTANT_OF_INTEGRATION)
_X: Expression = ("name", "x")
_ZERO: Expression = ("number", 0)


def contains(tree: Expression, part: Expression) -> bool:
    """Return whether a tree is, or has inside it, the other one."""
    return tree == part or any(contains(child, part) for child in tree[1:] if isinstance(child, tuple))


def without_constant(tree: Expression) -> Expression:
    """Return the tree with the constant set to zero.

    Raises:
        GrammarError: the constant is not added, or multiplied by more than numbers: then it is none of integration.
    """
    if not contains(tree, CONSTANT):
        return tree
    if tree == CONSTANT:
        return _ZERO
    if tree[0] == "negative":
        return _negative(without_constant(tree[1]))
    if tree[0] == "sum":
        return _sum([without_constant(term) for term in tree[1:]])
    if tree[0] == "product":
        return _product(tree)
    raise GrammarError("the constant of integration may only be added")


def _negative(tree: Expression) -> Expression:
    return tree if tree == _ZERO else ("negative", tree)


def _sum(terms: list[Expression]) -> Expression:
    kept = [term for term in terms if term != _ZERO] or [_ZERO]
    return ("sum", *kept) if len(kept) > 1 else kept[0]


def _product(tree: Expression) -> Expression:
    """Return a product with the constant in one of its factors set to zero, the others being free of x."""
    holders = [factor for factor in tree[1:] if contains(factor, CONSTANT)]
    others = [factor for factor in tree[1:] if factor not in holders]
    if len(holders) > 1 or any(contains(factor, _X) for factor in others):
        raise GrammarError("the constant of integration may only be added")
    inside = without_constant(holders[0])
    return _ZERO if inside == _ZERO else ("product", *(inside if f is holders[0] else f for f in tree[1:]))
