"""Evidence about a loss: it is never more than it may be, whatever the items are, and bounds cover the truth."""

from __future__ import annotations

from itertools import product
from math import exp, log, prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.gate.loss_evidence import LossEvidence, chance_within, decided_margin, items_needed

shares = st.floats(0.0, 1.0)
items = st.lists(st.tuples(shares, st.integers(0, 16)), min_size=1, max_size=5)
LEVEL = 1e-4


def evidence_of(recorded: list[float], looks: list[list[int]], *, margin: float) -> LossEvidence:
    evidence = LossEvidence(np.array(recorded), sizes=np.ones(len(recorded)), margin=margin, variance=0.05)
    for look in looks:
        evidence.add(np.array(look, dtype=float))
    return evidence


@settings(max_examples=60, deadline=None)
@given(items, st.floats(0.01, 0.5))
def test_expected_evidence_is_at_most_one_where_the_margin_was_lost(
    items: list[tuple[float, int]], margin: float
) -> None:
    recorded = [count / 16 for _, count in items]
    surplus = sum(chance - share for (chance, _), share in zip(items, recorded, strict=True)) / len(items) + margin
    true = [max(0.0, chance - max(0.0, surplus)) for chance, _ in items]
    if sum(true) - sum(recorded) + margin * len(items) > 0:
        true = [0.0] * len(items)
    if sum(recorded) < margin * len(items):
        return  # the record is too low to lose the margin
    expected = 0.0
    for outcome in product((0, 1), repeat=2 * len(items)):
        looks = [list(outcome[: len(items)]), list(outcome[len(items) :])]
        chance = prod(p if x else 1 - p for look in looks for p, x in zip(true, look, strict=True))
        expected += chance * exp(evidence_of(recorded, looks, margin=margin).log_within[0]) if chance else 0.0
    assert expected <= 1 + 1e-9, "over two looks, the stake of the second chosen after the first"


@settings(max_examples=60, deadline=None)
@given(items)
def test_expected_evidence_of_a_loss_is_at_most_one_where_nothing_was_lost(items: list[tuple[float, int]]) -> None:
    recorded = [count / 16 for _, count in items]
    true = [max(chance, share) for (chance, _), share in zip(items, recorded, strict=True)]
    expected = 0.0
    for outcome in product((0, 1), repeat=len(items)):
        chance = prod(p if x else 1 - p for p, x in zip(true, outcome, strict=True))
        expected += chance * exp(evidence_of(recorded, [list(outcome)], margin=0.1).log_worse[0]) if chance else 0.0
    assert expected <= 1 + 1e-9


@given(st.lists(st.tuples(st.integers(0, 16), st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_the_bound_is_the_smallest_loss_that_is_excluded(rows: list[tuple[int, bool, bool]]) -> None:
    recorded = [count / 16 for count, _, _ in rows]
    evidence = evidence_of(recorded, [[int(one) for _, one, _ in rows], [int(two) for *_, two in rows]], margin=0.2)
    bound = evidence.largest_loss(LEVEL)
    assert (bound <= 0.2 + 1e-6) == (evidence.log_within[0] >= -log(LEVEL) - 1e-6) or abs(bound - 0.2) < 1e-6
    assert -evidence.largest_gain(LEVEL) <= bound


@given(st.lists(st.tuples(st.integers(0, 16), st.booleans()), min_size=1, max_size=30))
def test_grouped_items_give_the_evidence_of_single_ones(rows: list[tuple[int, bool]]) -> None:
    single = evidence_of([count / 16 for count, _ in rows], [[int(right) for _, right in rows]], margin=0.1)
    counts = sorted({count for count, _ in rows})
    sizes = np.array([sum(count == each for each, _ in rows) for count in counts], dtype=float)
    right = np.array([sum(hit for each, hit in rows if each == count) for count in counts], dtype=float)
    grouped = LossEvidence(np.array(counts) / 16, sizes=sizes, margin=0.1, variance=0.05)
    grouped.add(right)
    assert grouped.log_within[0] == pytest.approx(single.log_within[0])
    assert grouped.log_worse[0] == pytest.approx(single.log_worse[0])


def test_undecided_answers_count_against_either_claim() -> None:
    plain, doubtful = (
        LossEvidence(np.full(40, 0.5), sizes=np.ones(40), margin=0.1, variance=0.05, doubted=doubted)
        for doubted in (0.0, 0.25)
    )
    half = np.array([1.0, 0.0] * 20)
    plain.add(half)
    doubtful.add(half, undecided=1 - half)
    assert doubtful.log_worse[0] < plain.log_worse[0]
    assert doubtful.log_within[0] == plain.log_within[0]


@given(st.floats(0.01, 0.3), st.floats(0.0, 0.2), st.integers(1, 16))
def test_the_items_needed_decide_the_margin_and_one_fewer_does_not(margin: float, variance: float, looks: int) -> None:
    items = items_needed(margin, variance=variance, looks=looks, level=LEVEL, chance=0.9)
    enough, fewer = (
        chance_within(margin, items=count, variance=variance, looks=looks, level=LEVEL) for count in (items, items - 1)
    )
    assert enough >= 0.9
    assert items == 1 or fewer < 0.9


@pytest.mark.parametrize(("count", "variance"), [(700, 0.05), (400, 0.15), (60, 0.02)])
def test_what_is_planned_is_what_happens(count: int, variance: float) -> None:
    margin = decided_margin(items=count, variance=variance, looks=8, level=LEVEL, chance=0.9)
    assert chance_within(margin, items=count, variance=variance, looks=8, level=LEVEL) == pytest.approx(0.9, abs=0.01)
    rng, share = np.random.default_rng(5), (1 - (1 - 4 * variance) ** 0.5) / 2
    recorded, sizes = np.array([share, 1 - share]), np.array([count / 2, count / 2])
    evidence = LossEvidence(recorded, sizes=sizes, margin=margin, variance=variance)
    for _ in range(8):
        evidence.add(rng.binomial(count // 2, recorded, size=(4000, 2)).astype(float))
    passed = float((evidence.log_within >= -log(LEVEL)).mean())
    assert passed == pytest.approx(0.9, abs=0.05)
