"""The second opinion, slow and independent: 50 digits, and no rule of differentiation at all.

The derivative is a central difference of the answer along the real axis, at a precision and a step so small that more
than `digits` digits remain. It shares neither code nor rules with `verify`. An answer is CORRECT when it agrees with
the integrand at every point where the integrand is real and the answer defined, WRONG when it does not at one of
them. Where an integrand is real (almost) nowhere, the points on the axis and in the plane must all agree.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

from everlearn.domains.integration.grammar import Expression, parse
from everlearn.domains.integration.precise import Precise, UndefinedError
from everlearn.errors import GrammarError
from everlearn.problem import Ruling, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

ENOUGH = 6
WANTED = 14
_TRIED = 400
_HIDDEN = 400  # decimal digits that the constants of a text may hide


def recheck(integrand: str, antiderivative: str, *, digits: int = 50) -> Verdict:
    """Judge whether the second text is an antiderivative of the first, to so many digits.

    Raises:
        GrammarError: the integrand is no expression of the grammar.
    """
    question = parse(integrand)
    try:
        answer = parse(antiderivative)
    except GrammarError as error:
        return Verdict(ruling=Ruling.UNDECIDED, reason=f"there is nothing to recheck, the answer cannot be read: {error}")
    hidden = _spread(question) + _spread(answer)
    if hidden > _HIDDEN:
        return _undecided(f"its constants span {hidden:.0f} decimal digits, more than the {_HIDDEN} that can be judged")
    proof = _Proof(question, answer, digits=digits + math.ceil(hidden))
    found = proof.domain()
    return proof.on_axis(found) if len(found) >= ENOUGH else proof.in_plane()


class _Proof:
    """One integrand and one answer at one precision."""

    def __init__(self, question: Expression, answer: Expression, *, digits: int) -> None:
        self.question = question
        self.answer = answer
        self.digits = digits
        self.precise = Precise(3 * digits + 30)

    def domain(self) -> list[Any]:
        """Points of several sizes at which the integrand is real."""
        rough = Precise(30)
        found = []
        for point in _candidates():
            value = _defined(rough, self.question, point)
            if value is not None and abs(value.imag) <= 1e-20 * abs(value):
                found.append(point)
                if len(found) == WANTED:
                    break
        return found

    def on_axis(self, points: list[float]) -> Verdict:
        """The verdict from points of the integrand's own real domain."""
        agreed = 0
        for point in points:
            same = self.agrees(point)
            if same is False:
                piece = f", though it agrees at {agreed} others" if agreed else ""
                return Verdict(
                    ruling=Ruling.WRONG,
                    reason=f"at x = {point:.6g} its derivative is not the integrand{piece} ({self.digits} digits)",
                )
            agreed += bool(same)
        if agreed < ENOUGH or 2 * agreed < len(points):
            return _undecided(f"it is defined at {agreed} of {len(points)} points of the integrand's domain only")
        return self.accept(f"{agreed} real points")

    def in_plane(self) -> Verdict:
        """The verdict for an integrand that is hardly ever real."""
        chance = random.Random(0)
        points = [complex(chance.uniform(-4, 4), 0 if n % 2 else chance.uniform(-3, 3)) for n in range(WANTED)]
        seen = [same for same in map(self.agrees, points) if same is not None]
        if len(seen) < ENOUGH:
            return _undecided(f"both are defined at {len(seen)} of {len(points)} points only")
        if all(seen):
            return self.accept(f"{len(seen)} complex points; the integrand is real hardly anywhere")
        if any(seen):
            return _undecided("the integrand is real hardly anywhere, and other branches may be meant")
        return Verdict(ruling=Ruling.WRONG, reason=f"its derivative is the integrand at none of {len(seen)} points")

    def accept(self, where: str) -> Verdict:
        """CORRECT, unless a part of the answer was too faint to be seen."""
        if self.precise.faintest() < self.precise.context.mpf(10) ** (-self.digits // 2):
            return _undecided("a part of it is too small beside the rest to be judged")
        return Verdict(
            ruling=Ruling.CORRECT, reason=f"its derivative agrees with the integrand to {self.digits} digits at {where}"
        )

    def agrees(self, point: complex) -> bool | None:
        """Whether the derivative is the integrand there; None where one of them is not defined."""
        same = self.compare(self.precise, point)
        if same is False:  # cancellation can eat any number of digits: ask again with twice as many
            return self.compare(Precise(2 * self.precise.context.dps), point)
        return same

    def compare(self, precise: Precise, point: complex) -> bool | None:
        context = precise.context
        step = context.mpf(10) ** (-context.dps // 3)
        place = context.mpc(point)
        before = _defined(precise, self.answer, place - step)
        after = _defined(precise, self.answer, place + step)
        value = _defined(precise, self.question, place)
        if before is None or after is None or value is None:
            return None
        slope = (after - before) / (2 * step)
        gap = abs(slope - value)
        return bool(gap <= context.mpf(10) ** -self.digits * (max(abs(slope), abs(value))) + _floor(context))


def _floor(context: Any) -> Any:
    """What counts as zero beside zero: the absolute tolerance, far below every value that the points can reach."""
    return context.mpf(10) ** (-context.dps // 2)


def _candidates() -> Iterator[float]:
    """Real points of several sizes and both signs, always the same ones."""
    chance = random.Random(1)
    for number in range(_TRIED):
        size = chance.uniform(0.05, 5) if number % 2 else 10 ** chance.uniform(-2, 2)
        yield size if number % 4 < 2 else -size


def _defined(precise: Precise, tree: Expression, point: Any) -> Any | None:
    try:
        value = precise.at(tree, point)
    except UndefinedError:
        return None
    return value if precise.context.isfinite(value) else None


def _spread(tree: Expression) -> float:
    """How many decimal digits the constants of a tree can hide: the sizes of all its large and tiny ones, summed."""
    value = None if _has_x(tree) else _defined(Precise(15), tree, 0)
    if value is not None:
        size = abs(float(Precise(15).context.log10(abs(value)))) if value else 0.0
        return size if size > 3 else 0.0
    if tree[0] in ("number", "name"):
        return 0.0
    return sum(_spread(child) for child in tree[1:] if isinstance(child, tuple))


def _has_x(tree: Expression) -> bool:
    return tree == ("name", "x") or any(_has_x(child) for child in tree[1:] if isinstance(child, tuple))


def _undecided(reason: str) -> Verdict:
    return Verdict(ruling=Ruling.UNDECIDED, reason=reason)
