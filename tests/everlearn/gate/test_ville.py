"""Oracles of the evidence: the library ville for its capital, and the exact chance that it ever crosses 1 / a, over all answers at all looks.

The exact chance enumerates the histories of a few items, weighs them with their exact probability, and computes the
wealth of the bets by itself, from the definition in `loss_evidence`. A true score just at the margin is the worst case
of the hypothesis.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import comb, exp, log, prod
from statistics import mean as mean_of

import numpy as np
import pytest
import ville
from hypothesis import given
from hypothesis import strategies as st

from everlearn.gate.loss_evidence import LossEvidence
from everlearn.gate.memory_veto import lost_in
from everlearn.gate.record_of_line import RecordedItem

LOOKS, VARIANCE = 4, 0.1
CASES = [
    ((0.5,), (4,), 0.25, (0.25,)),
    ((0.75,), (5,), 0.5, (0.25,)),
    ((1.0,), (5,), 0.3, (0.7,)),
    ((0.25, 0.75), (2, 2), 0.25, (0.0, 0.5)),
    ((0.25, 0.75), (2, 2), 0.25, (0.25, 0.25)),
    ((0.5, 1.0), (2, 2), 0.1, (0.3, 1.0)),
]
"""Recorded shares of groups of items, their sizes, the margin, and true shares that lost exactly the margin."""


@dataclass(frozen=True, kw_only=True)
class History:
    """Right answers of each group at each look, and the probability of all of them together."""

    looks: tuple[tuple[int, ...], ...]
    chance: float


def histories(sizes: tuple[int, ...], true: tuple[float, ...]) -> list[History]:
    one_look = [
        (right, prod(comb(n, k) * p**k * (1 - p) ** (n - k) for n, k, p in zip(sizes, right, true, strict=True)))
        for right in product(*(range(size + 1) for size in sizes))
    ]
    return [
        History(looks=tuple(right for right, _ in looks), chance=prod(chance for _, chance in looks))
        for looks in product(one_look, repeat=LOOKS)
    ]


def wealth_of(history: History, recorded: tuple[float, ...], sizes: tuple[int, ...], margin: float) -> list[float]:
    """Return the capital after each look of one who bets that less than the margin was lost."""
    moments, capital, path = [(0.75 * margin, VARIANCE + margin**2, 0.0)], 1.0, []
    for look in history.looks:
        (planned, *means), squares, cubes = zip(*moments, strict=True)
        square, cube, precision = mean_of(squares), mean_of(cubes), sum(sizes) * (0.1 * margin) ** 2
        mean = (planned * square + precision * sum(means)) / (square + precision * len(means))
        mean = min(margin, max(0.0, mean))
        spread = square - mean * cube / square
        stake = min(0.9, mean / spread) if spread > 0 else 0.9
        answers = [
            (float(number < right), share - margin)
            for right, share, size in zip(look, recorded, sizes, strict=True)
            for number in range(size)
        ]
        capital *= prod(1 + stake * (answer - expected) for answer, expected in answers)
        gaps = [answer - expected for answer, expected in answers]
        moments.append((mean_of(gaps), mean_of([gap**2 for gap in gaps]), mean_of([gap**3 for gap in gaps])))
        path.append(capital)
    return path


@pytest.mark.parametrize(("recorded", "sizes", "margin", "true"), CASES)
def test_evidence_is_the_capital_of_the_bets_and_rarely_crosses(
    recorded: tuple[float, ...], sizes: tuple[int, ...], margin: float, true: tuple[float, ...]
) -> None:
    pasts = histories(sizes, true)
    assert sum(past.chance for past in pasts) == pytest.approx(1)
    evidence = LossEvidence(np.array(recorded), sizes=np.array(sizes, dtype=float), margin=margin, variance=VARIANCE)
    seen = []
    for number in range(LOOKS):
        evidence.add(np.array([past.looks[number] for past in pasts], dtype=float))
        seen.append(evidence.log_within)
    paths = np.array([wealth_of(past, recorded, sizes, margin) for past in pasts])
    assert pytest.approx(paths) == np.exp(np.array(seen)).T
    chances = np.array([past.chance for past in pasts])
    assert chances @ paths[:, -1] <= 1 + 1e-9
    for a in (0.5, 0.2, 0.1, 0.05, 0.01):
        ever = float(chances[(paths >= 1 / a - 1e-9).any(axis=1)].sum())
        assert ever <= a + 1e-9, "Ville's inequality: at whatever look one stops"


@given(
    answers=st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4),
    lost=st.floats(0.02, 0.3),
    share=st.floats(0.4, 1.0),
)
def test_evidence_is_the_capital_of_the_library_ville_with_the_same_stakes(
    answers: list[list[bool]], lost: float, share: float
) -> None:
    evidence = LossEvidence(np.array([share]), sizes=np.array([5.0]), margin=lost, variance=VARIANCE)
    expected, capital = share - lost, 0.0
    for look in answers:
        stake = float(evidence.next_stake())
        # Its stakes are cut at c / m0, and at so small an alpha all of them are.
        test = ville.BettingTest(expected, alternative="greater", alpha=1e-12, c=stake * expected)
        capital += float(test.update(np.array(look, dtype=float)).log_e_values_[-1])
        evidence.add(np.array([sum(look)], dtype=float))
        assert float(evidence.log_within.sum()) == pytest.approx(capital)


@pytest.mark.parametrize("lost_by", ["all alike", "one item"])
def test_a_veto_is_rare_where_a_night_lost_what_it_may(lost_by: str) -> None:
    items, margin = 3, 0.2
    recorded = [RecordedItem(right=16, undecided=0, samples=16, policy="v0001")] * items
    true = [1 - margin] * items if lost_by == "all alike" else [1 - items * margin, 1.0, 1.0]
    level, crossed, total = 0.1, 0.0, 0.0
    for answers in product("10", repeat=items * 3):
        looks = ["".join(answers[start : start + items]) for start in range(0, len(answers), items)]
        chance = prod(p if letter == "1" else 1 - p for look in looks for letter, p in zip(look, true, strict=True))
        if not chance:
            continue
        found = [
            lost_in((("memory-v0001", items),), recorded, looks[:count], margin=margin, variance=0.05)["memory-v0001"]
            for count in range(1, len(looks) + 1)
        ]
        crossed += chance * any(lost >= -log(level) for lost in found)
        total += chance * exp(found[-1])
    assert total <= 1 + 1e-9
    assert crossed <= level
