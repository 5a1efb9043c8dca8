"""Evidence about a loss against a recorded result, one answer an item and look, valid however many looks there are.

The items are fixed. `recorded` holds the share of right answers of each item in the record, X is 1 for a right answer
of the candidate and 0 otherwise. If the expected score lies `margin` or more below the record, then for every stake s
in [0, 1)

    product over items of 1 + s (X - recorded + margin)

is an e-value: its expectation is at most 1, because the answers are independent and the geometric mean of the factors'
expectations is at most their arithmetic mean. Stakes that depend on earlier looks only make the product over looks a
test supermartingale, so that by Ville's inequality it ever reaches 1/a with probability at most a (A. Ramdas, P.
Grünwald, V. Vovk, G. Shafer, "Game-theoretic statistics and safe anytime-valid inference", Statistical Science 38
(2023), arXiv 2210.01948). Nothing is estimated and nothing is asymptotic.

The stake makes the evidence grow about as fast as it can: for D = X - recorded + margin it is near the maximum of E
log(1 + s D), which to third order is E D / (E D^2 - E D E D^3 / E D^2). The moments are estimated from the looks
before, and from what is expected of a candidate that lost a quarter of the margin (I. Waudby-Smith, A. Ramdas,
"Estimating means of bounded random variables by betting", JRSS B 86 (2024), arXiv 2010.09686: plug-in stakes). The
third moment matters where nearly all answers are right: there a wrong one loses nearly the whole stake.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, log1p, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_NORMAL = NormalDist()
_MOST = 0.9
"""Largest stake, so that no factor comes near zero."""
_AIM = 0.75
"""Part of the margin that is left to the candidate for which the first stake is best."""
_DOUBT = 0.1
"""Standard deviation of that part before the first look. With more of it the noise of few answers moves the stake too far."""
_OPTIMISM = 2.0
"""Standard errors by which a candidate may be better than it showed, where it is asked whether it can still pass."""
_HALVINGS = 30
_TINY = 1e-12


class LossEvidence:
    """The looks at one suite so far, or at the same suite of many simulated lines.

    Items with equal `recorded` shares may be grouped: `recorded` and `sizes` have the shape (groups,), counts the shape
    (..., groups). `doubted` is the part of the recorded shares that was undecided. `variance` is the expected variance
    of one answer, on average over the items.
    """

    def __init__(
        self, recorded: Floats, *, sizes: Floats, margin: float, variance: float, doubted: Floats | float = 0.0
    ) -> None:
        self._recorded, self._sizes, self._margin = recorded, sizes, margin
        self._recorded_wrong = 1 - (recorded - doubted)
        self._moments = [tuple(map(np.asarray, (_AIM * margin, variance + margin**2, 0.0)))]
        """Of each look the means of D, D^2 and D^3; first those of a look that was planned, not made."""
        self._looks: list[_Look] = []
        self.log_within: Floats = np.zeros(1)
        """Log of the evidence that less than the margin was lost; `UNDECIDED` counts against it."""
        self.log_worse: Floats = np.zeros(1)
        """Log of the evidence that something was lost; `UNDECIDED` counts against it."""

    def add(self, right: Floats, *, undecided: Floats | float = 0.0) -> None:
        """Add one look: how many answers of each group are right, and how many are undecided."""
        look = _Look(
            right=right,
            wrong=self._sizes - right - undecided,
            stake=self.next_stake(),
            stake_of_worse=self._stake_of_worse(),
        )
        self._looks.append(look)
        expected = self._recorded - self._margin
        self.log_within = self.log_within + self._log_wealth(right, look.stake, expected)
        self.log_worse = self.log_worse + self._log_wealth(look.wrong, look.stake_of_worse, self._recorded_wrong)
        powers = (right * (1 - expected) ** k + (self._sizes - right) * (-expected) ** k for k in (1, 2, 3))
        self._moments.append(tuple(power.sum(axis=-1) / self._sizes.sum() for power in powers))

    def next_stake(self) -> Floats:
        """Return the stake of the next look, which depends on the looks before it: shape (...)."""
        (planned, *means), squares, cubes = zip(*self._moments, strict=True)
        square, cube = _mean(squares), _mean(cubes)
        precision = self._sizes.sum() * (_DOUBT * self._margin) ** 2
        mean = (planned * square + precision * sum(means)) / (square + precision * len(means))
        mean = np.clip(mean, 0.0, self._margin)
        spread = square - mean * cube / square
        return np.where(spread > 0, np.minimum(_MOST, mean / np.where(spread > 0, spread, 1.0)), _MOST)

    def can_pass(self, level: float, *, looks: int) -> NDArray[np.bool_]:
        """Return whether so many more looks can still give the evidence 1 / `level`: a forecast, of no meaning for what is proved.

        As by a candidate that is two standard errors better than its looks so far, with the best stakes to second
        order.
        """
        if not self._looks:
            return np.full(1, fill_value=looks > 0)
        items = self._sizes.sum()
        mean, square, _ = map(_mean, zip(*self._moments[1:], strict=True))
        mean = np.clip(mean + _OPTIMISM * np.sqrt(square / (items * len(self._looks))), 0.0, self._margin)
        growth = mean**2 / np.maximum(2 * square, _TINY)
        return np.asarray(self.log_within + looks * items * growth >= -log(level))

    def _stake_of_worse(self) -> Floats:
        return np.asarray(np.minimum(_MOST, _AIM * self._margin / _mean([square for _, square, _ in self._moments])))

    def largest_loss(self, level: float) -> float:
        """Return the upper bound of the loss at confidence 1 - `level`, whatever the number of looks."""
        return self._least_excluded(
            lambda loss: [(x.right, x.stake, self._recorded - loss) for x in self._looks], level
        )

    def largest_gain(self, level: float) -> float:
        """Return the upper bound of the gain at confidence 1 - `level`, whatever the number of looks."""
        return self._least_excluded(
            lambda gain: [(x.wrong, x.stake_of_worse, self._recorded_wrong - gain) for x in self._looks], level
        )

    def _least_excluded(self, bets: Callable[[float], list[tuple[Floats, Floats, Floats]]], level: float) -> float:
        """Return the smallest difference whose evidence reaches 1 / `level`, by bisection."""
        low, high = -1.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            evidence = sum(float(self._log_wealth(*bet).sum()) for bet in bets(middle))
            low, high = (low, middle) if evidence >= -log(level) else (middle, high)
        return high

    def _log_wealth(self, hits: Floats, stake: Floats, expected: Floats) -> Floats:
        """Return the log of the product of 1 + stake (X - expected) over all items, where `hits` of each group are 1."""
        misses, stake = self._sizes - hits, np.asarray(stake)[..., None]
        with np.errstate(divide="ignore", invalid="ignore"):  # a bet that is lost in full: log 0, or 0 log 0
            one, zero = (np.log1p(np.maximum(-1.0, stake * (x - expected))) for x in (1, 0))
            wealth = np.where(hits > 0, hits * one, 0.0) + np.where(misses > 0, misses * zero, 0.0)
        return np.asarray(wealth.sum(axis=-1))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    right: Floats
    wrong: Floats
    stake: Floats
    stake_of_worse: Floats


def _mean(values: Sequence[Floats]) -> Floats:
    return np.asarray(sum(values) / len(values))


def chance_within(margin: float, *, items: float, variance: float, looks: int, level: float) -> float:
    """Return the probability that `looks` answers an item show a candidate that equals the record to be within `margin`.

    Normal approximation for items half of which are mostly right and half mostly wrong, with this variance of an
    answer. It is the chance at the last look; a candidate may pass at an earlier one.
    """
    stake = min(_MOST, _AIM * margin / (variance + margin**2)) if margin else 0.0
    often = (1 + sqrt(max(0.0, 1 - 4 * variance))) / 2
    growth = spread = 0.0
    for recorded in (often, 1 - often):
        one, zero = (log1p(stake * (x - recorded + margin)) for x in (1, 0))
        growth += (recorded * one + (1 - recorded) * zero) / 2
        spread += recorded * (1 - recorded) * (one - zero) ** 2 / 2
    answers = items * looks
    surplus, noise = answers * growth + log(level), sqrt(answers * spread)
    return _NORMAL.cdf(surplus / noise) if noise else float(surplus >= 0)


def decided_margin(*, items: float, variance: float, looks: int, level: float, chance: float) -> float:
    """Return the smallest margin that a candidate that equals the record stays within with probability `chance`."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        shown = chance_within(middle, items=items, variance=variance, looks=looks, level=level)
        low, high = (middle, high) if shown < chance else (low, middle)
    return high


def items_needed(margin: float, *, variance: float, looks: int, level: float, chance: float) -> int:
    """Return the number of items that decides `margin`: the inverse of `decided_margin`."""
    low, high = 0, 1
    while chance_within(margin, items=high, variance=variance, looks=looks, level=level) < chance:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        shown = chance_within(margin, items=middle, variance=variance, looks=looks, level=level)
        low, high = (middle, high) if shown < chance else (low, middle)
    return high
