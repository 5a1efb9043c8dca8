from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bench.gate_power import lines, main, one_suite_lost, own_items, policies, redrawn, unchanged

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 60


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.mark.parametrize("suites", [1, 3])
def test_an_unchanged_model_mostly_passes(rng: np.random.Generator, suites: int) -> None:
    found = unchanged(rng, count=COUNT, suites=suites, items=700, discordance=0.1)
    assert found["high"] > 0.8
    assert found["share"] > 0.7
    assert found["margins"]["together"] < 4


def test_a_model_that_lost_does_not_pass(rng: np.random.Generator) -> None:
    assert one_suite_lost(rng, count=COUNT, suites=3, discordance=0.1, loss=0.05)["low"] < 0.05
    assert own_items(rng, count=COUNT, discordance=0.1, kept=0.5)["share"] == 0
    assert own_items(rng, count=COUNT, discordance=0.1, kept=1.0)["low"] < 0.05


def test_a_falling_line_is_stopped_and_a_level_one_is_not(rng: np.random.Generator) -> None:
    level, falling = (lines(rng, count=10, length=8, suites=3, discordance=0.1, lost=lost) for lost in (0.0, 0.02))
    assert sum(level["by_night"]) > 2 * sum(falling["by_night"])
    assert falling["first_refusal"] <= 3


def test_simulated_policies_have_the_stated_discordance(rng: np.random.Generator) -> None:
    answers = policies(rng, (200, 1), discordance=0.1, n=700)
    assert (answers[0] != answers[1]).mean() == pytest.approx(0.1, abs=0.005)
    assert answers.mean() == pytest.approx(0.7, abs=0.005)
    fallen = redrawn(rng, answers[0], discordance=0.1, solved=0.7, lost=0.02)
    assert (fallen != answers[0]).mean() == pytest.approx(0.1, abs=0.005)
    assert answers[0].mean() - fallen.mean() == pytest.approx(0.02, abs=0.003)


def test_the_last_line_has_the_shares_with_intervals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--nights", "3", "--lines", "1", "--out", str(tmp_path / "out.json"), "--json"])
    shown = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"date", "machine", "unchanged_passes", "one_suite_lost_passes", "own_lost_passes"} <= set(shown)
    assert all(len(interval) == 2 for name, interval in shown.items() if name.endswith("_interval"))
    assert json.loads((tmp_path / "out.json").read_text())["figures"]["own_lost"]["n"] == 3
