"""The steps from an open night to its end, one after another on a real bucket with the real base model."""

from __future__ import annotations

import json
import logging
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prefect.runtime import deployment

from everlearn import counters
from everlearn.cycle.workspace import Workspace
from everlearn.errors import BadInputError, CycleBusyError, LineBusyError, ModelError, StaleParentError
from everlearn.gate.baselines import Baseline
from everlearn.gate.decision_record import Against, Outcome
from everlearn.registry.base_identity import newest_digest
from everlearn.registry.connect import open_registry, open_store
from everlearn.registry.events import EventKind
from everlearn.registry.publisher_heartbeat import read_heartbeats
from everlearn.reporting.night_record import NightRecord
from everlearn.telemetry import logs
from everlearn.training import journal, ladder_growth, rollouts
from everlearn.training.models.fingerprint import fingerprint
from tasks import measure
from tasks.decide import decide, decision_of, name_baselines, recheck_rewards
from tasks.freeze_suites import freeze_suites, load_suites
from tasks.ingest import claim_problems, read_problems, validate_problems
from tasks.measure import check_bytes, measure_suites, upload_candidate
from tasks.night import Night, configure_logging, hold_line, timed_step, times_of
from tasks.open_night import find_ended_night, open_night, resume_night
from tasks.publish import close_night, publish_night, record_no_new_data
from tasks.run_state import skip_night
from tasks.train import grow_ladder, reservoir_before, train_adapter
from tasks.write_report import write_report
from tests.support.line import Killed, candidate, ends_of, publish
from tests.support.manifests import DECISION
from tests.support.night import LONG, stored_snapshot, write_shard
from tests.support.schemas import checked_provenance, faults_of_bom

if TYPE_CHECKING:
    from everlearn.settings import Settings
    from everlearn.training.engines.decode import Completion
    from everlearn.training.rollouts import Solver
    from tasks.ingest import ClaimedSnapshot


def claimed(settings: Settings, data: Path) -> ClaimedSnapshot:
    intake = read_problems.fn(settings, data)
    validate_problems.fn(settings, intake)
    return claim_problems.fn(settings, intake)


def train_and_measure(night: Night) -> tuple[Baseline, ...]:
    """Run every step up to the decision of the gate. Return the baselines."""
    assert freeze_suites.fn(night)
    assert grow_ladder.fn(night) > 0
    train_adapter.fn(night)
    upload_candidate.fn(night)
    baselines = name_baselines.fn(night)
    for policy in ("parent", "candidate"):
        measure_suites.fn(night, policy)
    for baseline in baselines:
        measure_suites.fn(night, baseline.policy, baseline.suites)
    check_bytes.fn(night)
    recheck_rewards.fn(night)
    return baselines


def let_pass(night: Night) -> None:
    """Replace the outcome by PASS: two training steps prove nothing, and the test is about what follows a PASS."""
    night.work.put("decision", replace(decision_of(night), outcome=Outcome.PASS).to_json().encode())


def documents(settings: Settings, version: str) -> dict[str, bytes]:
    registry = open_registry(settings)
    return {name: registry.get_object(ref) for name, ref in registry.manifest(version).documents().items()}


def dependencies(settings: Settings, version: str) -> set[str]:
    """Return the dependencies in a version's provenance, and check that its documents are valid."""
    stored = documents(settings, version)
    assert faults_of_bom(stored["bom"]) == ""
    return {each.name for each in checked_provenance(stored["provenance"]).build_definition.resolved_dependencies}


