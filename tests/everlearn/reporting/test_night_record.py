"""Parts of a night's record that are computed from its ladder, suites, curve and step times."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from everlearn.data.suites import Suite, SuiteKind
from everlearn.domains.contract import Domain, load_domain
from everlearn.gate.decision_record import Against
from everlearn.gate.evidence import PairedSuite
from everlearn.ladder.tree import CurvePoint, Ladder, Rung
from everlearn.problem import Measurement, Problem, Ruling, Verdict
from everlearn.reporting.night_record import (
    NightRecord,
    SolvedItem,
    StepTime,
    domain_notes,
    item_sizes,
    newly_solved,
    refused_proposals,
    rung_sizes,
    step_metrics,
    steps_from_metrics,
    training_notes,
)

DOMAIN = load_domain("integration")
RUNG = Rung(digest="d", statement="2*x + sin(x)", parent=None, depth=0, move=None, rollouts=4, passed=1)
LADDER = Ladder(rungs={"d": RUNG}, counts=Counter({"root": 1, "accepted": 5, "duplicate": 2, "leak": 1}))


def point(step: int, stopped: str | None = None) -> CurvePoint:
    return CurvePoint(
        step=step,
        cpu_seconds=1.0,
        reward=0.5,
        groups_used=1,
        groups_sampled=1,
        kl=0.0,
        loss=0.0,
        pass_by_size={},
        stopped=stopped,
    )


def test_sizes_are_those_of_the_domain() -> None:
    item = Problem(id="s0", domain="integration", statement="2*x")
    suite = Suite(name="short", kind=SuiteKind.SKILL, problems=(item,))
    assert rung_sizes(LADDER, domain=DOMAIN) == {"d": 2}
    assert item_sizes([suite], domain=DOMAIN) == {"s0": 1}


def test_only_refused_proposals_are_counted() -> None:
    assert refused_proposals(LADDER) == {"duplicate": 2, "leak": 1}


def test_a_guard_that_stopped_the_training_is_noted() -> None:
    notes = training_notes([point(1), point(2, "the answers got too long")])
    assert notes == ("The training stopped itself after step 2: the answers got too long.",)


def test_what_a_domain_does_not_have_is_noted() -> None:
    class FourMembers:
        name = "four"
        problem = question = verify = staticmethod(lambda *_: None)

    plugin: Any = FourMembers()
    assert domain_notes(Domain(plugin)) == (
        "The domain four has no generator, so the target suite is only what was held out.",
        "The domain four has no moves of its own, so the ladder comes from the model's proposals alone.",
        "The domain four has no second judgement, so no reward was judged again.",
    )
    assert domain_notes(load_domain("arithmetic")) == ()
    without_dials = domain_notes(load_domain("gym/gsm_symbolic"))
    assert "The domain gym/gsm_symbolic has no moves of its own, so the ladder has no variants." in without_dials


def test_step_times_become_metrics() -> None:
    steps = (StepTime(name="ladder", seconds=3.0, cpu_seconds=2.0),)
    assert step_metrics(iter(steps)) == {"cpu_seconds/ladder": 2.0, "seconds/ladder": 3.0}
    assert steps_from_metrics(step_metrics(steps)) == steps


def test_what_a_step_took_of_a_gpu_becomes_a_metric_and_comes_back() -> None:
    step = StepTime(name="train", seconds=3.0, cpu_seconds=2.0, gpu_seconds=2.5, tokens=700, peak_bytes=1 << 30)
    assert step_metrics([step])["gpu_seconds/train"] == 2.5
    assert steps_from_metrics(step_metrics([step])) == (step,)


def measured(*rulings: Ruling) -> tuple[Measurement, ...]:
    return tuple(
        Measurement(item=f"i{n}", root=f"i{n}", verdict=Verdict(ruling=ruling, reason=""), answer="x")
        for n, ruling in enumerate(rulings)
    )


def test_newly_solved_are_target_items_that_the_parent_missed() -> None:
    right, wrong, undecided = Ruling.CORRECT, Ruling.WRONG, Ruling.UNDECIDED
    pairs = [
        PairedSuite(
            suite=kind,
            kind=kind,
            before=measured(wrong, right, undecided, wrong, wrong),
            after=measured(right, right, right, wrong, right),
            against=Against.PARENT,
        )
        for kind in (SuiteKind.SKILL, SuiteKind.TARGET)
    ]
    assert [m.item for m in newly_solved(pairs, limit=5)] == ["i0", "i2", "i4"]
    assert [m.item for m in newly_solved(pairs, limit=2)] == ["i0", "i2"]


def test_a_record_without_solved_items_still_loads() -> None:
    item = SolvedItem(statement="2*x", answer="x^2", derivative="2*x", difference="0", status="proved")
    record = NightRecord(
        line="l", end="PUBLISHED", started=datetime(2026, 1, 1, tzinfo=UTC), cycle_key="k", solved=(item,)
    )
    assert NightRecord.from_json(record.to_json()) == record
    old = json.loads(record.to_json())
    del old["solved"]
    assert NightRecord.from_json(json.dumps(old)).solved == ()
