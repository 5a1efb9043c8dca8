"""The headline "beats the base model": said where it is proved at the level of the line's attempt, and decides nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice

import pytest

from everlearn.gate.audit import audit
from everlearn.gate.decision import Headline, PairedSuite, judge
from everlearn.gate.decision_record import Against, Decision
from everlearn.gate.lifetime_error import Past, headline_level_of_line, improvement_level, loss_level
from everlearn.gate.stored_evidence import StoredEvidence
from everlearn.settings import GateSettings
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import candidate, open_line
from tests.support.paired_suites import IMPROVED, pair

SETTINGS = GateSettings(improvement_error="line")
LEVEL = loss_level(1, alpha=0.05)


def against_base(won: int, lost: int, *, suite: str = "target") -> PairedSuite:
    """Return a target of 60 items, measured against the base model."""
    same = "+" * (60 - won - lost)
    return pair("-" * won + "+" * lost + same, "+" * won + "-" * lost + same, suite=suite, against=Against.BASE)


@pytest.mark.parametrize(("won", "lost", "expected"), [(30, 0, ("target",)), (9, 4, ()), (0, 0, ())])
def test_it_is_said_where_the_test_supports_it_at_its_level(won: int, lost: int, expected: tuple[str, ...]) -> None:
    pairs = [IMPROVED, against_base(won, lost)]
    headline = Headline(against=Against.BASE, level=LEVEL)
    decision = judge(pairs, settings=SETTINGS, headline=headline)
    without = judge(pairs, settings=SETTINGS)
    assert decision.beats_base == expected
    assert any("beats the base model" in reason for reason in decision.reasons) is bool(expected)
    assert (decision.outcome, decision.rows) == (without.outcome, without.rows)
    assert without.beats_base is None
    assert "beats_base" not in without.to_dict()
    assert Decision.from_dict(json.loads(decision.to_json())) == decision


def test_of_several_targets_each_has_a_share_of_the_level() -> None:
    first, second = against_base(12, 0), against_base(12, 0, suite="target-other")  # p = 1 / 4096
    headline = Headline(against=Against.BASE, level=0.0003)
    assert judge([IMPROVED, first], settings=SETTINGS, headline=headline).beats_base == ("target",)
    assert judge([IMPROVED, first, second], settings=SETTINGS, headline=headline).beats_base == ()


def test_the_levels_of_all_attempts_together_are_below_alpha() -> None:
    levels = (loss_level(attempt, alpha=0.05) for attempt in range(1, 100_000))
    assert sum(islice(levels, 100_000)) < 0.05
    assert headline_level_of_line(Past(), settings=GateSettings()) is None
    assert headline_level_of_line(Past(), settings=SETTINGS) == LEVEL


def test_an_audit_repeats_the_headline_and_finds_one_that_was_not_earned() -> None:
    registry = open_line(MemoryStore())
    evidence = StoredEvidence(pairs=(IMPROVED,), guards=(), checks=(), settings=SETTINGS, base=Against.PARENT)
    assert StoredEvidence.from_json(evidence.to_json()).base is Against.PARENT
    made = evidence.judge(level=improvement_level([], alpha=0.05), loss_level=None, headline_level=LEVEL)
    assert made.beats_base == ("target",)
    for name, decision in (("one", made.to_dict()), ("two", made.to_dict() | {"beats_base": []})):
        manifest = candidate(registry, name, parent=registry.state().champion)
        manifest = replace(manifest, decision=decision, evidence=registry.put_object(evidence.to_json()))
        registry.publish(manifest, make_champion=True, actor="night", reason="better")
    first, second = audit(registry)
    assert first.differences == ()
    assert any("beats_base is stored as []" in each for each in second.differences or ())


def test_evidence_of_an_older_revision_makes_no_headline() -> None:
    old = StoredEvidence(pairs=(IMPROVED,), guards=(), checks=(), settings=SETTINGS)
    assert b'"base":' not in old.to_json()
    made = old.judge(level=0.01, loss_level=None, headline_level=LEVEL)
    assert made.beats_base is None