@pytest.mark.slow
def test_a_second_night_starts_from_the_version_of_the_first(settings: Settings, tmp_path: Path) -> None:
    data = write_shard(tmp_path / "new" / "a.jsonl", LONG[:15])
    with hold_line(settings) as token:
        claim = claimed(settings, data)
        assert find_ended_night.fn(settings, claim) is None
        night = open_night.fn(settings, token, claim)
        assert train_and_measure(night) == ()
        times = times_of(night.work)
        assert train_and_measure(night) == ()  # no step is repeated
        assert times_of(night.work) == times

        assert decide.fn(night, ()) in set(Outcome)
        rewards = json.loads(night.work.get("check/rewards"))
        assert rewards["wrong"] == []
        let_pass(night)
        page = write_report.fn(night)
        ended = publish_night.fn(night, "PASS")
        assert (ended["end"], ended["version"], ended["report"]) == ("PUBLISHED", "v0001", page)
        resumed = resume_night.fn(settings, token)
        assert resumed == night
        assert publish_night.fn(night, "PASS") == ended  # as after a crash before the night is closed
        close_night.fn(night, "PUBLISHED")
        assert resume_night.fn(settings, token) is None
        record = NightRecord.from_json(night.work.get("record"))
        assert (record.version, record.ingest.accepted) == ("v0001", 15)
        assert b"v0001" in open_registry(settings).get_object(open_registry(settings).manifest("v0001").report)  # type: ignore[arg-type]

    with hold_line(settings) as token:
        again = claimed(settings, data)
        assert again.problems == 0
        nothing = record_no_new_data.fn(settings, again)
        assert nothing["end"] == "NO_NEW_DATA"
        skipped = find_ended_night.fn(settings, again)
        assert skipped is not None
        assert skipped["end"] == "SKIPPED"

        write_shard(tmp_path / "new" / "b.jsonl", LONG)
        added = claimed(settings, data)
        assert added.problems == len(LONG) - 15
        second = open_night.fn(settings, token, added)
        assert second.inputs.parent == "v0001"
        assert reservoir_before(second).problems
        base = Baseline(against=Against.BASE, policy="base")
        assert train_and_measure(second) == (base,)
        assert "memory-v0001" in {suite.name for suite in load_suites(second)}
        assert decide.fn(second, (base,)) in set(Outcome)
        assert {row.against for row in decision_of(second).rows} == {Against.PARENT, Against.BASE}
        let_pass(second)
        write_report.fn(second)
        assert publish_night.fn(second, "PASS")["version"] == "v0002"
        close_night.fn(second, "PUBLISHED")
    assert dependencies(settings, "v0002") >= {"base model", "manifest of v0001", "data snapshot"}
    ends = ends_of(open_registry(settings))
    assert ends == [EventKind.PUBLISHED, EventKind.NO_NEW_DATA, EventKind.PUBLISHED]


@pytest.fixture
def night(settings: Settings) -> Night:
    with hold_line(settings) as token:
        return open_night.fn(settings, token, stored_snapshot(settings, LONG))


def test_a_resumed_night_keeps_its_frozen_settings(night: Night, settings: Settings) -> None:
    moved = settings.store.model_copy(update={"region": "eu-west-1"})
    changed = settings.model_copy(update={"threads": 7, "store": moved})
    resumed = resume_night.fn(changed, night.token)
    assert resumed is not None
    assert (resumed.key, resumed.settings.threads, resumed.settings.store.region) == (night.key, 1, "eu-west-1")


def test_a_late_worker_cannot_write(night: Night, settings: Settings) -> None:
    with hold_line(settings) as token:
        resume_night.fn(settings, token)
    with pytest.raises(CycleBusyError, match="taken over"):
        night.work.put("ladder", b"late")


