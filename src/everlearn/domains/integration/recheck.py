"""Slow and independent verification of an antiderivative at 50 digits, without any rule of differentiation.

The derivative is a central difference of the answer along the real axis. Precision and step are chosen so that more
than `digits` digits remain. It shares neither code nor rules with `numeric_verifier`. The points are drawn from the pair
itself, so that no answer can be fitted to them.

At a point, the two agree to `digits` digits, or they differ, or it cannot be told: a difference counts only if it is
the same at twice the precision, where all rounding errors are others. An answer is judged where the integrand is real:

- CORRECT: they agree at half of the points or more, and differ at none;
- WRONG: they differ at `ENOUGH_GAPS` points or more where the answer is real, or where it is complex and agrees nowhere;
- UNDECIDED: all other cases, such as `acosh(x)` for `1/sqrt(x^2-1)`, which differs only where it is not real.

So `log(x)` and `log(abs(x))` are right for `1/x`, and constants may differ from piece to piece of the domain. If an
integrand is real (almost) nowhere, all points on the axis and in the complex plane must agree.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from everlearn.domains.integration.grammar import ANSWER_NAMES, Expression, constant, parse
from everlearn.domains.integration.high_precision import HighPrecisionEvaluator, UndefinedError, has_x
from everlearn.domains.integration.numeric_safety import is_numerically_safe
from everlearn.errors import GrammarError
from everlearn.problem import Ruling, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

ENOUGH = 6
ENOUGH_GAPS = 3
WANTED = 14
_PLAIN = 8
_FAR = 10
_TRIED = 400
_BITS = math.log2(10)  # per decimal digit
_STABLE = 1e-10  # largest relative change of a gap between two precisions
_SLACK = 30.0  # decimal digits that the working precision covers anyway
_NO_THEORY = re.compile(
    r"\b(Li|li|Ei|Ci|Si|Chi|Shi|erf|erfc|erfi|gamma|Gamma|polylog|PolyLog|FresnelS|FresnelC|EllipticE|EllipticF|"
    r"hypergeom|LambertW|sign|CannotIntegrate|Unintegrable)\s*\("
)
_HIDDEN = 600.0  # most decimal digits that the constants of a text may span


def recheck(integrand: str, antiderivative: str, *, digits: int = 50) -> Verdict:
    """Judge whether `antiderivative` is an antiderivative of `integrand`, to `digits` decimal digits.

    Raises:
        GrammarError: the integrand is not in the grammar.
    """
    question = parse(integrand)
    try:
        answer = parse(antiderivative, names=ANSWER_NAMES)
    except GrammarError as error:
        return unreadable(antiderivative, error)
    hidden = spread(question) + spread(answer)
    if hidden > _HIDDEN:
        return _undecided(f"its constants span more than the {_HIDDEN:.0f} decimal digits that can be judged")
    plain = is_numerically_safe(question) and is_numerically_safe(
        answer
    )  # then no far points are needed, see numeric_safety.py
    slack = _HIDDEN if plain else _SLACK
    comparison = _Comparison(question, answer, digits=digits + math.ceil(max(0.0, hidden - slack)))
    chance = random.Random(f"{integrand} = ({antiderivative})'")
    near = comparison.domain(_near(chance), wanted=_PLAIN if plain else WANTED)
    if len(near) < ENOUGH:
        return comparison.in_plane(chance)
    beyond = [] if plain else comparison.domain(_far(min(hidden, 60.0), chance), wanted=_FAR)
    return comparison.on_axis(near, beyond=beyond)


def unreadable(answer: str, error: GrammarError) -> Verdict:
    """Return the verdict on an answer that is not in the grammar."""
    named = _NO_THEORY.search(answer[:4000])
    if named:
        return Verdict(ruling=Ruling.UNDECIDED, reason=f"the answer uses {named[1]}, of which there is no theory here")
    return Verdict(ruling=Ruling.UNREADABLE, reason=f"the answer cannot be read: {error}")


class _Outcome(Enum):
    """Result of a comparison at one point."""

    AGREES = auto()
    DIFFERS = auto()
    DIFFERS_OFF_AXIS = auto()  # the answer is not real there
    UNKNOWN = auto()  # undefined, or lost in rounding errors


class _Comparison:
    """The comparison of one integrand and one answer at one precision."""

    def __init__(self, question: Expression, answer: Expression, *, digits: int) -> None:
        self.question = question
        self.answer = answer
        self.digits = digits
        self.precise = HighPrecisionEvaluator(3 * digits + 30)

    def domain(self, candidates: Iterator[float], *, wanted: int) -> list[float]:
        """Return the first `wanted` points at which the integrand is real."""
        rough = HighPrecisionEvaluator(30)
        found: list[float] = []
        for point in candidates:
            value = _defined(rough, self.question, point)
            if value is not None and _is_real(value):
                found.append(point)
            if len(found) == wanted:
                break
        return found

    def on_axis(self, points: list[float], *, beyond: list[float]) -> Verdict:
        """Return the verdict from points of the integrand's real domain. At `beyond`, the answer may be undefined."""
        seen: Counter[_Outcome] = Counter()
        for number, point in enumerate([*points, *beyond]):
            if number == len(points) and not seen[_Outcome.DIFFERS] and _too_few(seen, points):
                break
            seen[self.at(point)] += 1
            if seen[_Outcome.DIFFERS] == ENOUGH_GAPS:
                return self.refuse(seen, point)
        if seen[_Outcome.DIFFERS_OFF_AXIS] >= ENOUGH_GAPS and not seen[_Outcome.AGREES]:
            return self.refuse(seen, point)
        if seen[_Outcome.DIFFERS]:
            return _undecided(f"its derivative is not the integrand at {seen[_Outcome.DIFFERS]} points only")
        if seen[_Outcome.DIFFERS_OFF_AXIS]:
            return _undecided("its derivative is not the integrand at points where it is not real")
        if _too_few(seen, points):
            return _undecided(f"it can be judged at {seen[_Outcome.AGREES]} of {len(points)} points of the domain only")
        return self.accept(f"{seen[_Outcome.AGREES]} real points")

    def in_plane(self, chance: random.Random) -> Verdict:
        """Return the verdict on an integrand that is real almost nowhere. `abs` has a derivative on the axis only."""
        axis_only = calls(self.question, "abs") or calls(self.answer, "abs")
        points = [
            complex(chance.uniform(-4, 4), 0 if n % 2 or axis_only else chance.uniform(-3, 3)) for n in range(WANTED)
        ]
        seen = Counter(map(self.at, points))
        told = len(points) - seen[_Outcome.UNKNOWN]
        if told < ENOUGH:
            return _undecided(f"both are defined at {told} of {len(points)} points only")
        if seen[_Outcome.AGREES] == told:
            return self.accept(f"{told} complex points; the integrand is real hardly anywhere")
        if seen[_Outcome.AGREES]:
            return _undecided("the integrand is real hardly anywhere, and other branches may be meant")
        return Verdict(ruling=Ruling.WRONG, reason=f"its derivative is the integrand at none of {told} points")

    def refuse(self, seen: Counter[_Outcome], point: float) -> Verdict:
        """Return WRONG, and name the last point."""
        agreed = seen[_Outcome.AGREES]
        piece = f", though it agrees at {agreed} others" if agreed else ""
        return Verdict(
            ruling=Ruling.WRONG,
            reason=f"at x = {point:.6g} its derivative is not the integrand{piece} ({self.digits} digits)",
        )

    def accept(self, where: str) -> Verdict:
        """Return CORRECT, or UNDECIDED if a part of the answer was too small to matter at any point."""
        if self.precise.faintest() < -self.digits / 2 * _BITS:
            return _undecided("a part of it is too small, or changes too little, to be judged")
        if flat(self.question) or flat(self.answer):
            return _undecided("a constant in it is too near to a whole number to be judged")
        return Verdict(
            ruling=Ruling.CORRECT, reason=f"its derivative agrees with the integrand to {self.digits} digits at {where}"
        )

    def at(self, point: complex) -> _Outcome:
        """Compare the derivative with the integrand at one point. A gap counts if twice the precision confirms it."""
        first = self.compare(self.precise, point)
        if first is None or first.same:
            return _Outcome.AGREES if first else _Outcome.UNKNOWN
        again = self.compare(HighPrecisionEvaluator(2 * self.precise.context.dps), point)
        if again is None or again.same:
            return _Outcome.AGREES if again else _Outcome.UNKNOWN
        if not again.clear or abs(first.gap - again.gap) > _STABLE * abs(again.gap):
            return _Outcome.UNKNOWN
        return _Outcome.DIFFERS if again.real else _Outcome.DIFFERS_OFF_AXIS

    def compare(self, precise: HighPrecisionEvaluator, point: complex) -> _PointComparison | None:
        """Evaluate both sides at one point. Return None if one is undefined."""
        context = precise.context
        step = context.ldexp(1, -(context.prec // 3))
        place = context.mpc(point)
        value = _defined(precise, self.question, place)
        before = _defined(precise, self.answer, place - step)
        after = _defined(precise, self.answer, place + step)
        if before is None or after is None or value is None:
            return None
        slope = (after - before) / (2 * step)
        size = max(abs(slope), abs(value))
        lost = -context.dps / 2 * _BITS
        return _PointComparison(
            gap=slope - value,
            real=_is_real(after),
            same=bool(abs(slope - value) <= context.mpf(10) ** -self.digits * (size if value else abs(after))),
            clear=precise.least > lost and precise.order(size) - precise.order(after or size) > lost,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _PointComparison:
    """Derivative minus integrand at a point.

    `real`: the answer is real there. `same`: the two agree. `clear`: no term is lost beside the others.
    """

    gap: Any
    real: bool
    same: bool
    clear: bool


def _too_few(seen: Counter[_Outcome], points: list[float]) -> bool:
    """Return whether they agree at too few points for a verdict."""
    return seen[_Outcome.AGREES] < ENOUGH or 2 * seen[_Outcome.AGREES] < len(points)


def _is_real(value: Any) -> bool:
    return bool(abs(value.imag) <= 1e-20 * abs(value))


def _near(chance: random.Random) -> Iterator[float]:
    """Yield real points of several magnitudes and both signs."""
    for number in range(_TRIED):
        size = chance.uniform(0.05, 5) if number % 2 else 10 ** chance.uniform(-2, 2)
        yield size if number % 4 < 2 else -size


def _far(reach: float, chance: random.Random) -> Iterator[float]:
    """Yield points beyond all scales set by the constants, where functions like asin(sin(x/1000)) differ from x/1000."""
    for number in range(2 * _FAR):
        size = 10 ** (2 + (reach + 2) * (number // 2 + chance.random()) / _FAR)
        yield size if number % 2 else -size


def _defined(precise: HighPrecisionEvaluator, tree: Expression, point: Any) -> Any | None:
    try:
        return precise.at(tree, point)
    except UndefinedError:
        return None


def spread(tree: Expression) -> float:
    """Return how many decimal digits the constants of a tree can span: the sum of their magnitudes, powers included."""
    if tree[0] == "number":
        return abs(_log10(tree[1].numerator)) + abs(_log10(tree[1].denominator))
    if tree[0] == "name":
        return 0.0
    if tree[0] == "call":
        inner = spread(tree[2])
        return inner if has_x(tree[2]) else max(inner, _size(tree))
    if tree[0] == "power":
        return spread(tree[1]) * max(1.0, abs(constant(tree[2]) or 1.0)) + spread(tree[2])
    return sum(map(spread, tree[1:]))


def _log10(whole: int) -> float:
    return math.log10(abs(whole)) if whole else 0.0


def _size(tree: Expression) -> float:
    """Return the decimal order of magnitude of a constant."""
    rough = HighPrecisionEvaluator(15)
    value = _defined(rough, tree, 0)
    return abs(float(rough.context.log10(abs(value)))) if value else 0.0


def calls(tree: Expression, name: str) -> bool:
    """Return whether a tree applies the function of that name."""
    return tree[:2] == ("call", name) or any(calls(child, name) for child in tree[1:] if isinstance(child, tuple))


def flat(tree: Expression) -> bool:
    """Return whether a function of constants in it is almost, but not exactly, an integer, such as tanh(99)."""
    if tree[0] in ("number", "name"):
        return False
    if tree[0] == "call" and tree[1] not in ("sqrt", "abs") and not has_x(tree[2]):
        value = _defined(HighPrecisionEvaluator(30), tree, 0)
        exact = tree[2] in (("name", "e"), ("number", 0), ("number", 1))
        if value is not None and not exact and abs(value - round(float(value.real))) < 1e-15:
            return True
    return any(flat(child) for child in tree[1:] if isinstance(child, tuple))


def _undecided(reason: str) -> Verdict:
    return Verdict(ruling=Ruling.UNDECIDED, reason=reason)
