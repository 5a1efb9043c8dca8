"""Losses of a line whose suites change: they are added and thinned over the nights, and each gets the margin that it decides.

Every month a suite of 400 items is added, up to ten, and what is older than 120 nights is thinned to a half, again
after as long, but not below 100 items; a thinned suite has a record of its own. In nine of ten nights the candidate is
1.01 margins below the record of one suite, another one every night; all others are taken to pass. In every tenth night
it equals the record on all suites.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.lifetime.improvements import interval
from bench.lifetime.losses import BLOCK, MARGIN, SETTINGS, Suite, judge
from everlearn.gate.guard import chance_of_each
from everlearn.gate.lifetime_error import loss_level
from everlearn.gate.loss_evidence import decided_margin

EVERY, MOST, NEW, LEAST, THINNED = 30, 10, 400, 100, 120
UNCHANGED = 10
"""One in so many nights has a candidate that equals the record."""


def sizes_in(night: int) -> list[int]:
    """Return the number of items of each suite in a night, the oldest suite first."""
    ages = range(night - 1, -1, -EVERY)
    return [max(LEAST, NEW >> (age // THINNED)) for age in ages][:MOST]


def margin_of(suite: Suite, *, guards: int, level: float) -> float:
    """Return the margin that the gate gives the suite: the wanted one, or the smallest that all looks decide."""
    chance = chance_of_each(guards, power=SETTINGS.power)
    looks, variance = SETTINGS.most_looks, suite.variance
    return max(MARGIN, decided_margin(items=suite.items, variance=variance, looks=looks, level=level, chance=chance))


def simulate(*, lines: int, nights: int, seed: int = 13) -> dict[str, Any]:
    """Return how many lines publish a candidate that lost the margin of a suite, and how often an unchanged one passes."""
    lost = unchanged_passes = unchanged_nights = published = 0
    for block in range(-(-lines // BLOCK)):
        rng, size = np.random.default_rng([seed, block]), min(BLOCK, lines - block * BLOCK)
        is_lost, before, suites = np.zeros(size, dtype=bool), list[int](), list[Suite]()
        for night in range(1, nights + 1):
            sizes, level = sizes_in(night), loss_level(night, alpha=SETTINGS.alpha)
            known = dict(zip(enumerate(before), suites, strict=True))
            suites, before = [known.get(each) or Suite(rng, items=each[1]) for each in enumerate(sizes)], sizes
            for suite in suites:
                suite.margin = margin_of(suite, guards=len(suites), level=level)
            if night % UNCHANGED:
                victim = suites[night % len(suites)]
                score = np.full(size, -1.01 * victim.margin)
                passed, *_ = judge(rng, victim, score, level=level, guards=len(suites))
                is_lost |= passed
                published += int(passed.sum())
                continue
            passes = np.ones(size, dtype=bool)
            for suite in suites:
                passes &= judge(rng, suite, np.zeros(size), level=level, guards=len(suites))[0]
            unchanged_nights, unchanged_passes = unchanged_nights + size, unchanged_passes + int(passes.sum())
        lost += int(is_lost.sum())
    return {
        "lines": lines,
        "any_skill_lost": round(lost / lines, 4),
        "any_skill_lost_interval": [round(each, 4) for each in interval(lost, lines)],
        "bad_published": published,
        "unchanged_passes": round(unchanged_passes / unchanged_nights, 4) if unchanged_nights else None,
        "suites": len(sizes_in(nights)),
        "items": sum(sizes_in(nights)),
    }
