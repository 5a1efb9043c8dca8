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

_Lines: TypeAlias = list[tuple[float, float]]

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
    line = _line(tree)
    return line is not None and SLOPES[0] <= abs(line[1]) <= SLOPES[1]


def _line(tree: Expression) -> tuple[float, float] | None:
    """Return (value at zero, slope) of a tree linear in x with numbers of moderate size, None for any other tree."""
    kind = tree[0]
    if kind == "number":
        return (float(tree[1]), 0.0) if tree[1] <= LARGEST_NUMBER else None
    if kind == "name":
        return {"x": (0.0, 1.0), "e": (math.e, 0.0), "pi": (math.pi, 0.0)}.get(tree[1])
    if kind not in _LINEAR:
        return None
    parts = [line for child in tree[1:] if (line := _line(child)) is not None]
    return _LINEAR[kind](parts) if len(parts) == len(tree) - 1 else None


def _sum(parts: _Lines) -> tuple[float, float]:
    return sum(part[0] for part in parts), sum(part[1] for part in parts)


def _product(parts: _Lines) -> tuple[float, float] | None:
    level, slope = 1.0, 0.0
    for part in parts:
        if slope and part[1]:
            return None
        level, slope = level * part[0], level * part[1] + slope * part[0]
    return level, slope


def _inverse(parts: _Lines) -> tuple[float, float] | None:
    level, slope = parts[0]
    return (1 / level, 0.0) if level and not slope else None


_LINEAR: dict[str, Callable[[_Lines], tuple[float, float] | None]] = {
    "negative": lambda parts: (-parts[0][0], -parts[0][1]),
    "inverse": _inverse,
    "sum": _sum,
    "product": _product,
}
