"""Where a night begins: with its parent, with the base, or with a candidate that was left undecided."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.cycle.record import End
from everlearn.data.suites import SuiteKind
from everlearn.data.used_problems import load_earlier_use
from everlearn.domains.contamination import equivalence_keys
from everlearn.domains.contract import load_domain
from everlearn.gate.decision_record import Against, Outcome
from everlearn.registry.connect import open_registry
from everlearn.registry.events import EventKind
from tasks.earlier_nights import earlier_use, record_trained
from tasks.freeze_suites import load_suites, roots_of
from tasks.open_night import end_night, inputs_of
from tasks.starting_point import begins_after, first_adapter
from tests.support.line import candidate
from tests.support.manifests import DECISION, row
from tests.support.night import LONG, opened

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.settings import Settings
    from tasks.night import Night

DOMAIN = load_domain("integration")
VARIANT = "5*tan(3*x) + x^4"


@pytest.fixture
def going_on(settings: Settings) -> Settings:
    return settings.model_copy(update={"learn": settings.learn.model_copy(update={"start": "undecided"})})


def ended(night: Night, folder: Path, *, kind: EventKind = EventKind.INSUFFICIENT, **detail: Any) -> None:
    """End a night whose candidate was trained on its roots and one variant."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text(f"of {night.key}")
    night.work.put_tree("trained", folder)
    record_trained(night, [VARIANT, *(root.statement for root in roots_of(night)[0])])
    about: dict[str, Any] = {
        "parent": night.inputs.parent,
        "base_fingerprint": night.inputs.base_fingerprint,
        "decision": DECISION.to_dict(),
    }
    night.registry.record(kind, cycle_key=night.key, reason="r", actor="night", detail=about | detail)
    end_night(night, End.INSUFFICIENT)


def test_a_night_goes_on_from_the_undecided_ones_before_it(going_on: Settings, tmp_path: Path) -> None:
    one = opened(going_on, *LONG[:12])
    assert begins_after(one) == ()
    assert first_adapter(one, tmp_path / "none") is None
    ended(one, tmp_path / "one")
    two = opened(going_on, *LONG[:18])
    assert begins_after(two) == (one.key,)
    ended(two, tmp_path / "two")
    three = opened(going_on, *LONG)
    assert begins_after(three) == (two.key, one.key)
    started = first_adapter(three, tmp_path / "start")
    assert started is not None
    assert (started / "adapter_config.json").read_text() == f"of {two.key}"


def test_what_undecided_nights_trained_on_is_never_measured_and_named_by_the_version(
    going_on: Settings, tmp_path: Path
) -> None:
    one = opened(going_on, *LONG[:12])
    trained = equivalence_keys([VARIANT, *(root.statement for root in roots_of(one)[0])], domain=DOMAIN)
    ended(one, tmp_path / "one")
    two = opened(going_on, *LONG)
    assert trained <= earlier_use(two).trained
    measured = [item.statement for suite in load_suites(two) for item in suite.problems]
    assert not trained & equivalence_keys(measured, domain=DOMAIN)
    ended(two, tmp_path / "two")
    three = opened(going_on, *LONG, "x^7 + sinh(x)", "x^8 + sinh(x)", "x^9 + sinh(x)", "x^6 + sinh(x)")
    record_trained(three, ["x^7"])
    use = load_earlier_use(three.store, three.line, night="", published=[three.key], domain=DOMAIN)
    assert trained <= use.trained, "its own record has what its adapter began with"


@pytest.mark.parametrize("start", ["undecided", "parent"])
def test_problems_that_chose_the_candidate_do_not_test_the_one_that_goes_on_from_it(
    settings: Settings, tmp_path: Path, start: str
) -> None:
    settings = settings.model_copy(update={"learn": settings.learn.model_copy(update={"start": start})})
    one = opened(settings, *LONG[:18])
    held_out = {problem.statement for problem in roots_of(one)[1]}
    assert held_out
    ended(one, tmp_path / "one")
    two = opened(settings, *LONG)
    target = {item.statement for suite in load_suites(two) if suite.name == "target" for item in suite.problems}
    assert target
    assert target.isdisjoint(held_out) if start == "undecided" else held_out <= target
    assert held_out.isdisjoint(root.statement for root in roots_of(two)[0])


def test_a_candidate_that_may_have_lost_something_is_passed_over(
    going_on: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="everlearn.night")
    one = opened(going_on, *LONG[:12])
    ended(one, tmp_path / "one")
    two = opened(going_on, *LONG[:18])
    doubtful = replace(row(Against.PARENT), suite="short", kind=SuiteKind.SKILL, outcome=Outcome.INSUFFICIENT)
    ended(two, tmp_path / "two", decision=replace(DECISION, rows=(*DECISION.rows, doubtful)).to_dict())
    three = opened(going_on, *LONG)
    assert begins_after(three) == (one.key,)
    assert f"the undecided candidate of {two.key} is passed over" in caplog.text


def test_a_candidate_that_was_cleaned_up_is_said_and_the_parent_taken(
    going_on: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = opened(going_on, *LONG[:12])
    ended(one, tmp_path / "one")
    one.work.drop("trained")
    assert begins_after(opened(going_on, *LONG)) == ()
    assert f"the undecided candidate of {one.key} was removed" in caplog.text


@pytest.mark.parametrize("start", ["parent", "base"])
def test_by_default_an_undecided_candidate_is_not_gone_on_from(settings: Settings, tmp_path: Path, start: str) -> None:
    settings = settings.model_copy(update={"learn": settings.learn.model_copy(update={"start": start})})
    ended(opened(settings, *LONG[:12]), tmp_path / "one")
    registry = open_registry(settings)
    made = candidate(registry, "one", base=inputs_of(settings, data_digest="").base_fingerprint)
    registry.publish(made, make_champion=True, actor="night", reason="better")
    two = opened(settings, *LONG)
    assert begins_after(two) == ()
    assert (first_adapter(two, tmp_path / "start") is None) == (start == "base")
