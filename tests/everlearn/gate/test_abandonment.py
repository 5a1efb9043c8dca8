"""A night that is given up after its candidate was measured is an attempt of the line; one given up before is not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from everlearn.cycle.inputs import CycleInputs
from everlearn.cycle.record import abandon_cycle, current_cycle, open_cycle
from everlearn.cycle.workspace import Workspace
from everlearn.gate.abandonment import charge, is_abandoned
from everlearn.gate.audit import audit
from everlearn.gate.lifetime_error import past_of
from everlearn.registry.events import EventKind
from everlearn.settings import GateSettings
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import open_line

if TYPE_CHECKING:
    from everlearn.gate.lifetime_error import Past
    from everlearn.registry.versions import Registry

INPUTS = CycleInputs(data_digest="d", config_digest="c", parent="v0001", base_fingerprint="b", code_version="0.1.0")


@pytest.fixture
def registry() -> Registry:
    return open_line(MemoryStore())


def give_up(registry: Registry, *results: str, gate: dict[str, str] | None = None) -> str:
    """Abandon a night whose workspace holds these results, and which has frozen these settings of the gate."""
    notes = {} if gate is None else {"settings": json.dumps({"gate": gate})}
    opened = open_cycle(registry.store, registry.line, INPUTS, notes=notes)
    work = Workspace(registry.store, registry.line, opened.key, token=1)
    work.append("records", b"measured/7f")
    for name in results:
        work.put(name, b"{}")
    abandon_cycle(
        registry.store,
        registry.line,
        before_closing=lambda cycle: charge(registry, cycle, actor="ada", why="it hangs"),
    )
    assert current_cycle(registry.store, registry.line) is None
    return opened.key


def past(registry: Registry) -> Past:
    by_line = GateSettings(improvement_error="line")
    return past_of(registry.state().history, settings=by_line, registry=registry)


@pytest.mark.parametrize(
    "result", ["measuring/candidate", "measured/candidate", "looks", "looking/candidate", "decision"]
)
def test_a_measured_candidate_is_charged_once(registry: Registry, result: str) -> None:
    key = give_up(registry, "measured/parent", result)
    [event] = registry.state().history
    assert (event.kind, event.cycle_key, event.actor) == (EventKind.INSUFFICIENT, key, "ada")
    assert event.reason.endswith("after its candidate was measured, which counts as a test: it hangs")
    assert (event.detail["parent"], event.detail["records"]) == ("v0001", ["measured/7f"])
    assert (past(registry).attempts, past(registry).labels) == (1, (False,)), (
        "an older revision did not freeze the settings"
    )
    assert is_abandoned(key, registry.state())
    give_up(registry)
    assert len(registry.state().history) == 1


@pytest.mark.parametrize(
    ("gate", "tests"),
    [
        ({"improvement_error": "line"}, (False,)),
        ({"improvement_error": "night", "of a later release": 1}, ()),
        ({}, ()),
    ],
)
def test_it_is_a_test_of_the_budget_that_would_have_judged_it(
    registry: Registry, gate: dict[str, str], tests: tuple[bool, ...]
) -> None:
    give_up(registry, "decision", gate=gate)
    assert (past(registry).attempts, past(registry).labels) == (1, tests)


def test_a_night_without_answers_of_its_candidate_leaves_no_event(registry: Registry) -> None:
    key = give_up(registry, "ladder", "trained", "files", "measured/parent", "looking/v0001 for the record")
    assert registry.state().history == ()
    assert not is_abandoned(key, registry.state())


def test_a_night_that_has_ended_is_not_charged_again(registry: Registry) -> None:
    opened = open_cycle(registry.store, registry.line, INPUTS)
    registry.record(EventKind.REJECTED, cycle_key=opened.key, reason="worse", actor="night", detail={})
    key = give_up(registry, "decision")
    assert [event.kind for event in registry.state().history] == [EventKind.REJECTED]
    assert not is_abandoned(key, registry.state())


def test_the_audit_says_that_it_cannot_be_repeated(registry: Registry) -> None:
    give_up(registry, "decision")
    assert [decision.differences for decision in audit(registry)] == [None]
