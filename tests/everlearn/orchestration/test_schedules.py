"""Schedules of the nights of a line, on a real Prefect server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.client.orchestration import get_client
from prefect.server.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings

from everlearn.errors import BadInputError
from everlearn.orchestration.deployments import DeploymentPlan, apply, read_plan
from everlearn.orchestration.schedules import find_night, set_paused, set_schedule, start_night
from tests.support.night import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.orchestration import SyncPrefectClient

FILE = ROOT / "infra" / "prefect.yaml"
BERLIN = ZoneInfo("Europe/Berlin")


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


@pytest.mark.parametrize(("cron", "zone"), [("daily", "UTC"), ("0 2 * *", "UTC"), ("0 2 * * *", "Mars/Olympus")])
def test_an_invalid_schedule_changes_nothing(
    deployed: DeploymentPlan, client: SyncPrefectClient, cron: str, zone: str
) -> None:
    night = find_night(client, line=deployed.line)
    with pytest.raises(BadInputError, match="is not a valid schedule"):
        set_schedule(client, night, cron=cron, timezone=zone)
    assert replace(find_night(client, line=deployed.line), next_runs=night.next_runs) == night


def test_a_line_without_deployments_is_named_with_the_remedy(client: SyncPrefectClient) -> None:
    with pytest.raises(BadInputError, match="run `everlearn deploy --line nowhere`"):
        find_night(client, line="nowhere")


@given(minutes=st.integers(0, 24 * 60 - 1), spring=st.booleans())
def test_daylight_saving_neither_skips_nor_doubles_a_night(minutes: int, *, spring: bool) -> None:
    start = datetime(2026, 3, 28, tzinfo=BERLIN) if spring else datetime(2026, 10, 24, tzinfo=BERLIN)
    cron = f"{minutes % 60} {minutes // 60} * * *"
    times = CronSchedule(cron=cron, timezone="Europe/Berlin")
    nights = asyncio.run(times.get_dates(4, start=start - timedelta(minutes=1)))
    days = [each.astimezone(BERLIN).date() for each in nights]
    assert [day - days[0] for day in days] == [timedelta(days=number) for number in range(4)]
