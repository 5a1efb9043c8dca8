"""Deployments as code, compared with and applied to a real Prefect server."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings

from everlearn.errors import BadInputError
from everlearn.orchestration.deployments import DeploymentPlan, apply, compare, read_plan
from everlearn.orchestration.events_client import ARRIVED
from tests.support.night import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient


FILE = ROOT / "infra" / "prefect.yaml"


@pytest.fixture(scope="module")
def client(prefect_url: str) -> Iterator[SyncPrefectClient]:
    with temporary_settings({PREFECT_API_URL: prefect_url}), get_client(sync_client=True) as found:
        yield found


@pytest.fixture
def plan(tmp_path: Path) -> DeploymentPlan:
    """The plan of a line that no other test uses."""
    return read_plan(FILE, line=tmp_path.name.replace("_", "-").lower(), directory=ROOT)


@pytest.fixture(scope="module")
def deployed(client: SyncPrefectClient) -> DeploymentPlan:
    """A line that is deployed already: applying a plan takes seconds."""
    plan = read_plan(FILE, line="deployed", directory=ROOT)
    apply(plan, client)
    return plan


def test_changes_are_shown_before_and_applying_twice_is_idempotent(
    plan: DeploymentPlan, client: SyncPrefectClient
) -> None:
    shown = [str(change) for change in compare(plan, client)]
    assert [each for each in shown if "run-cycle" in each] == [f"+ run-cycle/nightly-{plan.line}"]
    assert all(each.startswith("+ ") for each in shown)
    apply(plan, client)
    assert compare(plan, client) == ()
    apply(plan, client)
    assert compare(plan, client) == ()


def test_interactive_runs_have_a_higher_priority(deployed: DeploymentPlan, client: SyncPrefectClient) -> None:
    rank = {name: client.read_work_queue_by_name(name, work_pool_name="cpu").priority for name in ("first", "default")}
    assert rank["first"] < rank["default"]


def test_edits_on_the_server_are_shown_and_reverted(
    deployed: DeploymentPlan, client: SyncPrefectClient, tmp_path: Path
) -> None:
    other = tmp_path / "prefect.yaml"
    other.write_text(
        FILE.read_text().replace("Measure a version on a suite.", "Measured.").replace("limit: 1", "limit: 2")
    )
    changed = read_plan(other, line=deployed.line, directory=ROOT)
    assert [str(change) for change in compare(changed, client)] == [
        f"~ ingest/ingest-{deployed.line}: runs at once: 1 → 2",
        f"~ evaluate/evaluate-{deployed.line}: description: Measure a version on a suite. → Measured.",
        f"~ housekeeping/housekeeping-{deployed.line}: runs at once: 1 → 2",
    ]
    apply(changed, client)
    assert compare(changed, client) == ()


def test_a_limit_that_the_file_no_longer_has_is_removed(
    deployed: DeploymentPlan, client: SyncPrefectClient, tmp_path: Path
) -> None:
    limited, marker = tmp_path / "prefect.yaml", "    # No concurrency limit:"
    entry = "    concurrency_limit: {limit: 1, collision_strategy: ENQUEUE}\n"
    limited.write_text(FILE.read_text().replace(marker, entry + marker))
    apply(read_plan(limited, line=deployed.line, directory=ROOT), client)
    changed = [str(change) for change in compare(deployed, client)]
    assert changed == [f"~ run-cycle/nightly-{deployed.line}: runs at once: 1 → None"]
    apply(deployed, client)
    assert compare(deployed, client) == ()


def test_automations_exist_once_and_edits_are_reverted(deployed: DeploymentPlan, client: SyncPrefectClient) -> None:
    assert len(deployed.automations) >= 5
    for name, wanted in deployed.automations.items():
        assert len(client.read_automations_by_name(name)) == 1, name
        client.update_automation(
            client.read_automations_by_name(name)[0].id, wanted.model_copy(update={"description": "mine"})
        )
    changed = [change for change in compare(deployed, client) if change.field == "definition"]
    assert len(changed) == len(deployed.automations)
    apply(deployed, client)
    assert compare(deployed, client) == ()


def test_a_removed_trigger_is_shown_and_restored(deployed: DeploymentPlan, client: SyncPrefectClient) -> None:
    name = f"ingest-{deployed.line}__automation_1"
    (trigger,) = client.read_automations_by_name(name)
    client.delete_automation(trigger.id)
    assert f"+ automation {name}" in [str(change) for change in compare(deployed, client)]
    apply(deployed, client)
    (again,) = client.read_automations_by_name(name)
    assert ARRIVED in again.trigger.model_dump_json(), "for problems that have arrived"
    assert compare(deployed, client) == ()


def test_a_deployment_that_the_file_no_longer_names_is_deleted(
    plan: DeploymentPlan, client: SyncPrefectClient, tmp_path: Path
) -> None:
    apply(plan, client)
    # Neither another line nor another project is ours, whatever they share with the line.
    others = [
        deploy(client, name=f"ours-{plan.line}-2", entrypoint="flows.evaluate.evaluate", line=f"{plan.line}-2"),
        deploy(client, name=f"theirs-{plan.line}", entrypoint="elsewhere.flow", line=plan.line),
        deploy(client, name="theirs", entrypoint="flows.evaluate.evaluate", line=plan.line),
        deploy(client, name=f"untagged-{plan.line}", entrypoint="flows.evaluate.evaluate", line=None),
    ]
    shorter = tmp_path / "prefect.yaml"
    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    content["deployments"] = [each for each in content["deployments"] if not each["name"].startswith(("ingest", "eva"))]
    shorter.write_text(yaml.safe_dump(content), encoding="utf-8")
    changed = replace(read_plan(shorter, line=plan.line, directory=ROOT), automations=plan.automations)
    gone = [f"evaluate/evaluate-{plan.line}", f"ingest/ingest-{plan.line}"]
    assert [str(change) for change in compare(changed, client)] == [f"- {name}" for name in gone]
    trigger = f"ingest-{plan.line}__automation_1"
    assert client.read_automations_by_name(trigger)
    apply(changed, client)
    assert compare(changed, client) == ()
    assert client.read_automations_by_name(trigger) == []
    for name in gone:
        with pytest.raises(ObjectNotFound):
            client.read_deployment_by_name(name)
    for deployment in others:
        client.delete_deployment(client.read_deployment(deployment).id)


def deploy(client: SyncPrefectClient, *, name: str, entrypoint: str, line: str | None) -> UUID:
    """Create a deployment of a flow `other`, tagged as a deployment of `line`."""
    flow = client.create_flow_from_name("other")
    tags = ["everlearn", f"line:{line}"] if line else []
    return client.create_deployment(flow, name=name, entrypoint=entrypoint, tags=tags)


@pytest.mark.parametrize(
    "text",
    [
        *("a: [", "deployments: 3", "deployments: [{name: x}]", ""),
        "deployments: [{name: x, entrypoint: 3}]",
        "deployments: [{name: x, entrypoint: flows.a.a}]",
        "deployments: [{name: x, entrypoint: flows.a.a, work_pool: {name: cpu}}]",
    ],
)
def test_a_file_without_deployments_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text(text)
    with pytest.raises(BadInputError, match="is not a list of Prefect deployments"):
        read_plan(file, line="a", directory=tmp_path)
    with pytest.raises(BadInputError, match="cannot be read"):
        read_plan(tmp_path, line="a", directory=tmp_path)


def test_a_file_that_names_a_deployment_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "prefect.yaml"
    again = "\n  - {name: 'solve-a', entrypoint: flows.solve.solve, work_pool: {name: gpu, work_queue_name: default}}\n"
    file.write_text(FILE.read_text() + again)
    with pytest.raises(BadInputError, match=rf"{file} names a deployment twice"):
        read_plan(file, line="a", directory=tmp_path)


@pytest.mark.parametrize(
    ("right", "wrong"), [('cron: "0 2 * * *"', "cron: daily"), ("timezone: UTC", "timezone: Mars/Olympus")]
)
def test_an_invalid_schedule_in_the_file_is_refused(tmp_path: Path, right: str, wrong: str) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text(FILE.read_text().replace(right, wrong))
    with pytest.raises(BadInputError, match=rf"{file}: run-cycle/nightly-a: .* is not a valid schedule"):
        read_plan(file, line="a", directory=tmp_path)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("run-cycle/nightly", {"data": 3}, "3 is not valid under any of the given schemas"),
        ("run-cycle/nightly", {"dta": "inbox"}, "'dta' was unexpected"),
        ("evaluate/evaluate", {"version": ["v0001"]}, "['v0001'] is not of type 'string'"),
        ("roll-back/roll-back", {}, "'reason' is a required property"),
        ("promote/promote", {"version": "v0001", "reason": "x", "wait_s": "long"}, "'long' is not of type 'number'"),
        ("housekeeping/housekeeping", {"days": 3}, "'days' was unexpected"),
    ],
)
def test_a_run_with_wrong_parameters_is_refused(
    deployed: DeploymentPlan, client: SyncPrefectClient, name: str, config: dict[str, Any], message: str
) -> None:
    found = client.read_deployment_by_name(f"{name}-{deployed.line}")
    with pytest.raises(PrefectHTTPStatusError) as raised:
        client.create_flow_run_from_deployment(found.id, parameters={"config": config})
    assert message in str(raised.value)
