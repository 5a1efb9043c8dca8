"""What a target suite can show, known before the night is paid for."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.gate.improvement_power import (
    describe_target,
    fewest_items,
    smallest_visible_gain,
)
from everlearn.gate.statistics import mcnemar, power_to_improve
from everlearn.settings import GateSettings

SETTINGS = GateSettings()


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_the_fewest_items_are_those_that_the_test_can_decide(alpha: float) -> None:
    fewest = fewest_items(alpha=alpha)
    assert mcnemar(won=fewest, lost=0) <= alpha < mcnemar(won=fewest - 1, lost=0)


@pytest.mark.parametrize(("n", "gain"), [(31, 0.21), (31, 0.1), (100, 0.08), (9, 0.7)])
def test_the_power_is_that_of_simulated_nights(n: int, gain: float) -> None:
    rng = random.Random(n)
    changed = max(0.1, gain)
    shown = 0
    for _ in range(600):
        draws = [rng.random() for _ in range(n)]
        won = sum(draw < (changed + gain) / 2 for draw in draws)
        lost = sum((changed + gain) / 2 <= draw < changed for draw in draws)
        shown += mcnemar(won=won, lost=lost) <= 0.05
    assert shown / 600 == pytest.approx(power_to_improve(n, gain=gain, discordance=0.1, alpha=0.05), abs=0.06)


@given(st.integers(5, 300))
def test_more_items_show_smaller_gains(n: int) -> None:
    gain = smallest_visible_gain(n, settings=SETTINGS)
    later = smallest_visible_gain(n + 40, settings=SETTINGS)
    assert gain is not None
    assert later is not None
    assert later < gain


@pytest.mark.parametrize(
    ("own", "generated", "decides", "said"),
    [
        (
            31,
            169,
            True,
            "31 of 200 target items are yours; 31 items show an improvement of at least 21 points with 80%",
        ),
        (4, 196, False, "4 of 200 target items are yours; fewer than 5 can never show an improvement: raise"),
        (0, 0, False, "0 of 0 target items are yours; fewer than 5"),
    ],
)
def test_the_power_is_said_with_its_remedy(own: int, generated: int, decides: bool, said: str) -> None:  # noqa: FBT001
    can_decide, sentence = describe_target(own, generated, settings=SETTINGS)
    assert can_decide is decides
    assert sentence.startswith(said)
    assert "ingest.holdout_share" in sentence
