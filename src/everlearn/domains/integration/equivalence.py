"""Equivalence of integration problems: one key for all integrands that are the same problem.

Two integrands are the same problem if they are equal as functions up to a constant factor: then one antiderivative is
a multiple of the other, and whoever knows one knows both. What holds and what does not, with the reasons, is tabled in
docs/verification.md: identities, log(x^2)/2, factors taken out and expanded products are the same problem; f(x+1),
f(2*x), f(-x) and f+5 are others.

The key is a signature: the function's values at the first `COUNT` of a fixed list of points at which it is real,
divided by a fixed weighted sum of them (which removes the factor), rounded to `DIGITS` significant digits. Rounding
could separate two equal functions only if their value lay within its own error of the border between two cells, so
the error is known: values come with bounds from double precision, and where a bound reaches a border (about one text
in 1,000) from 50 and 70 digits. Functions that differ by less than rounding at all of the points share a key as well:
such a problem is refused, which costs nothing.

Points on the positive axis come first, so log(abs(x)), log(x^2)/2 and log(x) are one problem. A function that is real
at too few points is compared at points of the complex plane. Where it cannot be evaluated, the key is the canonical text
without constant factor. Signatures are computed from that text, so texts that share it always share the key.
"""

from __future__ import annotations

import hashlib
import math
import random
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from everlearn.domains.integration.canonical import terms_without_factor, without_factor
from everlearn.domains.integration.error_bounds import ROUNDING, Bounded, evaluate
from everlearn.domains.integration.grammar import parse
from everlearn.domains.integration.high_precision import HighPrecisionEvaluator, UndefinedError
from everlearn.errors import GrammarError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from everlearn.domains.integration.grammar import Expression

SCHEME = "integration/2"
"""Name of this rule. Keys of another scheme are computed again from their statements."""
COUNT = 6
DIGITS = 10
_LOOSEST = 1e-11  # relative error up to which double precision can tell where a function is real
_KEY_LENGTH = 24  # hexadecimal digits
_CACHED_TERMS = 8192  # of about 1.5 kB each
_NOTHING = "0"


def _points() -> np.ndarray:
    """Return a small positive point, moderate ones on both sides of 1 in turn, large ones, then negative ones alike.

    The small one tells functions apart that have saturated at all others, such as sinh(9*x + 8) and sinh(9*x + 9).
    """
    chance = random.Random("equivalence")
    ranges = [(0.01, 0.03)] + [(1.05, 2.6), (0.15, 0.95)] * 8 + [(3.0, 12.0), (12.0, 60.0)] * 4
    positive = [chance.uniform(*bounds) for bounds in ranges]
    return np.array([*positive, *(-chance.uniform(*bounds) for bounds in ranges)])


def _plane() -> np.ndarray:
    """Return complex points on no branch cut of a usual function."""
    chance = random.Random("plane")
    return np.array([complex(chance.uniform(0.3, 2.0), chance.uniform(0.2, 0.8)) for _ in range(COUNT)])


