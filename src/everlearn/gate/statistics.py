"""One-sided tests and bounds for two policies measured on the same items: exact where possible, never a bootstrap.

`won` items were wrong before and right after, `lost` items the reverse; the loss is (lost - won) / n. Items that share
a root are not independent, so `items` may be smaller than the number measured (`independent_items`), and the counts
are scaled with it. Sequential testing (early stopping) is not covered and must not be combined with these tests.
"""

from __future__ import annotations

from functools import cache
from math import inf, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

_NORMAL = NormalDist()
_HALVINGS = 60  # the interval is at most 2 wide: 2 / 2^60 is below the resolution of a float of this size
_STEP = 0.25
_GRID = [_STEP * k for k in range(-24, 25)]  # for integrals over a standard normal: an error below 1e-8
_WEIGHTS = [_STEP * _NORMAL.pdf(x) for x in _GRID]


def mcnemar(*, won: int, lost: int) -> float:
    """Return the exact McNemar p-value: P(at least `won` wins) if wins and losses are equally likely."""
    from scipy.special import bdtrc  # only a gate that measures pays for the import

    return float(bdtrc(won - 1, won + lost, 0.5)) if won else 1.0


def sign_flip(gains: Sequence[int]) -> float:
    """Return the exact p-value of the one-sided sign-flip test over roots.

    `gains` holds wins minus losses of each root. The result is the probability of a total gain at least as large if
    the sign of each root's gain is random. With one item per root this equals `mcnemar`.
    """
    # The distribution over all 2^roots sign patterns is computed by convolution: no sampling error and no seed. The
    # total is at least as large exactly where the gains whose signs were flipped sum to at most zero, so one more win
    # can only lower the p-value.
    losses = sum(-gain for gain in gains if gain < 0)
    chances = np.zeros(sum(abs(gain) for gain in gains) + 1)  # index: sum of the flipped gains + losses
    chances[losses] = 1.0
    for gain in gains:
        chances = (chances + np.roll(chances, gain)) / 2  # cannot wrap round: all sums lie within the array
    return min(1.0, float(chances[: losses + 1].sum()))


def independent_items(sizes: Sequence[int]) -> float:
    """Return the effective sample size of roots with these numbers of items (Kish, intra-root correlation 1).

    It depends on the sizes only, never on the measured outcomes.
    """
    return sum(sizes) ** 2 / sum(size * size for size in sizes)


def score(delta: float, *, won: float, lost: float, items: float) -> float:
    """Return Tango's score statistic for a true loss of `delta`: about normal, negative for a smaller observed loss.

    T. Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design", Statistics in Medicine 17 (1998) 891-908.
    """
    # `rare` is the restricted maximum-likelihood estimate of the smaller cell: the larger root of a quadratic equation.
    a = 2 * items
    b = (2 * items - lost + won) * delta - lost - won
    c = -won * delta * (1 - delta)
    rare = (sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = items * (2 * rare + delta * (1 - delta))
    distance = lost - won - items * delta
    if variance <= 0:
        return 0.0 if distance == 0 else inf * distance
    return distance / sqrt(variance)


def largest_loss(*, won: float, lost: float, items: float, alpha: float) -> float:
    """Return the upper bound of the loss at confidence 1 - alpha: Tango's score bound.

    Without discordant pairs the bound is 1 - alpha^(1/items), the largest loss that shows no change with probability
    alpha ("rule of three": about 3 / items). Without items it is 1.
    """
    if items == 0:
        return 1.0
    if won == lost == 0:
        return 1 - float(alpha ** (1 / items))
    threshold = _NORMAL.inv_cdf(alpha)
    low, high = (lost - won) / items, 1.0
    for _ in range(_HALVINGS):  # bisection: the score falls as delta rises
        middle = (low + high) / 2
        if score(middle, won=won, lost=lost, items=items) > threshold:
            low = middle
        else:
            high = middle
    return high


def decidable_margin(n: float, *, discordance: float, power: float, alpha: float, comparisons: int = 1) -> float:
    """Return the smallest margin within which `n` items show an unchanged policy to be non-inferior with this power.

    `power` is the probability that this holds against `comparisons` baselines at once. Against one: 1,550 items for 2
    points, 690 for 3, 250 for 5 at 80 % power, 10 % discordance and alpha 5 %.
    """
    return min(1.0, _effect(power, alpha, comparisons) * sqrt(discordance / n)) if n else 1.0


def items_needed(margin: float, *, discordance: float, power: float, alpha: float, comparisons: int = 1) -> int:
    """Return the sample size that decides `margin`: the inverse of `decidable_margin`."""
    return int(discordance * (_effect(power, alpha, comparisons) / margin) ** 2) + 1


def power_of(n: float, *, margin: float, discordance: float, alpha: float, comparisons: int = 1) -> float:
    """Return the probability that `n` items show an unchanged policy to be within `margin` of every baseline."""
    return joint_chance(margin * sqrt(n / discordance) + _NORMAL.inv_cdf(alpha), comparisons=comparisons)


def joint_chance(z: float, *, comparisons: int) -> float:
    """Return the probability that `comparisons` standard normals, each two correlated by 1/2, are all below `z`.

    The differences between one candidate and several baselines share the candidate's answers. For policies that are
    equally far from each other their correlation is 1/2.
    """
    # Each difference is (common + own) / sqrt(2): given the common part, the differences are independent.
    return sum(
        weight * _NORMAL.cdf(sqrt(2) * z - common) ** comparisons
        for common, weight in zip(_GRID, _WEIGHTS, strict=True)
    )


@cache
def joint_quantile(chance: float, *, comparisons: int) -> float:
    """Return the `z` at which `joint_chance` is `chance`: its inverse, by bisection."""
    low, high = -8.0, 8.0
    for _ in range(_HALVINGS // 2):  # to 1e-8, as exact as the integral
        middle = (low + high) / 2
        low, high = (middle, high) if joint_chance(middle, comparisons=comparisons) < chance else (low, middle)
    return high


def power_to_improve(n: int, *, gain: float, discordance: float, alpha: float) -> float:
    """Return the probability that the exact McNemar test on `n` items shows a true improvement of `gain`.

    `discordance` is the expected share of items that change, at least `gain`; more of them are won than lost by `gain`.
    """
    from scipy.stats import binom  # takes about a second to import

    changed = max(discordance, gain)
    counts = np.arange(n + 1)
    needed = binom.isf(alpha, counts, 0.5) + 1  # the fewest wins that are significant among so many changed items
    shown = binom.sf(needed - 1, counts, (changed + gain) / (2 * changed))
    return float((binom.pmf(counts, n, changed) * shown).sum())


def normal_quantile(chance: float) -> float:
    """Return the value below which a standard normal lies with this probability."""
    return _NORMAL.inv_cdf(chance)


def holm(p_values: Sequence[float], *, alpha: float) -> list[bool]:
    """Return which hypotheses Holm's step-down procedure (1979) rejects, in the order given."""
    rejected = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] > alpha / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected


def _effect(power: float, alpha: float, comparisons: int) -> float:
    return _NORMAL.inv_cdf(1 - alpha) + joint_quantile(power, comparisons=comparisons)