def test_a_ladder_continues_from_the_segments_in_the_bucket(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SECONDS", 0.0)
    monkeypatch.setattr(journal, "SHARE", 0.0)
    assert freeze_suites.fn(night)
    decoded: list[int] = []

    def decode(solver: Solver, prompts: list[list[int]], **options: Any) -> list[list[Completion]]:
        decoded.append(len(prompts))
        if len(decoded) == 3:
            raise Killed
        return rollouts.complete(solver, prompts, **options)

    monkeypatch.setattr(ladder_growth, "complete", decode)
    monkeypatch.setattr(ladder_growth, "CHUNK", 8)
    with pytest.raises(Killed):
        grow_ladder.fn(night)
    assert len(night.work.parts("growth")) == 2
    grow_ladder.fn(night)
    resumed, units = night.work.get("ladder"), len(decoded) - 1
    assert night.work.parts("growth") == []

    night.work.drop("ladder")
    decoded.clear()
    decoded.extend([0, 0, 0])  # not killed this time
    grow_ladder.fn(night)
    assert night.work.get("ladder") == resumed
    assert len(decoded) - 3 == units, "no unit was decoded twice"


def test_a_night_ends_before_training_once_its_parent_is_barred(settings: Settings, tmp_path: Path) -> None:
    registry, claim = open_registry(settings), claimed(settings, write_shard(tmp_path / "new" / "a.jsonl", LONG))
    publish(registry, "one", base=fingerprint(settings.base_directory))
    with hold_line(settings) as token:
        night = open_night.fn(settings, token, claim)
        assert night.inputs.parent == "v0001"
        assert freeze_suites.fn(night)
        registry.rollback(reason="wrong signs", actor="ada")
        with pytest.raises(StaleParentError, match=r"v0001, which was barred since; .* still available"):
            grow_ladder.fn(night)
        assert resume_night.fn(settings, token) is None, "it is closed"
        assert claim.data_digest not in registry.state().claimed
        fresh = open_night.fn(settings, token, claim)
        assert (fresh.inputs.parent, fresh.key != night.key) == (None, True)


def test_a_cut_night_with_a_barred_parent_is_not_resumed(settings: Settings, tmp_path: Path) -> None:
    registry, claim = open_registry(settings), claimed(settings, write_shard(tmp_path / "new" / "a.jsonl", LONG))
    publish(registry, "one", base=fingerprint(settings.base_directory))
    with hold_line(settings) as token:
        open_night.fn(settings, token, claim)
    registry.rollback(reason="wrong signs", actor="ada")
    with hold_line(settings) as token:
        assert resume_night.fn(settings, token) is None
        assert open_night.fn(settings, token, claim).inputs.parent is None


def test_training_stops_at_a_checkpoint_once_its_parent_is_replaced(
    night: Night, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert freeze_suites.fn(night)
    grow_ladder.fn(night)
    put_tree, stored = Workspace.put_tree, list[str]()

    def put_and_publish(work: Workspace, name: str, directory: Path) -> None:
        put_tree(work, name, directory)
        stored.append(name)
        if len(stored) == 1:
            publish(open_registry(settings), "another")

    monkeypatch.setattr(Workspace, "put_tree", put_and_publish)
    with pytest.raises(StaleParentError, match="began at the base model, but v0001 is champion now"):
        train_adapter.fn(night)
    assert stored == ["checkpoint"], "not one step more"
    assert night.settings.learn.steps > 1


def test_a_second_run_of_a_deployment_is_skipped_and_by_hand_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = LineBusyError("line math: process 7 on gpu-1 is at work")
    with pytest.raises(LineBusyError):
        skip_night(busy)
    monkeypatch.setattr(deployment, "id", "1", raising=False)
    assert skip_night(busy) == {
        "end": "SKIPPED",
        "reason": "line math: process 7 on gpu-1 is at work; new problems wait for the next night",
    }


def test_only_the_first_finished_execution_is_timed(night: Night) -> None:
    with pytest.raises(ZeroDivisionError), timed_step(night, "half"):
        _ = 1 / 0
    for _ in range(2):
        with timed_step(night, "whole") as work:
            pass
    [spent] = times_of(work)
    assert (spent.name, spent.seconds >= 0) == ("whole", True)


def test_a_rejected_night_keeps_its_step_times_in_its_event(night: Night, settings: Settings) -> None:
    with timed_step(night, "ladder"):
        pass
    night.work.put("report", json.dumps({"digest": "0" * 64, "size": 1}).encode())
    night.work.put("decision", replace(DECISION, outcome=Outcome.FAIL).to_json().encode())
    publish_night.fn(night, "FAIL")
    [event] = open_registry(settings).state().history
    assert event.kind is EventKind.REJECTED
    assert {"cpu_seconds/ladder", "seconds/ladder"} <= set(event.detail["metrics"])


def test_a_night_that_has_ended_keeps_no_garbage_collection_waiting(night: Night) -> None:
    night.registry.put_object(b"evidence of a step")
    night.registry.put_object(b"evidence of another one")
    assert len(read_heartbeats(night.store, night.line)) == 1
    night.work.put("report", json.dumps({"digest": "0" * 64, "size": 1}).encode())
    night.work.put("decision", replace(DECISION, outcome=Outcome.FAIL).to_json().encode())
    publish_night.fn(night, "FAIL")
    assert not read_heartbeats(night.store, night.line)


def test_a_timed_step_keeps_counters_and_logs_the_cycle(night: Night) -> None:
    counters.increment("rollouts", by=5)
    with timed_step(night, "counted") as work:
        counters.increment("rollouts", by=8)
        counters.increment("verdicts", by=3)
        assert logs.context_fields()["cycle"] == night.key
    assert logs.context_fields() == {}
    counts = json.loads(work.get("time/counted"))
    assert (counts["rollouts"], counts["verdicts"]) == (8, 3)


def test_log_records_have_the_line_while_it_is_held(settings: Settings) -> None:
    with hold_line(settings):
        assert logs.context_fields() == {"line": "integration"}  # only a flow has a run
    assert logs.context_fields() == {}


@pytest.mark.parametrize("name", ["prefect.flow_runs", "prefect.task_runs"])
def test_expected_errors_are_logged_without_a_traceback(name: str) -> None:
    configure_logging()
    configure_logging()
    logger = logging.getLogger(name)
    for error, message in (
        (BadInputError("name another file"), "name another file"),
        (KeyError("a bug"), "failed: %r"),
    ):
        record = logger.makeRecord(name, 40, "", 1, "failed: %r", (), (type(error), error, None))
        assert logger.filter(record)
        assert (record.exc_info is None) is isinstance(error, BadInputError)
        assert record.getMessage() == message


def test_the_workspace_is_stored_below_the_line(night: Night, settings: Settings) -> None:
    assert open_store(night.settings.store).get(f"integration/work/{night.key}/index.json").data


def test_a_published_night_has_provenance_and_materials(night: Night, settings: Settings) -> None:
    registry = open_registry(settings)
    made = candidate(registry, "one", report=True)
    assert made.report is not None
    night.work.put("files", json.dumps({name: asdict(ref) for name, ref in made.files.items()}).encode())
    night.work.put("report", json.dumps({"digest": made.report.digest, "size": made.report.size}).encode())
    night.work.put("decision", DECISION.to_json().encode())
    ended = publish_night.fn(night, "PASS")
    assert publish_night.fn(night, "PASS") == ended
    stored = documents(settings, "v0001")
    assert faults_of_bom(stored["bom"]) == ""
    provenance = checked_provenance(stored["provenance"])
    resolved = {each.name: each.digest["sha256"] for each in provenance.build_definition.resolved_dependencies[:2]}
    assert resolved == {
        "base model": newest_digest(night.inputs.base_fingerprint),
        "data snapshot": night.inputs.data_digest,
    }
    assert provenance.run_details.metadata.invocation_id == night.key
    subjects = {each["name"]: each["digest"]["sha256"] for each in json.loads(stored["provenance"])["subject"]}
    assert subjects == {name: ref.digest for name, ref in made.files.items()}


@pytest.mark.parametrize(
    ("code", "errors", "says"),
    [
        (1, "Traceback\nRuntimeError: CUDA out of memory\n", "RuntimeError: CUDA out of memory"),
        (1, "", "no message"),
        (-9, "", "killed by signal 9"),
    ],
)
def test_a_fresh_process_that_fails_for_another_reason_rejects_no_adapter(
    night: Night, monkeypatch: pytest.MonkeyPatch, code: int, errors: str, says: str
) -> None:
    monkeypatch.setattr(measure, "_write_probes", lambda *_: Path("probes.jsonl"))
    monkeypatch.setattr(measure, "adapter_of", lambda *_: Path("adapter"))
    ended = subprocess.CompletedProcess([], code, stdout="", stderr=errors)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    with pytest.raises(ModelError, match=f"the fresh process failed: {says}; run the same command again"):
        check_bytes.fn(night)
    assert not night.work.has("check/bytes")
