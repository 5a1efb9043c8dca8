"""Exact real numbers that are sums of square roots with rational factors: a + b*sqrt(2) + c*sqrt(3) + d*sqrt(6).

Each number has one form: different squarefree radicands with factors that are not zero. So two numbers are equal exactly
where their forms are, since square roots of different squarefree numbers are linearly independent over the rationals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

from everlearn.errors import GrammarError

if TYPE_CHECKING:
    from collections.abc import Mapping

_TRIED = 10**5  # divisors of a radicand that are tried
_SCALE = 10**60  # for the comparison of sizes


@dataclass(frozen=True, slots=True)
class SurdSum:
    """A number, as (squarefree radicand, factor) sorted by radicand. The radicand of the rational part is 1."""

    terms: tuple[tuple[int, Fraction], ...]

    @classmethod
    def rational(cls, value: Fraction | int) -> SurdSum:
        """Return a rational number."""
        return _of({1: Fraction(value)})

    @classmethod
    def square_root(cls, value: Fraction) -> SurdSum:
        """Return the root of a rational number that is not negative. Raises GrammarError if it is too large to factor."""
        outside, inside = square_parts(value.numerator * value.denominator)
        return _of({inside: Fraction(outside, value.denominator)})

    @property
    def as_fraction(self) -> Fraction | None:
        """The number if it is rational, else None."""
        if not self.terms:
            return Fraction(0)
        [(radicand, factor), *others] = self.terms
        return factor if radicand == 1 and not others else None

    @property
    def radicands(self) -> tuple[int, ...]:
        """The radicands of the irrational terms."""
        return tuple(radicand for radicand, _ in self.terms if radicand != 1)

    def __add__(self, other: SurdSum) -> SurdSum:
        total = dict(self.terms)
        for radicand, factor in other.terms:
            total[radicand] = total.get(radicand, Fraction(0)) + factor
        return _of(total)

    def __neg__(self) -> SurdSum:
        return SurdSum(tuple((radicand, -factor) for radicand, factor in self.terms))

    def __sub__(self, other: SurdSum) -> SurdSum:
        return self + -other

    def __mul__(self, other: SurdSum) -> SurdSum:
        total: dict[int, Fraction] = {}
        for one, left in self.terms:
            for two, right in other.terms:
                common = math.gcd(one, two)
                radicand = one * two // common**2
                total[radicand] = total.get(radicand, Fraction(0)) + left * right * common
        return _of(total)

    def inverse(self) -> SurdSum:
        """Return 1 divided by the number, which is not zero.

        The number is u + v*sqrt(p), where no radicand in u and v has a factor in common with p. Then u^2 - p*v^2 has
        fewer independent roots, and is not zero.
        """
        value = self.as_fraction
        if value is not None:
            return SurdSum.rational(1 / value)
        p = self._splitting_radicand()
        outer = _of({radicand: factor for radicand, factor in self.terms if radicand % p})
        inner = _of({radicand // p: factor for radicand, factor in self.terms if radicand % p == 0})
        norm = outer * outer - SurdSum.rational(p) * inner * inner
        conjugate = outer - inner * _of({p: Fraction(1)})
        return conjugate * norm.inverse()

    def _splitting_radicand(self) -> int:
        """Return a number above 1 that divides each radicand or has no factor in common with it."""
        p, *others = self.radicands
        for radicand in others:  # a later p divides the earlier ones, so one pass is enough
            common = math.gcd(p, radicand)
            p = p if common == 1 else common
        return p

    def __lt__(self, other: SurdSum) -> bool:
        """Compare sizes at 60 digits, to sort."""
        return (self - other)._scaled() < 0

    def _scaled(self) -> Fraction:
        return sum((factor * math.isqrt(radicand * _SCALE**2) for radicand, factor in self.terms), Fraction(0))


def _of(factors: Mapping[int, Fraction]) -> SurdSum:
    return SurdSum(tuple(sorted((radicand, factor) for radicand, factor in factors.items() if factor)))


@lru_cache(maxsize=4096)
def square_parts(number: int) -> tuple[int, int]:
    """Return (s, d) with number = s^2 * d and d squarefree; (0, 1) for zero.

    Raises:
        GrammarError: what remains without the prime factors up to 10^5 may have a square factor.
    """
    root = math.isqrt(number)
    if root * root == number:
        return root, 1
    outside, inside, rest, divisor = 1, 1, number, 2
    while divisor <= _TRIED and divisor * divisor <= rest:
        while rest % (divisor * divisor) == 0:
            rest //= divisor * divisor
            outside *= divisor
        if rest % divisor == 0:
            rest //= divisor
            inside *= divisor
        divisor += 1 if divisor == 2 else 2
    root = math.isqrt(rest)
    if root * root == rest:
        return outside * root, inside
    if rest > _TRIED**2:
        raise GrammarError("the square root of a number that is too large to factor")
    return outside, inside * rest
