"""Statistics for two policies measured on the same items: exact where they can be, never a bootstrap.

Everything is one-sided and about counts. `won` items were wrong before and right after, `lost` ones the reverse; the
loss is (lost - won) / n. Items that share a root are not independent, so `items` may be fewer than were measured
(`independent_items`), and the counts are scaled with it. Leaves out: early stopping, which needs a confidence sequence
and must never be mixed with these tests.
"""

from __future__ import annotations

from math import comb, inf, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

_NORMAL = NormalDist()
_HALVINGS = 60  # of an interval at most 2 wide: far below what a float of this size can tell


def mcnemar(*, won: int, lost: int) -> float:
    """Chance of at least `won` wins among the changed items if winning and losing were equally likely (exact)."""
    changed = won + lost
    return float(sum(comb(changed, wins) for wins in range(won, changed + 1)) / 2**changed)


def sign_flip(gains: Sequence[int]) -> float:
    """Chance of a total gain at least as large if each root's gain could as well have been its opposite.

    `gains` holds wins minus losses for each root. The distribution over all 2^roots flips is computed exactly by
    convolution, so there is no sampling error, no seed, and one more win can only lower the answer: the total is at
    least as large just when the flipped roots' own gains sum to at most zero. With one item a root this is `mcnemar`.
    """
    losses = sum(-gain for gain in gains if gain < 0)
    chances = np.zeros(sum(abs(gain) for gain in gains) + 1)  # (sum of the flipped gains, from -losses) -> chance
    chances[losses] = 1.0
    for gain in gains:
        chances = (chances + np.roll(chances, gain)) / 2  # cannot wrap round: the sums stay within the array
    return min(1.0, float(chances[: losses + 1].sum()))


def independent_items(sizes: Sequence[int]) -> float:
    """How many independent items roots of these sizes are worth if all items of a root stand or fall together.

    Kish's effective size, the worst case of a design effect. It looks at no outcome, so no outcome can hurt through it.
    """
    return sum(sizes) ** 2 / sum(size * size for size in sizes)


def score(delta: float, *, won: float, lost: float, items: float) -> float:
    """Tango's statistic for a true loss of `delta`: about normal, negative where the loss seen is smaller.

    T. Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design", Statistics in Medicine 17 (1998) 891-908; `rare` is the restricted estimate of the smaller cell.
    """
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
    """Upper bound of the loss at confidence 1 - alpha: Tango's score bound, exact where nothing changed.

    No discordant pair is no proof: the bound is then 1 - alpha^(1/items), the loss that would still have shown nothing
    with chance alpha ("rule of three": about 3 / items). No items at all bound nothing: 1.
    """
    if items == 0:
        return 1.0
    if won == lost == 0:
        return 1 - float(alpha ** (1 / items))
    threshold = _NORMAL.inv_cdf(alpha)
    low, high = (lost - won) / items, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if score(middle, won=won, lost=lost, items=items) > threshold:
            low = middle
        else:
            high = middle
    return high


def decidable_margin(n: float, *, discordance: float, power: float, alpha: float) -> float:
    """The smallest margin that `n` items decide: an unchanged policy shows non-inferiority with chance `power`.

    1,550 items for 2 points, 690 for 3, 250 for 5 at 80 % power, 10 % discordance and alpha 5 %.
    """
    return min(1.0, _effect(power=power, alpha=alpha) * sqrt(discordance / n)) if n else 1.0


def items_needed(margin: float, *, discordance: float, power: float, alpha: float) -> int:
    """How many items decide that margin: the inverse of `decidable_margin`."""
    return int(discordance * (_effect(power=power, alpha=alpha) / margin) ** 2) + 1


def power_of(n: float, *, margin: float, discordance: float, alpha: float) -> float:
    """Chance that `n` items show an unchanged policy to be within `margin`."""
    return _NORMAL.cdf(margin * sqrt(n / discordance) + _NORMAL.inv_cdf(alpha))


def holm(p_values: Sequence[float], *, alpha: float) -> list[bool]:
    """Which of several claims stand when any one of them may carry the night (Holm 1979), in the order given."""
    stands = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] > alpha / (len(p_values) - rank):
            break
        stands[index] = True
    return stands


def _effect(*, power: float, alpha: float) -> float:
    return _NORMAL.inv_cdf(1 - alpha) + _NORMAL.inv_cdf(power)
