"""The simulation of a line's life: small runs of what docs/gate_lifetime.md reports."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.lifetime import __main__ as command
from bench.lifetime import improvements, losses, many_suites
from everlearn.gate.lifetime_error import improvement_level

ROOT = Path(__file__).parents[2]


def test_a_candidate_below_the_margin_is_never_published_in_a_short_life() -> None:
    found = losses.simulate(losses.SCENARIOS["1.01 margins"], lines=100, nights=5)
    assert found["any_skill_lost"] == 0
    assert found["published"] == 0


def test_a_candidate_that_equals_the_record_is_published() -> None:
    found = losses.unchanged(suites=3, night=300, tries=200)
    assert found["unchanged_passes"] >= 0.9
    assert found["items_ratio"] <= 4.5


def test_a_line_whose_candidates_gain_renews_its_record() -> None:
    gained = losses.simulate(lambda _, champion, __: champion + 0.02, lines=50, nights=4)
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


def test_levels_of_many_lines_are_those_of_the_gate() -> None:
    labels = np.random.default_rng(4).random((20, 30)) < 0.1
    spending = np.array([improvement_level([False] * tests, alpha=0.05) for tests in range(31)])
    for tests in (0, 1, 7, 30):
        levels = improvements.levels_of(labels[:, :tests], spending)
        expected = [improvement_level([*row[:tests]], alpha=0.05) for row in labels]
        assert levels == pytest.approx(expected)


def test_an_adversary_of_labels_gains_nothing_while_the_level_is_high() -> None:
    scenario = improvements.SCENARIOS["adversary"]
    _, better, labels = improvements.nights_of(scenario, lines=20, nights=60, items=60, by_line=True)
    assert labels.any()
    for line, night in zip(*labels.nonzero(), strict=True):
        assert not better[line, night + 1 : night + 1 + scenario.rest].any()


def test_an_adversary_of_losses_goes_on_after_what_passes_and_back_after_what_does_not() -> None:
    adversary, rng, champion = losses.Adversary(), np.random.default_rng(0), np.zeros(2)
    first = adversary(rng, champion, None)
    second = adversary(rng, champion, np.array([True, False]))
    assert second[0] < first[0] < second[1]
    for _ in range(60):
        last = adversary(rng, champion, np.array([True, False]))
    assert last == pytest.approx([-1.01 * losses.MARGIN, 0])


def test_suites_are_added_and_thinned_over_the_nights() -> None:
    assert many_suites.sizes_in(1) == [400]
    assert many_suites.sizes_in(121) == [200, 400, 400, 400, 400]
    assert many_suites.sizes_in(365) == [100, 100, 100, 100, 100, 200, 200, 200, 200, 400]


def test_with_many_suites_none_is_lost_and_an_unchanged_candidate_passes() -> None:
    found = many_suites.simulate(lines=30, nights=40)
    assert found["any_skill_lost"] == 0
    assert found["unchanged_passes"] >= 0.8
    assert many_suites.simulate(lines=2, nights=1)["unchanged_passes"] is None


def test_the_tables_of_the_page_are_those_of_the_results() -> None:
    page = (ROOT / "docs" / "gate_lifetime.md").read_text(encoding="utf-8")
    results = ROOT / "docs" / "lifetime.json"
    for part in command.TABLES:
        assert f"<!-- bench.lifetime: {part} -->" in page
    if results.is_file():
        assert command.with_tables(page, json.loads(results.read_text())) == page


@pytest.mark.parametrize("form", [["--json"], []])
def test_the_command_prints_one_object_or_tables(
    form: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = "a\n<!-- bench.lifetime: losses -->\nold\n<!-- end -->\nb\n"
    if form:
        (tmp_path / "gate_lifetime.md").write_text(page)
    sizes = ["--lines", "10", "--nights", "10", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["bench.lifetime", *sizes, *form])
    command.main()
    printed = capsys.readouterr().out
    stored = json.loads((tmp_path / "lifetime.json").read_text())
    assert {"date", "machine", "revision", "command", "found"} <= stored["losses"].keys()
    if form:
        promises = json.loads(printed)
        assert {"false_improved_share", "any_skill_lost", "unchanged_passes", "items_ratio"} <= promises.keys()
        written = (tmp_path / "gate_lifetime.md").read_text()
        assert written.startswith("a\n")
        assert written.endswith("<!-- end -->\nb\n")
        assert command.section_of("losses", stored["losses"]) in written
    else:
        assert printed.count(": |\n") == 4, "a table has a row of hyphens"
