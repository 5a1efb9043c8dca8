"""The flows besides the night: roll back, promote, evaluate and housekeeping."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort
from prefect.exceptions import PrefectHTTPStatusError
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed
from prefect.utilities.callables import parameter_schema
from pydantic import ValidationError

from everlearn.canonical_json import digest_of
from everlearn.errors import IntegrityError, LateError, ModelError, RegistryError, SettingsError
from everlearn.orchestration.deployments import apply, read_plan
from everlearn.registry.acknowledgements import acknowledge
from everlearn.registry.connect import open_registry
from everlearn.settings import load
from everlearn.storage.immutable_objects import object_key
from everlearn.training import memory_estimate
from flows.climb import ClimbConfig, climb
from flows.evaluate import EvaluateConfig, evaluate
from flows.housekeeping import HousekeepingConfig, housekeeping
from flows.promote import PromoteConfig, promote
from flows.roll_back import RollBackConfig, roll_back
from flows.solve import SolveConfig, solve
from tasks.housekeeping import forget_runs
from tasks.ingest import ClaimedSnapshot
from tasks.night import hold_line
from tasks.open_base import open_base
from tasks.open_night import open_night
from tasks.refresh_forms import refresh_forms
from tests.support.line import publish
from tests.support.night import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient

    from everlearn.settings import Settings
    from tests.support.prefect import Nights


@pytest.fixture
def settings(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", nights.server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", nights.server.secret_key)
    with temporary_settings({PREFECT_API_URL: nights.prefect_url}):
        yield nights.settings()
        APILogWorker.drain_all(timeout=5)  # pending log records need the server of this session


def test_a_climb_is_refused_where_the_base_does_not_fit(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_estimate, "available_memory", lambda _: 1000)
    with hold_line(settings) as token:
        claim = ClaimedSnapshot(data_digest=digest_of(b"data"), problems=25)
        night = open_night.fn(open_base.fn(settings), token, claim)
        with pytest.raises(ModelError, match=r"needs about .* GiB are free"):
            climb(ClimbConfig(cycle_key=night.key, token=token, settings=settings))


def test_roll_back_returns_to_the_base_model_once(settings: Settings) -> None:
    publish(open_registry(settings), "first")
    config = RollBackConfig(reason="answers got longer", settings=settings)
    assert roll_back(config) == {"left": "v0001", "to": None}
    assert open_registry(settings).state().champion is None
    with get_client(sync_client=True) as client:
        shown = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["champion-integration"])),
            sort=ArtifactSort.CREATED_DESC,  # other tests show other lines of that name on this server
        )
    assert "a pull of the champion is now refused: the base model serves" in str(shown[0].data)
    with pytest.raises(RegistryError, match="nothing to roll back"):
        roll_back(config)


def test_a_rolled_back_version_cannot_be_promoted(settings: Settings) -> None:
    registry = open_registry(settings)
    publish(registry, "first")
    publish(registry, "second", champion=False)
    config = PromoteConfig(version="v0002", reason="it is better", settings=settings)
    assert promote(config) == {"left": "v0001", "to": "v0002"}
    assert promote(config) == {"left": "v0002", "to": "v0002"}
    roll_back(RollBackConfig(reason="it is not", verify="full", settings=settings))
    with pytest.raises(RegistryError, match="v0002 is barred"):
        promote(config)


def test_a_flow_names_consumers_that_did_not_follow(settings: Settings) -> None:
    registry = open_registry(settings)
    publish(registry, "first")
    acknowledge(registry, consumer="there", version="v0001", sequence=1, at=datetime.now(tz=UTC))
    config = RollBackConfig(reason="answers got longer", wait_s=0.1, settings=settings)
    with pytest.raises(LateError, match="there did not follow"):
        roll_back(config)
    assert open_registry(settings).state().champion is None


def deploy(flow: Any, name: str, *, tags: Sequence[str] = ()) -> UUID:
    found: UUID = flow.to_deployment(name, tags=list(tags)).apply()
    return found


def form_of(deployment: UUID, field: str) -> list[str] | None:
    """Return the choices in the form of a deployment."""
    with get_client(sync_client=True) as client:
        schema: Any = client.read_deployment(deployment).parameter_openapi_schema
    (config,) = (part for part in schema["definitions"].values() if field in part["properties"])
    choices: list[str] | None = config["properties"][field].get("enum")
    return choices


def test_forms_offer_the_versions_that_exist(settings: Settings) -> None:
    back, forth = deploy(roll_back, "roll-back"), deploy(promote, "promote")
    registry = open_registry(settings)
    for name in ("first", "second", "third"):
        publish(registry, name)

    assert refresh_forms.fn(settings) == 2

    assert form_of(back, "to") == ["last good", "base", "v0002", "v0001"]
    assert form_of(forth, "version") == ["v0002", "v0001"]
    roll_back(RollBackConfig(reason="answers got longer", settings=settings))
    assert form_of(back, "to") == ["last good", "base", "v0001"]
    with get_client(sync_client=True) as client:
        client.create_flow_run_from_deployment(back, parameters={"config": {"reason": "worse", "to": "v0001"}})
        for wrong in ("v0003", "v0009"):
            with pytest.raises(PrefectHTTPStatusError, match="v0001"):
                client.create_flow_run_from_deployment(back, parameters={"config": {"reason": "worse", "to": wrong}})


def test_a_flow_checks_the_selected_version_again(settings: Settings) -> None:
    publish(open_registry(settings), "first")
    with pytest.raises(RegistryError, match="has no version 'v0009'"):
        roll_back(RollBackConfig(reason="worse", to="v0009", settings=settings))


def test_forms_of_another_line_are_not_changed(settings: Settings) -> None:
    other = {"env": {"EVERLEARN_STORE__LINE": "addition"}}
    another = deploy(roll_back, "for-addition")
    with get_client(sync_client=True) as client:
        client.update_deployment(another, DeploymentUpdate(job_variables=other))
    publish(open_registry(settings), "first")
    refresh_forms.fn(settings)
    assert form_of(another, "to") is None


def test_forms_are_not_refreshed_without_prefect(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    publish(open_registry(settings), "first")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), caplog.at_level("WARNING"):
        assert refresh_forms.fn(settings) == 0
    assert "could not be refreshed" in caplog.text


def test_forms_are_not_refreshed_without_the_store(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    away = settings.store.model_copy(update={"endpoint_url": "http://127.0.0.1:9"})
    with caplog.at_level("WARNING"):
        assert refresh_forms.fn(settings.model_copy(update={"store": away})) == 0
    assert "does not answer" in caplog.text


def test_the_form_has_no_field_for_settings() -> None:
    schema = parameter_schema(roll_back).model_dump_for_openapi()
    assert list(schema["definitions"]) == ["RollBackConfig"]
    fields = schema["definitions"]["RollBackConfig"]["properties"]
    assert list(fields) == ["reason", "to", "keep", "verify", "wait_s", "actor"]


def test_every_deployment_names_an_existing_flow() -> None:
    deployments = yaml.safe_load((ROOT / "infra" / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    for each in deployments:
        module, name = each["entrypoint"].rsplit(".", 1)
        assert getattr(importlib.import_module(module), name).name == module.removeprefix("flows.").replace("_", "-")


@pytest.mark.slow
def test_a_worker_rolls_back_through_the_deployment(settings: Settings, nights: Nights) -> None:
    environ = os.environ | {
        "PREFECT_API_URL": nights.prefect_url,
        "PREFECT_HOME": str(nights.folder / "prefect"),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "EVERLEARN_DIRECTORY": str(nights.folder),
        "EVERLEARN_STORE__BUCKET": nights.bucket,
        "EVERLEARN_STORE__ENDPOINT_URL": nights.server.endpoint_url,
        "EVERLEARN_SIGNING__UNSIGNED": "true",
    }

    def prefect(*words: str) -> None:
        command = [sys.executable, "-m", "prefect", "--no-prompt", *words]
        done = subprocess.run(command, cwd=nights.folder, env=environ, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    for name in ("first", "second"):
        publish(open_registry(settings), name)
    with get_client(sync_client=True) as client:
        apply(read_plan(ROOT / "infra" / "prefect.yaml", line="integration", directory=nights.folder), client)
        assert refresh_forms.fn(settings) >= 2
        deployment = client.read_deployment_by_name("roll-back/roll-back-integration")
        chosen = {"config": {"reason": "answers got longer", "to": "v0001"}}
        run = client.create_flow_run_from_deployment(deployment.id, parameters=chosen)
        prefect("worker", "start", "--pool", "cpu", "--run-once")
        state = client.read_flow_run(run.id).state

    assert state is not None
    assert state.is_completed(), state
    assert open_registry(settings).state().champion == "v0001"


def test_housekeeping_removes_nothing_from_a_damaged_line(settings: Settings) -> None:
    registry = open_registry(settings)
    publish(registry, "first")
    assert housekeeping(HousekeepingConfig(settings=settings)) == {"walked": 4, "removed": 0, "forgotten": 0}
    ref = registry.manifest("v0001").files["adapter_config.json"]
    registry.store.put(object_key(registry.line, ref.digest), b"{}")
    with pytest.raises(IntegrityError, match="1 faults, the first"):
        housekeeping(HousekeepingConfig(settings=settings))


def test_old_runs_are_deleted_except_the_newest_ones(settings: Settings) -> None:
    mine = deploy(roll_back, "of-this-line", tags=["line:integration"])
    other = deploy(roll_back, "of-another-line", tags=["line:addition"])
    now = datetime.now(tz=UTC)
    with get_client(sync_client=True) as client:
        others = [ended_run(client, other) for _ in range(12)]
        ended = [ended_run(client, mine) for _ in range(13)]
        waiting = client.create_flow_run_from_deployment(mine, parameters={"config": {"reason": "worse"}}).id
        for days, deleted in ((1, 0), (89, 0), (91, 3), (91, 0)):
            assert forget_runs.fn(settings, at=now + timedelta(days=days)) == deleted, days
        kept = {each.id for each in client.read_flow_runs(limit=200)}
    assert kept & {*others, *ended, waiting} == {*others, *ended[3:], waiting}


@pytest.mark.parametrize("days", ["0", "-1", "6.9", "soon"])
def test_a_run_retention_below_a_week_is_refused(days: str) -> None:
    with pytest.raises(SettingsError, match=r"setting retention\.run_days"):
        load(environ={"EVERLEARN_RETENTION__RUN_DAYS": days})


def ended_run(client: SyncPrefectClient, deployment: UUID) -> UUID:
    """Create a run that has just ended."""
    run = client.create_flow_run_from_deployment(deployment, parameters={"config": {"reason": "worse"}}).id
    client.set_flow_run_state(run, Completed(), force=True)
    return run


def test_the_base_model_is_measured_on_a_suite(settings: Settings, nights: Nights) -> None:
    suite = nights.folder / "data" / "suites" / "short.jsonl"
    found = evaluate(EvaluateConfig(version="base", suite=suite, settings=settings))
    assert found["n"] == found["correct"] + found["wrong"] + found["unreadable"] + found["undecided"] == 12
    assert found["share"] > 0.5


def test_problems_are_solved_once_and_what_took_effort_is_offered(settings: Settings, nights: Nights) -> None:
    file = nights.folder / "unsolved.jsonl"
    file.write_text('{"problem": "2*x + cos(x)"}\n{"problem": "tan(x)"}\n{"problem": "2*x + cos(x)"}\n')
    config = SolveConfig(
        problems=file, version="base", rollouts=4, samples=2, trains=False, offer=True, processes=2, settings=settings
    )
    found = solve(config)
    assert "compared" not in found, "nothing is trained"
    assert (found["problems"], found["solved"], found["by greedy answer"], found["offered"]) == (2, 1, 1, 0)
    again = config.model_copy(update={"processes": 1})
    assert solve(again) == found, "a second run takes the results of the first from the bucket"
    store = open_registry(settings).store
    assert len(list(store.list(f"{settings.store.line}/solved/"))) == 2


def test_a_flow_compares_each_solution_unless_told_otherwise(settings: Settings, nights: Nights) -> None:
    file = nights.folder / "easy.jsonl"
    file.write_text('{"problem": "2*x + cos(x)"}\n')
    config = SolveConfig(problems=file, version="base", settings=settings)
    assert "compared" not in solve(config.model_copy(update={"compare": False}))
    assert solve(config)["compared"].endswith("solved 1 of 1, best of n 1, both together 1")
    assert len(list(open_registry(settings).store.list(f"{settings.store.line}/solved/"))) == 1, "in place of the first"


def test_a_misspelt_flow_parameter_is_refused() -> None:
    with pytest.raises(ValidationError, match="suit"):
        EvaluateConfig.model_validate({"suit": ROOT})
