"""Consequences of a decision: end, event, champion and the sentence for the history."""

from __future__ import annotations

from dataclasses import replace

import pytest

from everlearn.cycle.record import End
from everlearn.data.suites import SuiteKind
from everlearn.gate.consequences import END_OF, EVENT_OF, becomes_champion, reason_of, skill_of
from everlearn.gate.decision_record import Against, Decision, Outcome
from everlearn.registry.events import EventKind
from everlearn.settings import GateSettings
from tests.support.manifests import DECISION, row

SKILL = replace(row(Against.PARENT), kind=SuiteKind.SKILL, p_value=None)


def test_only_a_pass_publishes() -> None:
    assert [outcome for outcome in Outcome if END_OF[outcome] is End.PUBLISHED] == [Outcome.PASS]
    assert {end: EVENT_OF.get(end) for end in END_OF.values()} == {
        End.PUBLISHED: None,
        End.REJECTED: EventKind.REJECTED,
        End.INSUFFICIENT: EventKind.INSUFFICIENT,
    }


@pytest.mark.parametrize("approval", [True, False])
def test_a_version_that_needs_approval_waits(*, approval: bool) -> None:
    assert becomes_champion(GateSettings(require_approval=approval)) is not approval


def test_skill_is_the_mean_over_skill_suites_against_the_parent() -> None:
    rows = (replace(SKILL, after=0.5), replace(SKILL, after=0.7), replace(SKILL, after=0.0, against=Against.BASE))
    assert skill_of(replace(DECISION, rows=(row(Against.PARENT), *rows))) == pytest.approx(0.6)
    assert skill_of(DECISION) == 0.0


def test_the_reason_is_the_improvement_or_what_failed() -> None:
    failed = Decision(outcome=Outcome.FAIL, reasons=("skill got worse", "more"), rows=DECISION.rows)
    assert reason_of(DECISION) == "tonight 104 won, 4 lost of 200"
    assert reason_of(failed) == "skill got worse"


def test_the_reason_of_a_pass_says_what_nothing_guards() -> None:
    unguarded = replace(DECISION, warnings=("no skill suite was measured",))
    assert reason_of(unguarded) == "tonight 104 won, 4 lost of 200; no skill suite was measured"


def test_the_reason_is_the_target_that_improved_and_not_the_one_beside_it() -> None:
    improved = row(Against.PARENT)
    beside = replace(improved, suite="beside", p_value=0.5, sentence="no worse: 1 won, and another target improved")
    assert reason_of(replace(DECISION, rows=(beside, improved))) == reason_of(DECISION)
