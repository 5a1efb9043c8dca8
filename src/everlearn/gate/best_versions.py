"""The best version so far on one suite: the last one that clearly beat the best version before it.

The highest share is no guide: of ten equally good versions the luckiest on these items is some points ahead, and an
equally good candidate would look worse than it for ever.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

from everlearn.gate.statistics import normal_quantile

if TYPE_CHECKING:
    from collections.abc import Mapping

PROOF = 0.01
"""Largest p-value that proves a gain. Smaller than `gate.alpha`, because every night of a line tries again."""


def best_version(shares: Mapping[str, float], *, items: int) -> str | None:
    """Return the best of these versions on a suite of so many items, the oldest of equals, or None if there is none.

    `shares` maps the versions, oldest first, to their shares of correct answers. They are compared as if their answers
    were independent, which is true of versions that are many nights apart and too careful for others.
    """
    best: str | None = None
    for version, share in shares.items():
        if best is None or share - shares[best] > _luck(share, shares[best], items):
            best = version
    return best


def _luck(one: float, other: float, items: int) -> float:
    """Return the largest difference of two shares that equally good versions show with probability 1 - PROOF."""
    return normal_quantile(1 - PROOF) * sqrt((one * (1 - one) + other * (1 - other)) / max(1, items))
