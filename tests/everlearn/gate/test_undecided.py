"""Which undecided candidates a night can go on from, by the history of the line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from everlearn.data.suites import SuiteKind
from everlearn.gate.decision_record import Against, Check, Outcome
from everlearn.gate.undecided import lost_nothing, undecided_nights
from everlearn.registry.events import EventKind
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import open_line
from tests.support.manifests import DECISION, row

BASE = "b" * 64
UNDECIDED: dict[str, Any] = {"parent": None, "base_fingerprint": BASE, "decision": DECISION.to_dict()}
DOUBTFUL = replace(row(Against.PARENT), suite="short", kind=SuiteKind.SKILL, outcome=Outcome.INSUFFICIENT)


def nights(*ends: tuple[EventKind, dict[str, Any]]) -> tuple[str, str]:
    """Return the numbers of the nights to go on from, and of those passed over, of a line whose nights ended like this."""
    registry = open_line(MemoryStore())
    for number, (kind, detail) in enumerate(ends):
        registry.record(kind, cycle_key=f"{number}" * 64, reason="r", actor="night", detail=detail)
    kept, doubtful = undecided_nights(registry.state().history, parent=None, base_fingerprint=BASE)
    return "".join(key[0] for key in kept), "".join(key[0] for key in doubtful)


def test_the_newest_undecided_night_comes_first() -> None:
    assert nights() == ("", "")
    assert nights(*[(EventKind.INSUFFICIENT, UNDECIDED)] * 3) == ("210", "")


@pytest.mark.parametrize(
    ("kind", "detail"),
    [
        (EventKind.REJECTED, {}),
        (EventKind.INSUFFICIENT, {"parent": "v0009"}),
        (EventKind.INSUFFICIENT, {"base_fingerprint": "c" * 64}),
        (EventKind.INSUFFICIENT, {"base_fingerprint": None}),
    ],
)
def test_a_decided_night_or_one_of_another_parent_or_base_ends_them(kind: EventKind, detail: dict[str, Any]) -> None:
    ends = [(EventKind.INSUFFICIENT, UNDECIDED), (kind, UNDECIDED | detail), (EventKind.INSUFFICIENT, UNDECIDED)]
    assert nights(*ends) == ("2", "")


@pytest.mark.parametrize("kind", [EventKind.INSUFFICIENT, EventKind.NO_NEW_DATA])
def test_a_night_without_a_candidate_does_not_end_them(kind: EventKind) -> None:
    assert nights((EventKind.INSUFFICIENT, UNDECIDED), (kind, {})) == ("0", "")


def test_a_candidate_that_may_have_lost_something_is_passed_over() -> None:
    doubtful = UNDECIDED | {"decision": replace(DECISION, rows=(*DECISION.rows, DOUBTFUL)).to_dict()}
    assert nights((EventKind.INSUFFICIENT, UNDECIDED), (EventKind.INSUFFICIENT, doubtful)) == ("0", "1")


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"outcome": Outcome.INSUFFICIENT, "won": 4, "lost": 2}, "lost nothing"),
        ({"outcome": Outcome.INSUFFICIENT, "won": 0, "lost": 3}, "may have lost"),
        ({"kind": SuiteKind.MEMORY, "outcome": Outcome.INSUFFICIENT}, "may have lost"),
        ({"kind": SuiteKind.MEMORY, "won": 0, "lost": 3}, "lost nothing"),
    ],
)
def test_only_the_improvement_may_be_undecided(change: dict[str, Any], verdict: str) -> None:
    decision = replace(DECISION, rows=(replace(row(Against.PARENT), **change),))
    assert lost_nothing(decision) == (verdict == "lost nothing")
    failed = Check(name="bytes", passed=False, sentence="not the trained bytes")
    assert not lost_nothing(replace(decision, checks=(failed,)))
