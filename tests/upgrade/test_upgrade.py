"""Today's code on the bucket of an old release (`write_bucket.py`): reading, changing, checking and resuming."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.cycle.inputs import CycleInputs, config_digest, cycle_key
from everlearn.cycle.record import current_cycle
from everlearn.cycle.workspace import Workspace
from everlearn.data.holdout import split_by_canonical_form
from everlearn.data.rows import Intake
from everlearn.data.snapshot_store import load_snapshot, snapshots_of
from everlearn.domains.contract import load_domain
from everlearn.errors import RegistryError
from everlearn.gate.baselines import Baseline
from everlearn.gate.checks import run_checks
from everlearn.gate.decision_record import Against
from everlearn.registry.connect import open_registry, open_store
from everlearn.reporting.night_record import NightRecord
from tasks.decide import name_baselines
from tasks.earlier_nights import earlier_use
from tasks.freeze_suites import freeze_suites, load_memory
from tasks.ingest import read_problems
from tasks.night import Night, hold_line
from tasks.open_night import resume_night
from tasks.publish import close_night, publish_night
from tasks.train import grow_ladder, ladder_of, reservoir_before
from tasks.write_report import write_report
from tests.support.judged_night import train_and_judge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from everlearn.settings import Settings
    from tests.upgrade.conftest import Upgraded

KINDS = [
    *("published", "no_new_data", "published", "rolled_back", "rejected", "insufficient", "published", "approved"),
    *("promoted", "promoted", "published", "barred"),
]
BEFORE, DURING = ("cut-before/", "dvc/"), ("cut-during/", "dvc/")
VERSIONS = ("history/HEAD", "history/events/", "history/manifests/", "history/objects/")
"""What rollback reads and writes, without the workspaces."""
NO_GRACE = {"minimum_age_hours": 1e-6, "lease_seconds": 1e-3, "work_days": 0.0, "versions": 0}


def results_of(night: Night) -> dict[str, dict[str, str]]:
    """Return the results in a night's workspace, without the count of resumptions: digests by name and path."""
    blob = night.store.get(f"{night.line}/work/{night.key}/index.json")
    names: dict[str, dict[str, str]] = json.loads(blob.data)["names"]
    del names["resumed"]
    return names


@pytest.fixture
def ended_works(upgraded: Upgraded) -> dict[str, Workspace]:
    """The workspaces of the published nights by version."""
    settings = upgraded.settings("history")
    store, versions = open_store(settings.store), open_registry(settings).state().versions
    return {name: Workspace(store, "history", entry.cycle_key) for name, entry in versions.items()}


@pytest.fixture
def resumed(upgraded: Upgraded, request: pytest.FixtureRequest) -> Iterator[tuple[Settings, Night]]:
    """The interrupted night as today's code resumes it, with settings that changed meanwhile."""
    line = request.node.callspec.params["upgraded"][0].rstrip("/")
    settings = upgraded.settings(line, learn={"steps": 7, "seed": 5}, rollouts={"dtype": "float32"})
    with hold_line(settings) as token:
        night = resume_night.fn(settings, token)
        assert night is not None
        yield settings, night


def test_history_and_status_show_what_happened(upgraded: Upgraded) -> None:
    history = upgraded.everlearn("history", "--json")
    assert history.code == 0
    events = json.loads(history.out)[::-1]
    assert [event["kind"] for event in events] == KINDS
    assert events[3]["reason"] == "kept answering in French"
    status = json.loads(upgraded.everlearn("status", "--json").out)
    assert (status["champion"], len(status["versions"])) == ("v0001", 4)
    assert upgraded.everlearn("show", "v0003").code == 0


@pytest.mark.parametrize("version", ["v0001", "v0002", "v0003", "v0004", "champion"])
def test_every_version_can_be_pulled(upgraded: Upgraded, version: str) -> None:
    target = upgraded.folder / "adapter"
    assert upgraded.everlearn("pull", version, "--to", str(target)).code == 0
    assert {path.name for path in target.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}


