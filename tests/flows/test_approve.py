"""Approval of a version that passed the gate: the form, its answers, and decisions made elsewhere."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

from everlearn.cli.approve import close_forms as close_from_cli
from everlearn.cli.context import Installation
from everlearn.cycle.inputs import CycleInputs
from everlearn.gate.decision_record import Decision, Outcome
from everlearn.local.process import wait_until
from everlearn.orchestration.approval_forms import close_forms
from everlearn.orchestration.deployments import apply, read_plan
from everlearn.orchestration.schedules import find_night, set_paused, start_night
from everlearn.registry.connect import open_registry
from everlearn.registry.events import EventKind
from flows.approve import approve
from tasks import approve as approve_tasks
from tasks.approve import request_approval
from tasks.night import Night
from tests.support.line import BASE_MODEL, candidate
from tests.support.night import ROOT, tiny

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import State

    from everlearn.settings import Settings
    from tests.support.prefect import Nights

REASON = "I have read its report"
INPUTS = CycleInputs(
    data_digest="d" * 64, config_digest="c" * 64, parent=None, base_fingerprint=BASE_MODEL, code_version="0"
)


@pytest.fixture
def settings(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", nights.server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", nights.server.secret_key)
    with temporary_settings({PREFECT_API_URL: nights.prefect_url}):
        yield tiny(nights.server, nights.bucket, line="asking", gate={"require_approval": True})
        APILogWorker.drain_all(timeout=5)


@pytest.fixture
def client(settings: Settings) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as found:
        yield found


def publish(settings: Settings, name: str) -> str:
    """Publish a version that passed its gate and waits for approval."""
    registry = open_registry(settings)
    decision = Decision(outcome=Outcome.PASS, rows=(), checks=(), reasons=("target improved",)).to_dict()
    manifest = replace(candidate(registry, name, parent=registry.state().champion), decision=decision)
    return registry.publish(manifest, make_champion=False, actor="night", reason=f"{name} is better").version


def open_form(client: SyncPrefectClient, settings: Settings, version: str) -> UUID:
    """Create a run that waits for the form about that version."""
    made: Any = approve.to_deployment("approve-asking", enforce_parameter_schema=False)
    deployment = made.apply()
    own_line = {"env": {"EVERLEARN_STORE__LINE": "asking"}}  # or other lines would refresh this form as well
    client.update_deployment(deployment, DeploymentUpdate(job_variables=own_line))
    parameters = {"config": {"version": version, "settings": settings.model_dump(mode="json")}}
    tags = ["line:asking", version]
    return client.create_flow_run_from_deployment(deployment, parameters=parameters, tags=tags).id


def work_on(client: SyncPrefectClient, run: UUID) -> str | None:
    """Execute the run as a worker does. Return the name of its state after that."""
    with contextlib.suppress(Pause):
        run_flow(approve, flow_run=client.read_flow_run(run), return_type="state")
    return client.read_flow_run(run).state_name


def answer_form(client: SyncPrefectClient, run: UUID, decision: str) -> None:
    answered = client.resume_flow_run(run, run_input={"decision": decision, "reason": REASON, "who": "Ada"})
    assert answered.status is SetStateStatus.ACCEPT, answered.details


@pytest.mark.parametrize(("decision", "serves"), [("approve", "v0001"), ("refuse", None)])
def test_the_answer_to_the_form_decides_about_the_version(
    client: SyncPrefectClient, settings: Settings, decision: str, serves: str | None
) -> None:
    run = open_form(client, settings, publish(settings, "first"))
    assert work_on(client, run) == "Suspended"
    assert open_registry(settings).state().champion is None, "the champion stays until then"

    answer_form(client, run, decision)

    assert work_on(client, run) == "Completed"
    state = open_registry(settings).state()
    assert state.champion == serves
    assert {(event.actor, event.reason) for event in state.history[1:]} <= {
        ("Ada", REASON),
        ("Ada", f"approved: {REASON}"),
    }
    assert state.waiting == ()


def test_a_form_can_be_answered_though_the_response_to_its_suspension_was_lost(
    client: SyncPrefectClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_form(client, settings, publish(settings, "first"))
    once = type(client).set_flow_run_state

    def twice(sender: SyncPrefectClient, run: UUID, state: State, **how: Any) -> Any:
        if state.is_paused():
            once(sender, run, state, **how)  # its response is lost, and the client sends it again
        return once(sender, run, state, **how)

    with monkeypatch.context() as losing:
        losing.setattr(type(client), "set_flow_run_state", twice)
        assert work_on(client, run) == "Suspended"
    answer_form(client, run, "approve")
    assert work_on(client, run) == "Completed"
    assert open_registry(settings).state().champion == "v0001"


@pytest.mark.slow
def test_a_deployed_night_requests_approval_with_a_form(
    client: SyncPrefectClient, settings: Settings, nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings.model_copy(update={"store": settings.store.model_copy(update={"line": "deployed-asking"})})
    (nights.folder / "params.yaml").write_text(settings.model_dump_json(), encoding="utf-8")
    apply(read_plan(ROOT / "infra" / "prefect.yaml", line="deployed-asking", directory=nights.folder), client)
    nightly = find_night(client, line="deployed-asking")
    set_paused(client, nightly, paused=True)
    version, run = publish(settings, "first"), start_night(client, nightly)
    night = Night(settings=settings, key="k" * 64, inputs=INPUTS, token=1, started="2026-01-02T00:00:00+00:00")
    with monkeypatch.context() as within:
        within.setenv("PREFECT__FLOW_RUN_ID", str(run))  # as in a worker
        ended = request_approval.fn(night, {"end": "PUBLISHED", "version": version})
    client.delete_flow_run(run)
    assert ended["waits_for"] == "approval"
    about = FlowRunFilter(tags=FlowRunFilterTags(all_=["line:deployed-asking", version]))
    (form,) = client.read_flow_runs(flow_run_filter=about)

    run_worker_once(nights)
    assert client.read_flow_run(form.id).state_name == "Suspended"
    assert open_registry(settings).state().champion is None
    answer = {"decision": "approve", "reason": REASON, "who": "Ada"}
    # The state says Suspended a moment before the form can be answered.
    assert wait_until(
        lambda: client.resume_flow_run(form.id, run_input=answer).status is SetStateStatus.ACCEPT, timeout_s=60
    )
    run_worker_once(nights)

    assert client.read_flow_run(form.id).state_name == "Completed"
    state = open_registry(settings).state()
    assert (state.champion, state.waiting) == (version, ())
    approvals = [(event.actor, event.reason) for event in state.history if event.kind is EventKind.APPROVED]
    assert approvals == [("Ada", REASON)]


def run_worker_once(nights: Nights) -> None:
    """Let a worker execute the runs that are due in the queue `first`, and end."""
    environ = os.environ | {"PREFECT_HOME": str(nights.folder / "prefect"), "PYTHONPATH": os.pathsep.join(sys.path)}
    environ |= {"PREFECT_API_URL": nights.prefect_url}
    command = [sys.executable, "-m", "prefect", "--no-prompt", "worker", "start", "--run-once"]
    where = ["--pool", "cpu", "--work-queue", "first"]
    done = subprocess.run(command + where, cwd=nights.folder, env=environ, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_invalid_answer_is_refused_and_the_form_stays(client: SyncPrefectClient, settings: Settings) -> None:
    run = open_form(client, settings, publish(settings, "first"))
    work_on(client, run)
    for wrong in (
        {"decision": "maybe", "reason": "well …", "who": "Ada"},
        {"decision": "approve", "reason": "", "who": ""},
    ):
        client.resume_flow_run(run, run_input=wrong)
        assert client.read_flow_run(run).state_name == "Suspended"


def test_the_form_shows_the_result_of_the_gate(client: SyncPrefectClient, settings: Settings) -> None:
    run = open_form(client, settings, publish(settings, "first"))
    work_on(client, run)
    inputs = client._client.post(f"/flow_runs/{run}/input/filter", json={"prefix": "", "limit": 10}).text
    assert "**v0001** of line asking passed the gate against the base model, and waits" in inputs


def test_a_form_is_cancelled_after_a_decision_elsewhere(
    client: SyncPrefectClient, settings: Settings, nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_form(client, settings, publish(settings, "first"))
    work_on(client, run)
    assert close_forms(line="asking", version="v0009") == 0
    monkeypatch.setenv("PREFECT_API_URL", nights.prefect_url)
    close_from_cli(Installation(home=nights.folder, params=nights.folder / "p.yaml"), line="asking", version="v0001")
    assert client.read_flow_run(run).state_name == "Cancelled"
    open_registry(settings).approve("v0001", reason="read it", actor="Ada")
    late = open_form(client, settings, "v0001")
    assert work_on(client, late) == "Failed"
    assert "does not wait for approval; waiting: none" in str(client.read_flow_run(late).state)


def test_approval_is_requested_only_where_it_is_required(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended: dict[str, str | None] = {"end": "PUBLISHED", "version": publish(settings, "first")}
    night = Night(settings=settings, key="k" * 64, inputs=INPUTS, token=1, started="2026-01-02T00:00:00+00:00")
    gate = settings.gate.model_copy(update={"require_approval": False})
    free = replace(night, settings=settings.model_copy(update={"gate": gate}))
    with caplog.at_level("INFO"):
        assert request_approval.fn(free, ended) == ended
        assert request_approval.fn(night, {"end": "REJECTED", "version": None}) == {"end": "REJECTED", "version": None}
        assert request_approval.fn(night, ended)["waits_for"] == "approval"
        assert "everlearn approve v0001" in caplog.text
        monkeypatch.setattr(approve_tasks, "deployment", type("Runtime", (), {"id": "a deployment"}))
        lost = settings.model_copy(update={"store": settings.store.model_copy(update={"line": "never-deployed"})})
        assert request_approval.fn(replace(night, settings=lost), ended)["waits_for"] == "approval"
    assert "run `everlearn deploy`" in caplog.text
