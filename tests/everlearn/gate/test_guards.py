"""What must not get worse: several suites together and alone, earlier nights, generated problems, few items."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.data.suites import SuiteKind
from everlearn.gate.decision import Against, Decision, Outcome, PairedSuite, judge
from everlearn.settings import GateSettings
from tests.support.paired_suites import IMPROVED, changed, pair


def decide(*pairs: PairedSuite) -> Decision:
    return judge([IMPROVED, *pairs], settings=GateSettings())


def skills(count: int, *, won: int, lost: int) -> list[PairedSuite]:
    return [changed(f"s{number}", won=won, lost=lost) for number in range(count)]


@pytest.mark.parametrize("count", [1, 3, 6, 10])
def test_a_noisy_but_unchanged_model_passes(count: int) -> None:
    decision = decide(*skills(count, won=33, lost=37))
    assert decision.passed
    assert [row.suite for row in decision.pools] == ([f"{count} skill suites together"] if count > 1 else [])


def test_one_lost_suite_of_many_is_not_outweighed() -> None:
    decision = decide(*skills(9, won=37, lost=33), changed("lost", won=10, lost=60))
    assert decision.outcome is Outcome.FAIL
    assert decision.reasons[0].startswith("lost against the parent: got worse: 10 won and 60 lost of 700, p = ")


def test_small_losses_on_all_suites_add_up() -> None:
    decision = decide(*skills(6, won=25, lost=45))
    assert not decision.passed
    assert {row.outcome for row in decision.rows} == {Outcome.PASS}
    assert decision.pools[0].outcome is Outcome.FAIL
    assert "6 skill suites together against the parent" in decision.reasons[0]


def test_a_large_gain_pays_for_losses_only_up_to_the_margin() -> None:
    moderate, huge = (decide(*skills(2, won=26, lost=46), changed("up", won=won, lost=0)) for won in (14, 300))
    assert moderate.pools[0].bound == pytest.approx(huge.pools[0].bound, abs=0.002)
    assert not huge.passed


def test_a_widened_margin_is_said_with_the_items_it_needs() -> None:
    sentence = decide(changed("short", won=33, lost=38)).rows[1].sentence
    assert sentence == (
        "no worse: 33 won and 38 lost of 700; the true loss is at most 2.7 points, and 3.0 are allowed (2.0 were wanted; "
        "to decide that takes about 1546 independent items, not 700)"
    )


@given(items=st.integers(30, 2500), won=st.integers(0, 30), lost=st.integers(0, 30))
def test_a_row_and_its_sentence_name_the_same_margin(items: int, won: int, lost: int) -> None:
    changes = "+" * won + "-" * lost
    before = changes.translate(str.maketrans("+-", "-+"))
    same = "+" * max(1, items - len(changes))
    row = decide(pair(before + same, changes + same, suite="some", kind=SuiteKind.SKILL)).rows[1]
    said = re.findall(r"([\d.]+) (?:are )?allowed", row.sentence)
    assert said == [f"{100 * row.margin:.1f}"] or (not said and "were wanted" not in row.sentence)


def test_few_items_say_what_they_can_show_and_may_pass() -> None:
    decision = decide(pair("+" * 39 + "-", "+" * 39 + "-", suite="few", kind=SuiteKind.SKILL))
    assert decision.passed
    assert "at most 7.2 points, and 7.2 are allowed (2.0 were wanted; to decide" in decision.rows[1].sentence
    lost = decide(pair("+" * 39 + "-", "+" * 36 + "-" * 4, suite="few", kind=SuiteKind.SKILL))
    assert lost.outcome is Outcome.INSUFFICIENT


def test_a_small_suite_beside_a_large_one_does_not_block() -> None:
    assert decide(changed("large", won=30, lost=31), changed("small", won=1, lost=1, n=40)).passed


def test_problems_of_earlier_nights_are_guarded() -> None:
    assert decide(changed("v0003", won=1, lost=2, n=200, kind=SuiteKind.MEMORY)).passed
    lost = decide(changed("v0003", won=0, lost=30, n=200, kind=SuiteKind.MEMORY))
    assert lost.outcome is Outcome.FAIL


def test_one_memory_suite_of_a_first_night_does_not_end_a_line() -> None:
    assert decide(pair("+" * 20 + "-" * 11, "-+" + "+" * 18 + "-" * 11, suite="v0001", kind=SuiteKind.MEMORY)).passed


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        (SuiteKind.SKILL, Outcome.INSUFFICIENT),
        (SuiteKind.GENERAL, Outcome.INSUFFICIENT),
        (SuiteKind.MEMORY, Outcome.PASS),
        (SuiteKind.GENERATED, Outcome.PASS),
    ],
)
def test_a_suite_that_nothing_solves_proves_nothing(kind: SuiteKind, outcome: Outcome) -> None:
    decision = decide(pair("-" * 700, "-" * 700, suite="hard", kind=kind))
    assert (decision.outcome, decision.rows[1].outcome) == (outcome, outcome)
    assert "solve none of 700" in decision.rows[1].sentence


def test_a_suite_that_nothing_solves_does_not_dilute_the_others() -> None:
    hard = pair("-" * 5000, "-" * 5000, suite="hard", kind=SuiteKind.MEMORY)
    lost = changed("lost", won=0, lost=40, n=400, kind=SuiteKind.MEMORY)
    assert decide(lost, hard).pools == ()
    assert decide(lost, hard).outcome is Outcome.FAIL


def test_unreadable_answers_are_not_right() -> None:
    row = decide(pair("-" * 350 + "!" * 350, "!" * 700, suite="hard", kind=SuiteKind.SKILL)).rows[1]
    assert (row.outcome, row.undecided) == (Outcome.INSUFFICIENT, 0)
    assert "solve none of 700" in row.sentence


def test_undecided_answers_may_be_right() -> None:
    row = decide(pair("-" * 600 + "?" * 100, "-" * 600 + "?" * 100, suite="hard", kind=SuiteKind.SKILL)).rows[1]
    assert "solve none" not in row.sentence


def test_a_night_without_a_skill_suite_says_so() -> None:
    alone = decide()
    assert alone.passed
    assert alone.warnings[0].startswith("no skill suite was measured")
    assert alone.reasons[0] == alone.warnings[0]
    assert decide(changed("skill", won=0, lost=0)).warnings == ()


def test_the_suites_against_the_best_include_those_whose_best_is_the_parent() -> None:
    best = changed("s0", won=0, lost=40, against=Against.BEST)
    decision = decide(*skills(3, won=10, lost=11), best)
    pooled = {row.against: row for row in decision.pools}
    assert (pooled[Against.BEST].n, pooled[Against.BEST].lost) == (2100, 40 + 11 + 11)
    assert not decision.passed


def test_generated_gains_never_outweigh_own_losses() -> None:
    own = pair("+" * 16 + "-" * 15, "+" * 8 + "-" * 23)
    fillers = changed("generated", won=42, lost=0, n=169, kind=SuiteKind.GENERATED)
    decision = judge([own, fillers, changed("s", won=0, lost=0)], settings=GateSettings())
    assert decision.outcome is Outcome.FAIL
    assert decision.reasons[0].startswith("target against the parent: got worse: 0 won and 8 lost of 31")


@pytest.mark.parametrize(("won", "passes"), [(0, False), (4, False), (5, True)])
def test_only_own_problems_can_show_an_improvement(won: int, *, passes: bool) -> None:
    own = pair("-" * 31, "+" * won + "-" * (31 - won))
    fillers = changed("generated", won=42, lost=0, n=169, kind=SuiteKind.GENERATED)
    assert judge([own, fillers, changed("s", won=0, lost=0)], settings=GateSettings()).passed is passes


def test_generated_problems_must_not_get_worse() -> None:
    assert decide(changed("generated", won=8, lost=9, n=169, kind=SuiteKind.GENERATED)).passed
    assert not decide(changed("generated", won=0, lost=34, n=169, kind=SuiteKind.GENERATED)).passed


def test_own_problems_with_net_losses_against_the_base_do_not_pass_unseen() -> None:
    base = pair("+" * 31, "+" * 16 + "-" * 15, against=Against.BASE)
    assert decide(base).outcome is Outcome.FAIL
    assert decide(pair("+" * 15 + "-" * 16, "+" * 16 + "-" * 15, against=Against.BASE)).passed


def test_roots_reduce_what_a_guard_can_show() -> None:
    free, clustered = (decide(changed("s", won=20, lost=25, roots=roots)).rows[1] for roots in (None, 70))
    assert clustered.bound > 2 * free.bound
