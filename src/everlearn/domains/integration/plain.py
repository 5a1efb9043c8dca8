"""Plain trees: those for which agreement at a few points in double precision is enough.

Polynomials, their quotients, and the common functions of linear arguments with modest numbers. Such a function has no
scale beyond the sampled ones, cannot be folded like asin(sin(x/100)), and does not fade into a constant like
tanh(x^2 + 99). What is not plain is judged at 50 digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.domains.integration.grammar import constant

if TYPE_CHECKING:
    from everlearn.domains.integration.grammar import Expression

COMMON = frozenset({"exp", "log", "sin", "cos", "atan"})
LARGEST_NUMBER = 99
LARGEST_POWER = 12


def is_plain(tree: Expression) -> bool:
    """Whether the whole tree is plain."""
    kind = tree[0]
    if kind == "call":
        return tree[1] in COMMON and _degree(tree[2]) == 1
    if kind == "power":
        if tree[1] == ("name", "e"):
            return _degree(tree[2]) == 1
        size = constant(tree[2])
        return size is not None and size == int(size) and abs(size) <= LARGEST_POWER and is_plain(tree[1])
    return kind in ("number", "name") or all(map(is_plain, tree[1:]))


def _degree(tree: Expression) -> int | None:
    """1 for a tree linear in x, 0 for a number, None for anything else."""
    kind = tree[0]
    if kind == "number":
        return 0 if tree[1] <= LARGEST_NUMBER else None
    if kind == "name":
        return int(tree[1] == "x")
    if kind == "negative":
        return _degree(tree[1])
    if kind == "inverse":
        return 0 if _degree(tree[1]) == 0 else None
    if kind not in ("sum", "product"):
        return None
    degree = 0
    for child in tree[1:]:
        part = _degree(child)
        if part is None or (degree and part and kind == "product"):
            return None
        degree = max(degree, part)
    return degree
