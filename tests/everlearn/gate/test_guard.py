"""Guards against the record of a line: what they pass, what they stop, and when they stop asking."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from everlearn.data.suites import SuiteKind
from everlearn.gate.decision import judge
from everlearn.gate.decision_record import Against, Decision, Outcome
from everlearn.gate.guard import Guard
from everlearn.gate.lifetime_error import loss_level
from everlearn.gate.record_of_line import RecordedItem
from everlearn.settings import GateSettings
from tests.support.paired_suites import IMPROVED

SETTINGS = GateSettings(loss_error="line", skill_margin=0.03)
LEVEL = loss_level(1, alpha=0.05)
ITEMS = 700


def guard(*, items: int = ITEMS, share: float = 0.9, kind: SuiteKind = SuiteKind.SKILL) -> Guard:
    right = round(16 * share)
    recorded = (RecordedItem(right=right, undecided=0, samples=16, policy="v0001"),) * items
    return Guard(suite="short", kind=kind, recorded=recorded, settings=SETTINGS, level=LEVEL, guards=1)


def looked(guard: Guard, *, share: float, undecided: float = 0.0, seed: int = 0) -> Guard:
    """Return the guard after the looks at a candidate with this share of right answers."""
    rng = random.Random(seed)
    while guard.needs_look:
        letters = (rng.random() for _ in guard.recorded)
        guard = guard.look("".join("u" if x < undecided else "1" if x < undecided + share else "0" for x in letters))
    return guard


def test_a_candidate_that_equals_the_record_passes_after_few_looks() -> None:
    passed = [looked(guard(share=14 / 16), share=14 / 16, seed=seed) for seed in range(40)]
    assert sum(each.outcome is Outcome.PASS for each in passed) >= 36
    assert sorted(len(each.looks) for each in passed)[20] < SETTINGS.most_looks
    row = passed[0].row()
    assert row.against is Against.RECORD
    assert row.sentence.startswith("no worse than the record: ")
    assert -row.bound == row.low < row.high


def test_a_candidate_that_lost_the_margin_does_not_pass() -> None:
    lost = [looked(guard(share=14 / 16), share=14 / 16 - 0.03, seed=seed) for seed in range(200)]
    assert not [each for each in lost if each.outcome is Outcome.PASS]


def test_what_lost_half_of_the_margin_passes_where_nearly_all_answers_are_right() -> None:
    passed = [looked(guard(share=1.0), share=0.985, seed=seed) for seed in range(20)]
    assert sum(each.outcome is Outcome.PASS for each in passed) >= 18, (
        "one wrong answer must not lose most of the stakes"
    )


def test_a_loss_is_proved_as_soon_as_no_look_could_show_the_margin_any_more() -> None:
    lost = [looked(guard(share=8 / 16), share=8 / 16 - 0.06, seed=seed) for seed in range(20)]
    assert all(each.outcome is Outcome.FAIL for each in lost)
    assert sorted(len(each.looks) for each in lost)[10] <= SETTINGS.most_looks / 2


def test_a_gain_has_a_sentence_without_a_margin() -> None:
    row = looked(guard(share=12 / 16), share=0.95).row()
    assert row.bound < 0
    assert "the true gain is at least" in row.sentence
    assert "allowed" not in row.sentence


def test_a_large_loss_is_proved_at_the_first_look() -> None:
    lost = looked(guard(), share=0.5)
    assert (lost.outcome, len(lost.looks)) == (Outcome.FAIL, 1)
    assert lost.row().sentence.startswith("got worse than the record: ")


def test_a_suite_that_cannot_be_decided_is_insufficient() -> None:
    unsure = looked(guard(items=60, share=8 / 16), share=0.5)
    assert unsure.outcome is Outcome.INSUFFICIENT
    assert len(unsure.looks) == SETTINGS.most_looks
    assert unsure.row().sentence.startswith("inconclusive: ")


def test_undecided_answers_never_pass_and_never_fail() -> None:
    unsure = looked(guard(share=1.0), share=0.0, undecided=1.0)
    assert unsure.outcome is Outcome.INSUFFICIENT
    assert "undecided" in unsure.row().sentence


def test_small_memory_gets_the_margin_that_it_decides_and_small_skills_do_not() -> None:
    memory, skill = guard(items=40, kind=SuiteKind.MEMORY), guard(items=40)
    assert memory.margin.allowed > SETTINGS.widest_margin
    assert skill.margin.allowed < memory.margin.allowed
    assert "were wanted" in looked(memory, share=0.95).row().sentence


def test_a_skill_that_nobody_has_shows_no_loss() -> None:
    row = looked(guard(share=0.0), share=0.0).row()
    assert row.outcome is Outcome.INSUFFICIENT
    assert "nothing to lose" in row.sentence


def test_only_a_candidate_that_is_shown_to_be_better_renews_the_record() -> None:
    assert looked(guard(share=12 / 16), share=0.95).has_gained
    assert not any(looked(guard(share=12 / 16), share=0.75, seed=seed).has_gained for seed in range(40))


def test_a_decision_holds_rows_of_the_record_beside_those_of_pairs() -> None:
    good, bad = looked(guard(share=14 / 16), share=0.9), looked(guard(), share=0.5)
    passed = judge([IMPROVED], settings=SETTINGS, guards=[good])
    assert passed.outcome is Outcome.PASS
    assert passed.loss_level == LEVEL
    assert f"at the level {LEVEL:.2g}" in passed.reasons[-1]
    assert not passed.warnings, "a guarded skill is a skill suite"
    assert Decision.from_dict(json.loads(passed.to_json())) == passed
    assert judge([IMPROVED], settings=SETTINGS, guards=[bad]).outcome is Outcome.FAIL
    plain = judge([IMPROVED], settings=SETTINGS).to_dict()
    assert "loss_level" not in plain
    assert "looks" not in plain["rows"][0], "the bytes of a decision without guards stay as they were"


def test_a_suite_that_passed_far_below_the_record_is_a_warning() -> None:
    near = replace(guard(items=2 * ITEMS), settings=SETTINGS.model_copy(update={"skill_margin": 0.06}))
    right = round(2 * ITEMS * (14 / 16 - 0.022))
    drifted = near
    while drifted.needs_look:
        drifted = drifted.look("1" * right + "0" * (2 * ITEMS - right))
    assert drifted.outcome is Outcome.PASS
    [warning] = judge([IMPROVED], settings=SETTINGS, guards=[drifted]).warnings
    assert warning.startswith("short has drifted to ")
    assert warning.endswith("before the line can no longer show that it is within the margin")
    [remedy] = judge([IMPROVED], settings=SETTINGS, guards=[replace(drifted, holder="v0003")]).warnings
    assert remedy == (
        f"{warning} (more replay: learn.replay; v0003 holds the record: everlearn rollback --to v0003 --reason "
        '"short has drifted")'
    )


@pytest.mark.parametrize("years", [1, 10])
def test_all_attempts_of_a_line_spend_less_than_alpha(years: int) -> None:
    levels = [loss_level(attempt, alpha=0.05) for attempt in range(1, 365 * years + 1)]
    assert sum(levels) < 0.05
    assert levels == sorted(levels, reverse=True)
