"""The simulation of a line's life: small runs of what docs/gate.md reports."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from bench.lifetime import __main__ as command
from bench.lifetime import improvements, losses


def test_a_candidate_below_the_margin_is_never_published_in_a_short_life() -> None:
    found = losses.simulate(losses.SCENARIOS["1.01 margins"], lines=100, nights=5)
    assert found["any_skill_lost"] == 0
    assert found["published"] == 0


def test_a_candidate_that_equals_the_record_is_published() -> None:
    found = losses.unchanged(suites=3, night=300, tries=200)
    assert found["unchanged_passes"] >= 0.9
    assert found["items_ratio"] <= 4.5


def test_a_line_whose_candidates_gain_renews_its_record() -> None:
    gained = losses.simulate(lambda _, champion: champion + 0.02, lines=50, nights=4)
    assert gained["published"] > 0.9
    assert gained["looks"] < losses.simulate(losses.SCENARIOS["no change"], lines=50, nights=4)["looks"]


def test_a_look_that_repeats_all_answers_is_the_first_one_again() -> None:
    rng = np.random.default_rng(1)
    suite, score = losses.Suite(rng), np.zeros(3)
    first = suite.answers(rng, score)
    assert (suite.answers(rng, score, first=first, repeated=1.0) == first).all()
    half = suite.answers(rng, score, first=first, repeated=0.5)
    assert (half <= suite.sizes).all()
    assert (half != first).any()


def test_fewer_labels_are_false_at_the_level_of_the_line() -> None:
    found = improvements.simulate_all(lines=30, nights=60, items=60)["no gain"]
    assert found["line"]["false_improved_share"] <= found["night"]["false_improved_share"]


@pytest.mark.parametrize("form", [["--json"], []])
def test_the_command_prints_one_object_or_tables(
    form: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.lifetime", "--lines", "10", "--nights", "3", *form])
    command.main()
    printed = capsys.readouterr().out
    if form:
        promises = json.loads(printed)
        assert {"false_improved_share", "any_skill_lost", "unchanged_passes", "items_ratio"} <= promises.keys()
    else:
        assert printed.count("| --- |") == 2