def test_a_directory_delivered_by_an_old_release_is_updated(upgraded: Upgraded, archive: Path) -> None:
    target = upgraded.folder / "delivered"
    target.mkdir()
    for path in (archive / "delivered").iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    for version in ("v0001", "v0002"):
        assert upgraded.everlearn("pull", version, "--to", str(target)).code == 0
        assert json.loads((target / "everlearn.json").read_bytes())["version"] == version


@pytest.mark.parametrize("upgraded", [VERSIONS], indirect=True, ids=["its own bucket"])
def test_rollback_returns_to_the_champion_before(upgraded: Upgraded) -> None:
    assert upgraded.everlearn("rollback", "--reason", "upgrade test", "--verify", "full").code == 0
    registry = open_registry(upgraded.settings("history"))
    state = registry.state()
    assert (state.champion, state.barred) == ("v0003", ("v0001", "v0002", "v0004"))
    with pytest.raises(RegistryError, match="barred"):
        registry.promote("v0004", reason="it was refused", actor="op")


def test_fsck_finds_no_damage(upgraded: Upgraded) -> None:
    ended = upgraded.everlearn("fsck", "--json")
    found = json.loads(ended.out)
    assert ended.code == 0
    assert (found["head"], found["damaged"], found["missing"]) == ([], [], [])


def test_gc_would_keep_every_champion(upgraded: Upgraded) -> None:
    ended = upgraded.everlearn("gc", "--dry-run", "--json", retention=NO_GRACE)
    plan = json.loads(ended.out)
    assert ended.code == 0
    assert plan["retiring"] == ["v0004"]
    items = [item["key"] for item in plan["items"]]
    assert any("/objects/" in key for key in items), "the files of v0004"
    registry = open_registry(upgraded.settings("history"))
    champions = [registry.manifest(version) for version in ("v0001", "v0002", "v0003")]
    kept = {ref.digest for manifest in champions for ref in manifest.references()}
    assert not kept & {key.rpartition("/")[2] for key in items if "/objects/" in key}
    untouched = upgraded.everlearn("gc", "--dry-run", "--json")
    young = [item for item in json.loads(untouched.out)["items"] if "expired heartbeat" not in item["why"]]
    assert young == [], "with default settings all but the heartbeats, which name the time of the archive, is too young"


def test_stored_reports_can_be_read(ended_works: dict[str, Workspace]) -> None:
    for version, work in ended_works.items():
        record = NightRecord.from_json(work.get("record"))
        assert (record.version, record.end) == (version, "PUBLISHED")
        report = json.loads(work.get("check/bytes"))
        assert record.decision is not None
        assert tuple(run_checks(report, json.loads(work.get("check/rewards")))) == record.decision.checks


def test_published_shards_are_not_ingested_again(upgraded: Upgraded) -> None:
    settings = upgraded.settings("history")
    unseen = {}
    for shard in ("0", "2"):
        digest = read_problems.fn(settings, upgraded.folder / "new" / shard)
        intake = Intake.from_bytes(open_store(settings.store).get(f"history/intake/{digest}").data)
        unseen[shard] = len(intake.rows)
    assert unseen == {"0": 0, "2": 5}, "the night of shard 2 was rejected, so its data is still available"


def test_a_new_night_builds_on_the_old_versions(upgraded: Upgraded, tmp_path: Path) -> None:
    settings = upgraded.settings("history")
    inputs = CycleInputs(data_digest="d", config_digest="c", parent="v0003", base_fingerprint="b", code_version="9")
    night = Night(settings=settings, key=cycle_key(inputs), inputs=inputs, token=1, started="2026-12-01T00:00:00+00:00")
    for name in ("short", "target"):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"suite": "{name}", "kind": "skill"}}\n{{"problem": "x"}}\n')
    night.work.put_tree("suites", tmp_path)
    base, *best = name_baselines.fn(night)
    assert base == Baseline(against=Against.BASE, policy="base")
    assert {baseline.policy for baseline in best} <= {"v0001", "v0002"}
    assert load_memory(night) == (), "a version of an old release has left no memory"
    assert reservoir_before(night).problems, "the ladders of old nights are replayed"


