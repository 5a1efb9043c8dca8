"""Right and wrong answers to equations, by construction, to certify the verifier. None is used in prompts or rewards."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING, TypeAlias

from everlearn.domains.equations.surds import SurdSum

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

    from everlearn.domains.equations.statements import Equations

Point: TypeAlias = tuple[SurdSum, ...]
NOTHING = "no solution"
MOST_WRONG = 40


def right_answer(asked: Equations) -> str:
    """Return the solutions in the usual notation."""
    return _written(asked.solutions, asked.unknowns)


def other_notations(asked: Equations) -> list[str]:
    """Return the solutions in other notations that are read."""
    if not asked.solutions:
        return ["No solution.", "no real solutions", "There is no solution", "\N{EMPTY SET}", "{}", r"\emptyset"]
    if len(asked.unknowns) > 1:
        return _systems(asked)
    name, values = asked.unknowns[0], [value_text(value) for (value,) in asked.solutions]
    named = [f"{name} = {value}" for value in values]
    found = [
        ", ".join(values),
        " or ".join(reversed(named)),
        f"{{{', '.join(values)}}}",
        f"{name} = {', '.join(values)}",
        f"{name}=" + " or ".join(values) + ".",
        f"${' , '.join(named)}$",
        f"The solutions are {' and '.join(named)}.",
        "\n".join(named),
        rf"{name} \in \{{{', '.join(map(_latex, (value for (value,) in asked.solutions)))}\}}",
        ", ".join(f"{name}_{place} = {value}" for place, value in enumerate(values, start=1)),
    ]
    decimals = [_decimal(value) for (value,) in asked.solutions]
    if all(decimals):
        found.append(" or ".join(f"{name} = {value}" for value in decimals))
    return [*found, *_plus_minus(asked)]


def _systems(asked: Equations) -> list[str]:
    values = [value_text(value) for value in asked.solutions[0]]
    named = [f"{name} = {value}" for name, value in zip(asked.unknowns, values, strict=True)]
    return [
        f"({', '.join(values)})",
        f"({', '.join(asked.unknowns)}) = ({', '.join(values)})",
        "; ".join(reversed(named)).replace(" = ", "="),
        " and ".join(named),
        "\n".join(named),
        f"${', '.join(named)}$",
    ]


def _plus_minus(asked: Equations) -> Iterator[str]:
    """Yield `1 ± sqrt(2)` for two solutions that differ in a sign."""
    if len(asked.solutions) == 2:
        (one,), (other,) = asked.solutions
        half = SurdSum.rational(Fraction(1, 2))
        middle, offset = (one + other) * half, (other - one) * half
        if middle.as_fraction == 0:
            yield f"\N{PLUS-MINUS SIGN}{value_text(offset)}"
        elif offset.radicands:
            yield f"{asked.unknowns[0]} = {value_text(middle)} \N{PLUS-MINUS SIGN} {value_text(offset)}"


def wrong_answers(asked: Equations, rng: random.Random) -> list[str]:
    """Return answers with other solutions than the right ones: their sets of exact numbers differ."""
    right = frozenset(asked.solutions)
    found: dict[str, None] = {}
    for points in _wrong_sets(asked, rng):
        if frozenset(points) != right:
            found.setdefault(_written(points, asked.unknowns))
    if right:
        found.setdefault(NOTHING)
    texts = list(found)
    return texts if len(texts) <= MOST_WRONG else rng.sample(texts, MOST_WRONG)


def _wrong_sets(asked: Equations, rng: random.Random) -> Iterator[Sequence[Point]]:
    points = asked.solutions
    width = len(asked.unknowns)
    if not points:
        for _ in range(12):
            yield [tuple(SurdSum.rational(rng.randint(-9, 9)) for _ in range(width))]
        return
    for place, point in enumerate(points):
        others = [*points[:place], *points[place + 1 :]]
        if others:
            yield others
        for column in range(width):
            for value in _near(point[column], rng):
                yield [*others, (*point[:column], value, *point[column + 1 :])]
        if width > 1:
            yield [point[1:] + point[:1]]
        else:
            yield [*points, *((value,) for value in list(_near(point[0], rng))[:1])]


def _near(value: SurdSum, rng: random.Random) -> Iterator[SurdSum]:
    """Yield numbers that are close to a number, or look like it."""
    yield -value
    for offset in (1, -1, 2, -2, Fraction(1, 2), 10, Fraction(1, 1000), rng.randint(3, 9)):
        yield value + SurdSum.rational(offset)
    for factor in (2, Fraction(1, 2), 10):
        yield value * SurdSum.rational(factor)
    if value.terms:
        yield value.inverse()
    if value.radicands:
        yield SurdSum(tuple((radicand, factor if radicand == 1 else -2 * factor) for radicand, factor in value.terms))
        yield SurdSum(tuple((radicand, -factor if radicand == 1 else factor) for radicand, factor in value.terms))


def _written(points: Sequence[Point], unknowns: Sequence[str]) -> str:
    if not points:
        return NOTHING
    separator = " or " if len(unknowns) == 1 else ", "
    return separator.join(
        f"{name} = {value_text(value)}" for point in points for name, value in zip(unknowns, point, strict=True)
    )


def value_text(value: SurdSum) -> str:
    """Return `3`, `-1/2`, `sqrt(5)`, `-3*sqrt(2)/4` or `(-1 + sqrt(5))/2`."""
    whole = value.as_fraction
    if whole is not None:
        return str(whole)
    bottom = 1
    for _, factor in value.terms:
        bottom = max(bottom, factor.denominator) if bottom % factor.denominator else bottom
    for _, factor in value.terms:
        bottom *= (factor * bottom).denominator
    top = " + ".join(_surd_text(radicand, int(factor * bottom)) for radicand, factor in value.terms).replace(
        "+ -", "- "
    )
    if bottom == 1:
        return top
    return f"({top})/{bottom}" if len(value.terms) > 1 else f"{top}/{bottom}"


def _surd_text(radicand: int, factor: int) -> str:
    if radicand == 1:
        return str(factor)
    return {1: "", -1: "-"}.get(factor, f"{factor}*") + f"sqrt({radicand})"


def _latex(value: SurdSum) -> str:
    whole = value.as_fraction
    if whole is None:
        return re.sub(r"\*?sqrt\(([0-9]+)\)", r"\\sqrt{\1}", value_text(value))
    sign = "-" if whole < 0 else ""
    bottom = whole.denominator
    return str(whole) if bottom == 1 else rf"{sign}\frac{{{abs(whole.numerator)}}}{{{bottom}}}"


def _decimal(value: SurdSum) -> str:
    """Return a finite decimal of at most four places; empty if there is none."""
    whole = value.as_fraction
    if whole is None or (whole * 10**4).denominator != 1 or abs(whole) >= 10**8:
        return ""
    return f"{float(whole):.4f}"