AXIS = _points()
PLANE = _plane()
_WEIGHTS = np.array([random.Random(f"weight {n}").uniform(0.5, 1.5) * (-1) ** (n // 2) for n in range(COUNT)])


@lru_cache(maxsize=65536)
def equivalence(text: str) -> str:
    """Return the key of the problem: equal for the same problem.

    Raises:
        GrammarError: the text is not in the grammar.
    """
    return _fast(text) or _slow(without_factor(text))


def _slow(structural: str) -> str:
    return structural if structural == _NOTHING else _precise(structural) or structural


def _fast(text: str) -> str | None:
    """Return the signature from double precision, or None where that cannot tell it."""
    try:
        terms = [(float(coefficient), term) for coefficient, term in terms_without_factor(text)]
        values, error = _sum([(coefficient, *_on_axis(term)) for coefficient, term in terms])
        known = np.isfinite(values) & (error <= _LOOSEST * np.abs(values))
        real = np.flatnonzero(known & (np.abs(values.imag) <= error))[:COUNT]
        if len(real) == COUNT:
            return _cells("real", values.real[real], error[real]) if known[: real[-1]].all() else None
        if not known.all():
            return None
        return _cells("complex", *_sum([(coefficient, *_in_plane(term)) for coefficient, term in terms]))
    except (GrammarError, OverflowError):
        return None


def _sum(rows: Sequence[tuple[float, np.ndarray, np.ndarray]]) -> Bounded:
    """Return a linear combination of bounded values."""
    with np.errstate(all="ignore"):
        parts = np.array([coefficient * values for coefficient, values, _ in rows])
        errors = np.array([abs(coefficient) * error for coefficient, _, error in rows])
        rounding = (len(rows) + 2) * ROUNDING * np.abs(parts).sum(axis=0)
        return parts.sum(axis=0), errors.sum(axis=0) + rounding


@lru_cache(maxsize=_CACHED_TERMS)
def _on_axis(text: str) -> Bounded:
    return evaluate(parse(text), AXIS)


@lru_cache(maxsize=_CACHED_TERMS // 16)
def _in_plane(text: str) -> Bounded:
    return evaluate(parse(text), PLANE)


def _cells(kind: str, values: np.ndarray, error: np.ndarray) -> str | None:
    """Return the key of the values, or None if one is within its error of the border of its cell."""
    with np.errstate(all="ignore"):
        scale = _WEIGHTS @ values
        spread = np.abs(_WEIGHTS) @ error + 8 * ROUNDING * np.abs(_WEIGHTS * values).sum()
        scaled = values / scale
        bound = error / abs(scale) + np.abs(scaled) * (spread / abs(scale) + 8 * ROUNDING)
    parts = [scaled] if kind == "real" else [scaled.real, scaled.imag]
    cells = []
    for part in parts:
        for value, slack in zip(part.tolist(), bound.tolist(), strict=True):
            cell = f"{value - slack:.{DIGITS - 1}e}"
            if not slack < math.inf or cell != f"{value + slack:.{DIGITS - 1}e}":
                return None
            cells.append(cell)
    return _digest(kind, cells)


def _digest(kind: str, cells: Sequence[str]) -> str:
    return "=" + hashlib.sha256(" ".join([kind, *cells]).encode()).hexdigest()[:_KEY_LENGTH]


def _precise(text: str) -> str | None:
    """Return the signature from 50 and 70 digits; None where the function cannot be evaluated."""
    try:
        values, kind = _precise_values(parse(text))
    except (GrammarError, UndefinedError):
        return None
    if not any(values):
        return _NOTHING
    scale = sum(value * weight for value, weight in zip(values, _WEIGHTS.tolist(), strict=True))
    scaled = [complex(value / scale) for value in values]
    parts = [value.real for value in scaled] + ([] if kind == "real" else [value.imag for value in scaled])
    return _digest(kind, [f"{part + 0.0:.{DIGITS - 1}e}" for part in parts])


def _precise_values(tree: Expression) -> tuple[list[Any], str]:
    """Return the values that the signature is made of, and whether they are real or complex.

    Raises:
        UndefinedError: there are too few.
    """
    found = (value for value in _values_at(tree, AXIS) if abs(value.imag) <= 1e-30 * abs(value))
    real = list(islice(found, COUNT))
    if len(real) == COUNT:
        return real, "real"
    values = list(_values_at(tree, PLANE))
    if len(values) < COUNT:
        raise UndefinedError("undefined at too many points")
    return values, "complex"


def _values_at(tree: Expression, points: np.ndarray) -> Iterator[Any]:
    """Yield the values where there is one. Raises UndefinedError where it cannot be told."""
    rough, exact = HighPrecisionEvaluator(50), HighPrecisionEvaluator(70)
    for point in points.tolist():
        try:
            pair = rough.at(tree, point), exact.at(tree, point)
        except UndefinedError:
            continue
        yield _agreed(*pair)


def _agreed(rough: Any, exact: Any) -> Any:
    """Return the value, zero where only rounding is left of it. UndefinedError if the two precisions differ."""
    if abs(exact - rough) <= 1e-25 * abs(exact):
        return exact
    if abs(exact) < 1e-45:
        return exact * 0
    raise UndefinedError("lost in rounding")