def test_what_old_nights_held_out_is_forbidden(upgraded: Upgraded) -> None:
    settings = upgraded.settings("history")
    inputs = CycleInputs(data_digest="d", config_digest="c", parent="v0003", base_fingerprint="b", code_version="9")
    night = Night(settings=settings, key=cycle_key(inputs), inputs=inputs, token=1, started="2026-12-01T00:00:00+00:00")
    domain = load_domain("integration")
    earlier = earlier_use(night)
    for digest in snapshots_of(night.store, night.line):
        entries = load_snapshot(night.store, night.line, digest).entries
        held_out = split_by_canonical_form(entries, share=0.2).held_out
        assert earlier.measured >= {domain.equivalence(problem.statement) for problem in held_out}
    assert earlier.trained
    assert earlier_use(night) == earlier, "older nights are recorded once"
    assert upgraded.everlearn("fsck").code == 0


@pytest.mark.parametrize("upgraded", [BEFORE, DURING], indirect=True, ids=["before training", "during training"])
def test_an_open_night_keeps_its_key_and_finished_steps(
    upgraded: Upgraded, resumed: tuple[Settings, Night], archive: Path
) -> None:
    settings, night = resumed
    finished = results_of(night)
    record = json.loads((archive / "bucket" / night.line / "work" / "open.json").read_bytes())
    assert (night.key, asdict(night.inputs)) == (record["key"], record["inputs"])
    assert cycle_key(night.inputs) == record["key"]
    assert (night.settings.learn.steps, night.settings.learn.seed, night.settings.rollouts.dtype) == (2, 0, "bfloat16")
    assert config_digest(night.settings) == night.inputs.config_digest, "equal settings still have the same digest"
    assert night.settings.store == settings.store, "the bucket has moved to another server"

    assert freeze_suites.fn(night)
    assert grow_ladder.fn(night) == len(ladder_of(night.work, "ladder").rungs)

    now = results_of(night)
    assert {name: now[name] for name in finished} == finished, "no finished step is done again"
    assert not night.work.has("trained"), "training is the next step"


@pytest.mark.slow
@pytest.mark.parametrize("upgraded", [BEFORE, DURING], indirect=True, ids=["before training", "during training"])
def test_an_open_night_resumes_to_its_end(upgraded: Upgraded, resumed: tuple[Settings, Night], archive: Path) -> None:
    settings, night = resumed
    finished = results_of(night)
    checkpoint = finished.pop("checkpoint", None)

    outcome = run_to_the_decision(night)
    write_report.fn(night)
    ended = publish_night.fn(night, outcome)
    close_night.fn(night, str(ended["end"]))

    now = results_of(night)
    assert {name: now[name] for name in finished} == finished, "no finished step is done again"
    curve = json.loads(night.work.get("curve"))
    assert [point["step"] for point in curve] == [1, 2]
    if checkpoint is not None:
        assert curve[0] == first_point(archive, night, checkpoint), "the first step is not trained again"
    assert current_cycle(night.store, night.line) is None
    events = [event for event in open_registry(settings).state().history if event.cycle_key is not None]
    assert [(event.cycle_key, event.detail.get("version")) for event in events] == [(night.key, ended["version"])]
    assert upgraded.everlearn("fsck", line=settings.store.line).code == 0


def run_to_the_decision(night: Night) -> str:
    """Run the steps of `flows.run_cycle` up to the gate."""
    freeze_suites.fn(night)
    grow_ladder.fn(night)
    return train_and_judge(night)


def first_point(archive: Path, night: Night, checkpoint: dict[str, str]) -> dict[str, Any]:
    """Return the first training step that the old release kept in a checkpoint, with the CPU seconds that it took."""
    run = archive / "bucket" / night.line / "work" / night.key / "sha256" / checkpoint["run.json"]
    point: dict[str, Any] = json.loads(run.read_bytes())["curve"][0]
    return point
