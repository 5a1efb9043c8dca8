"""Guards with an error budget of the line: real adapters on the real base model, from the first look to the stored record."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest

from everlearn.data.suites import SuiteKind
from everlearn.gate.decision import judge
from everlearn.gate.decision_record import Against, Outcome
from everlearn.gate.record_of_line import from_json, item_key, policy_of_night, record_answers, to_json, way_of_asking
from everlearn.problem import Problem
from everlearn.registry.connect import open_registry
from everlearn.training.models.policy import load_policy
from tasks import compare_with_record
from tasks.compare_with_ancestors import memory_shares
from tasks.compare_with_record import complete_record, guards_of, look_at_candidate, new_guards, renew_record
from tasks.decide import name_baselines
from tasks.freeze_suites import load_suites
from tasks.measure import measure_suites, measured, upload_candidate
from tasks.open_night import inputs_of
from tasks.publish import close_night, publish_night
from tests.support.adapters import shake
from tests.support.line import candidate
from tests.support.night import LONG, SHORT, opened
from tests.support.paired_suites import IMPROVED

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.settings import Settings
    from tasks.night import Night


@pytest.fixture
def guarded(settings: Settings) -> Settings:
    """Settings with an error budget of the line for losses, and few samples."""
    gate = {"loss_error": "line", "skill_margin": 0.4, "record_samples": 4, "most_looks": 6}
    return settings.model_copy(update={"gate": settings.gate.model_copy(update=gate)})


def train(night: Night, folder: Path, *, size: float) -> None:
    """Keep an adapter that disturbs the base model by so much, as training would, and upload it."""
    assert night.settings.base.path
    folder.mkdir()
    shake(load_policy(night.settings.base.path, None), seed=1, size=size).save(folder)
    night.work.put_tree("trained", folder)
    upload_candidate.fn(night)


def look(night: Night) -> None:
    complete_record.fn(night)
    look_at_candidate.fn(night)
    renew_record.fn(night)


def test_a_night_says_how_many_answers_it_needs_before_it_trains(
    guarded: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="everlearn.night")
    night = opened(guarded, *LONG)
    items = len(SHORT)
    assert not night.work.has("ladder")
    assert (
        f"the comparison with the record needs {5 * items} to {14 * items} answers: {4 * items} for the record, "
        f"{items} to {6 * items} of the candidate, and at most {4 * items} more where it is better"
    ) in caplog.text


def test_a_candidate_that_changes_little_passes_and_its_looks_are_not_repeated(
    guarded: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = opened(guarded, *LONG)
    train(night, tmp_path / "adapter", size=1e-6)
    look(night)
    [short] = guards_of(night)
    assert short.outcome is Outcome.PASS
    assert {item.policy for item in short.recorded} == {"base"}
    monkeypatch.setattr(compare_with_record, "_looking", None)
    look(night)
    assert guards_of(night) == [short]


def test_a_candidate_that_destroys_a_skill_fails_at_the_first_look(guarded: Settings, tmp_path: Path) -> None:
    night = opened(guarded, *LONG)
    train(night, tmp_path / "adapter", size=0.3)
    look(night)
    [short] = guards_of(night)
    decision = judge([IMPROVED], settings=guarded.gate, guards=[short])
    assert decision.outcome is Outcome.FAIL
    assert len(short.looks) == 1
    assert any(reason.startswith("short against the record: got worse") for reason in decision.reasons)


def test_only_tonights_suites_are_answered_by_parent_and_candidate(guarded: Settings, tmp_path: Path) -> None:
    night = opened(guarded, *LONG)
    assert name_baselines.fn(night) == ()
    measure_suites.fn(night, "parent")
    assert set(measured(night, "parent")) == {suite.name for suite in load_suites(night) if suite.kind.is_of_tonight}
    assert any(suite.kind is SuiteKind.SKILL for suite in load_suites(night))


def test_a_night_publishes_the_record_for_the_nights_after_it(guarded: Settings, tmp_path: Path) -> None:
    night = opened(guarded, *LONG)
    train(night, tmp_path / "adapter", size=1e-6)
    look(night)
    guards = guards_of(night)
    decision = judge([IMPROVED], settings=guarded.gate, guards=guards)
    registry = open_registry(guarded)
    night.work.put("decision", decision.to_json().encode())
    night.work.put("report", json.dumps(asdict(candidate(registry, "one", report=True).report)).encode())  # type: ignore[arg-type]
    night.work.put("policy", b"fast policy")
    version = publish_night.fn(night, "PASS")["version"]
    close_night.fn(night, "PUBLISHED")
    assert version is not None

    manifest = registry.manifest(version)
    assert {"record"} <= manifest.documents().keys()
    assert manifest.record
    record = from_json(registry.get_object(manifest.record))
    assert set(record.values()) == set(guards[0].recorded)
    [row] = [row for row in manifest.decision["rows"] if row["against"] == Against.RECORD]
    assert row["looks"] == len(guards[0].looks)

    later = opened(guarded, *[f"{a}*x^7 - sin({a}*x)" for a in range(2, 30)])
    assert later.inputs.parent == version
    train(later, tmp_path / "later", size=1e-6)
    look(later)
    policies = {guard.suite: {item.policy for item in guard.recorded} for guard in guards_of(later)}
    assert {guard.suite: guard.holder for guard in guards_of(later)} == {"short": "base", "memory-all": version}
    [whole] = [guard for guard in guards_of(later) if guard.parts]
    assert whole.parts == ((f"memory-{version}", len(whole.recorded)),)
    assert policies["short"] == {"base"}, "the skill was recorded before"
    assert policies["memory-all"] == {version}, "what the first night held out was not"
    assert guards_of(later)[0].level < guards[0].level, "every attempt is charged"
    before, after = (float(side.mean()) for side in whole.shares)
    [(suite, shares)] = memory_shares(later).items()
    assert suite == f"memory-{version}"
    assert shares == pytest.approx((before, after)), "the memory of one night is all of it"


def test_a_better_candidate_renews_the_record_with_fresh_answers(guarded: Settings, tmp_path: Path) -> None:
    night = opened(guarded, *LONG)
    train(night, tmp_path / "adapter", size=1e-6)
    complete_record.fn(night)
    record = json.loads(night.work.get("line record"))
    record["items"] = {key: [0, 0, 4, "base"] for key in record["items"]}  # as if the base solved nothing
    night.work.put("line record", json.dumps(record).encode())
    look_at_candidate.fn(night)
    renew_record.fn(night)
    assert guards_of(night)[0].holder == "base"
    renewed = from_json(night.work.get("line record after"))
    assert {item.policy for item in renewed.values()} == {f"night {night.key[:12]}"}
    assert sum(item.share for item in renewed.values()) > 0


def test_answers_by_other_settings_are_sampled_again_by_their_policy(
    guarded: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="everlearn.night")
    registry, items = open_registry(guarded), len(SHORT)
    problems = [Problem(id=text, domain="integration", statement=text) for text in SHORT]
    one, rest = problems[:1], problems[1:]
    hot = record_answers(one, ["0"] * 3, policy="base", asked="a hot way")
    hot |= record_answers(rest, ["0" * len(rest)] * 3, policy="base", asked=way_of_asking(guarded.model_dump()))
    manifest = candidate(registry, "one", base=inputs_of(guarded, data_digest="").base_fingerprint)
    manifest = replace(manifest, record=registry.put_object(to_json(hot)))
    registry.publish(manifest, make_champion=True, actor="night", reason="better")

    night = opened(guarded, *LONG)
    assert "4 for the record" in caplog.text
    complete_record.fn(night)
    record = from_json(night.work.get("line record"))
    assert len(record) == items
    assert record[item_key(one[0])].samples == 4
    assert {record[item_key(each)].samples for each in rest} == {3}
    assert {(each.policy, each.asked) for each in record.values()} == {("base", way_of_asking(guarded.model_dump()))}


@pytest.mark.parametrize("change", ["none", "rolled back", "renewed by its night"])
def test_a_drift_names_the_version_that_holds_the_record_if_it_can_serve(guarded: Settings, change: str) -> None:
    registry = open_registry(guarded)
    first = candidate(registry, "one", base=inputs_of(guarded, data_digest="").base_fingerprint)
    registry.publish(first, make_champion=True, actor="night", reason="better")
    night = opened(guarded, *LONG)
    problems = [problem for suite in load_suites(night) if suite.name == "short" for problem in suite.problems]
    policy = policy_of_night(first.cycle_key) if change == "renewed by its night" else "v0001"
    night.work.put("line record", to_json(record_answers(problems, ["1" * len(problems)], policy=policy, asked="")))
    if change == "rolled back":
        registry.rollback(reason="slow", actor="ada")
    [short] = new_guards(night)
    assert short.holder == (None if change == "rolled back" else "v0001")


def test_nothing_of_this_happens_by_default(settings: Settings) -> None:
    night = opened(settings, *LONG)
    look(night)
    assert guards_of(night) == []
    assert compare_with_record.stored_record(night) is None
