"""Numerically safe expressions: agreement at a few points in double precision proves them equal.

These are polynomials, their quotients, and common functions of linear arguments, with numbers of moderate size. Such a
function has no scale beyond the sampled points, does not repeat a piece of itself like asin(sin(x/100)), does not
saturate like tanh(x^2 + 99), and does not pretend to be another one as cos(x/99/99) does. All other expressions are
verified at 50 digits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

from everlearn.domains.integration.grammar import constant

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.domains.integration.grammar import Expression

_Line: TypeAlias = tuple[float, float]  # value at zero, slope
_NAMES: dict[str, _Line] = {"x": (0.0, 1.0), "e": (math.e, 0.0), "pi": (math.pi, 0.0)}

COMMON = frozenset({"exp", "log", "sin", "cos", "atan"})
LARGEST_NUMBER = 99
LARGEST_POWER = 12
SLOPES = (1 / 16, 99)  # of a linear argument: cos(x/4900)*cosh(x/4900) is 1 to twelve digits at the sampled points


def is_numerically_safe(tree: Expression) -> bool:
    """Return whether the whole tree is numerically safe."""
    kind = tree[0]
    if kind == "call":
        return tree[1] in COMMON and _is_linear(tree[2])
    if kind == "power":
        if tree[1] == ("name", "e"):
            return _is_linear(tree[2])
        size = constant(tree[2])
        return size is not None and size == int(size) and abs(size) <= LARGEST_POWER and is_numerically_safe(tree[1])
    return kind in ("number", "name") or all(map(is_numerically_safe, tree[1:]))


def _is_linear(tree: Expression) -> bool:
    """Return whether a tree is linear in x, with a slope and numbers of moderate size."""
    if tree == ("name", "x"):
        return True
    line = _line(tree)
    return line is not None and SLOPES[0] <= abs(line[1]) <= SLOPES[1]


def _line(tree: Expression) -> _Line | None:
    """Return (value at zero, slope) of a tree linear in x with numbers of moderate size, None for any other tree."""
    kind = tree[0]
    if kind == "number":
        return (float(tree[1]), 0.0) if tree[1] <= LARGEST_NUMBER else None
    if kind == "name":
        return _NAMES.get(tree[1])
    combine = _LINEAR.get(kind)
    if combine is None:
        return None
    parts = []
    for child in tree[1:]:
        part = _line(child)
        if part is None:
            return None
        parts.append(part)
    return combine(parts)


def _sum(parts: list[_Line]) -> _Line:
    return sum(part[0] for part in parts), sum(part[1] for part in parts)


def _product(parts: list[_Line]) -> _Line | None:
    level, slope = 1.0, 0.0
    for part in parts:
        if slope and part[1]:
            return None
        level, slope = level * part[0], level * part[1] + slope * part[0]
    return level, slope


def _inverse(parts: list[_Line]) -> _Line | None:
    level, slope = parts[0]
    return (1 / level, 0.0) if level and not slope else None


_LINEAR: dict[str, Callable[[list[_Line]], _Line | None]] = {
    "negative": lambda parts: (-parts[0][0], -parts[0][1]),
    "inverse": _inverse,
    "sum": _sum,
    "product": _product,
}
