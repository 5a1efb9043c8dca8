"""Numerically safe expressions: agreement at a few points in double precision proves them equal.

These are polynomials, their quotients, and common functions of linear arguments, with numbers of moderate size. Such a
function has no scale beyond the sampled points, does not repeat a piece of itself like asin(sin(x/100)), and does not
saturate like tanh(x^2 + 99). All other expressions are verified at 50 digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.domains.integration.grammar import constant

if TYPE_CHECKING:
    from everlearn.domains.integration.grammar import Expression

COMMON = frozenset({"exp", "log", "sin", "cos", "atan"})
_LINEAR = frozenset({"negative", "inverse", "sum", "product"})
LARGEST_NUMBER = 99
LARGEST_POWER = 12


def is_numerically_safe(tree: Expression) -> bool:
    """Return whether the whole tree is numerically safe."""
    kind = tree[0]
    if kind == "call":
        return tree[1] in COMMON and _degree(tree[2]) == 1
    if kind == "power":
        if tree[1] == ("name", "e"):
            return _degree(tree[2]) == 1
        size = constant(tree[2])
        return size is not None and size == int(size) and abs(size) <= LARGEST_POWER and is_numerically_safe(tree[1])
    return kind in ("number", "name") or all(map(is_numerically_safe, tree[1:]))


def _degree(tree: Expression) -> int | None:
    """Return 1 for a tree linear in x, 0 for a constant of moderate size, None for any other tree."""
    kind = tree[0]
    if kind == "number":
        return 0 if tree[1] <= LARGEST_NUMBER else None
    if kind == "name":
        return int(tree[1] == "x")
    parts = [_degree(child) for child in tree[1:]] if kind in _LINEAR else [None]
    degrees = [part for part in parts if part is not None]
    total = max(degrees) if kind == "sum" and degrees else sum(degrees)
    fits = len(degrees) == len(parts) and total <= (0 if kind == "inverse" else 1)
    return total if fits else None
