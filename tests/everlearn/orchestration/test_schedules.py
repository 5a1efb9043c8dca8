"""Schedules of the nights of a line, on a real Prefect server."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule as ClientCronSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings

from everlearn.errors import BadInputError
from everlearn.orchestration.deployments import DeploymentPlan, apply, read_plan
from everlearn.orchestration.schedules import find_night, set_paused, set_schedule, start_night
from tests.support.night import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.orchestration import SyncPrefectClient

FILE = ROOT / "infra" / "prefect.yaml"


@pytest.fixture(scope="module")
def client(prefect_url: str) -> Iterator[SyncPrefectClient]:
    with temporary_settings({PREFECT_API_URL: prefect_url}), get_client(sync_client=True) as found:
        yield found


@pytest.fixture(scope="module")
def deployed(client: SyncPrefectClient) -> DeploymentPlan:
    """A line that is deployed already: applying a plan takes seconds."""
    plan = read_plan(FILE, line="scheduled", directory=ROOT)
    apply(plan, client)
    return plan


def test_a_schedule_survives_another_deployment(deployed: DeploymentPlan, client: SyncPrefectClient) -> None:
    night = find_night(client, line=deployed.line)
    assert (night.cron, night.timezone, night.paused) == ("0 2 * * *", "UTC", False)
    set_schedule(client, night, cron="30 2 * * *", timezone="Europe/Berlin")
    set_paused(client, night, paused=True)
    apply(deployed, client)
    night = find_night(client, line=deployed.line)
    assert (night.cron, night.timezone, night.paused) == ("30 2 * * *", "Europe/Berlin", True)
    set_paused(client, night, paused=False)
    assert not find_night(client, line=deployed.line).paused


def test_a_night_can_be_started_now(deployed: DeploymentPlan, client: SyncPrefectClient) -> None:
    run = client.read_flow_run(start_night(client, find_night(client, line=deployed.line)))
    client.delete_flow_run(run.id)  # workers of another test would take it
    assert run.work_pool_name == "cpu"
    assert f"line:{deployed.line}" in run.tags


@pytest.mark.parametrize(
    ("cron", "zone", "reason"),
    [
        ("daily", "UTC", "Invalid cron string"),
        ("0 2 * *", "UTC", "Invalid cron string"),
        ("0 2 * * *", "Mars/Olympus", "Invalid timezone"),
        ("0 2 30 2 *", "UTC", "no date matches it; correct the day of month"),
        ("0 2 31 4,6,9,11 *", "Europe/Berlin", "no date matches it"),
        ("30 0 2 * * *", "UTC", r"has seconds, so that the next times are 20\d\d-.*; give five fields: minute, hour"),
        ("0 2 * * *", "", r"the time zone is empty; name one. In UTC the next times are 20\d\d-"),
        ("0 2 * * *", " ", "Invalid timezone"),
    ],
)
def test_an_invalid_schedule_changes_nothing(
    deployed: DeploymentPlan, client: SyncPrefectClient, cron: str, zone: str, reason: str
) -> None:
    night = find_night(client, line=deployed.line)
    with pytest.raises(BadInputError, match=f"is not a valid schedule: .*{reason}"):
        set_schedule(client, night, cron=cron, timezone=zone)
    assert replace(find_night(client, line=deployed.line), next_runs=night.next_runs) == night


def test_a_deleted_schedule_is_not_resumed(deployed: DeploymentPlan, client: SyncPrefectClient) -> None:
    night = find_night(client, line=deployed.line)
    for each in client.read_deployment(night.deployment).schedules:
        client.delete_deployment_schedule(night.deployment, each.id)
    assert (find_night(client, line=deployed.line).cron, find_night(client, line=deployed.line).paused) == (None, True)
    with pytest.raises(BadInputError, match="has no schedule; set one: `everlearn schedule set"):
        set_paused(client, night, paused=False)
    set_schedule(client, night, cron="0 2 * * *", timezone="UTC")
    assert not find_night(client, line=deployed.line).paused


def test_setting_replaces_every_other_schedule(deployed: DeploymentPlan, client: SyncPrefectClient) -> None:
    night = find_night(client, line=deployed.line)
    extra = DeploymentScheduleCreate(schedule=ClientCronSchedule(cron="0 5 * * *"), active=True, slug="extra")
    client.create_deployment_schedules(night.deployment, [extra])
    set_schedule(client, night, cron="0 4 * * *", timezone="UTC")
    (only,) = client.read_deployment(night.deployment).schedules
    assert (only.slug, only.active, only.schedule) == (
        "nightly",
        True,
        ClientCronSchedule(cron="0 4 * * *", timezone="UTC"),
    )


def test_a_line_without_deployments_is_named_with_the_remedy(client: SyncPrefectClient) -> None:
    with pytest.raises(BadInputError, match="run `everlearn deploy --line nowhere`"):
        find_night(client, line="nowhere")
