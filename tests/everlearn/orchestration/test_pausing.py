"""Pausing, setting, resuming and deploying in any order, on a real Prefect server."""

from __future__ import annotations

import json
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from everlearn.local.process import wait_until
from everlearn.orchestration.cron_times import next_times, parse_schedule
from everlearn.orchestration.deployments import DeploymentPlan, apply, compare, read_plan
from everlearn.orchestration.direct_client import send
from everlearn.orchestration.events_client import AWAITED
from everlearn.orchestration.schedules import find_night, set_paused, set_schedule
from tests.support.night import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.orchestration import SyncPrefectClient

LINE = "pausing"
NAME = f"run-cycle/nightly-{LINE}"
TIMES = st.sampled_from([("0 2 * * *", "UTC"), ("30 2 * * *", "Europe/Berlin"), ("15 4 * * 1", "America/Havana")])


@pytest.fixture(scope="module")
def client(prefect_url: str) -> Iterator[SyncPrefectClient]:
    with temporary_settings({PREFECT_API_URL: prefect_url}), get_client(sync_client=True) as found:
        yield found


@pytest.fixture(scope="module")
def plan(client: SyncPrefectClient) -> DeploymentPlan:
    plan = read_plan(ROOT / "infra" / "prefect.yaml", line=LINE, directory=ROOT)
    apply(plan, client)
    return plan


class Pausing(RuleBasedStateMachine):
    """Everlearn's commands, and the two switches of the dashboard. `switched_off`: the schedule's own switch."""

    client: SyncPrefectClient

    @initialize()
    def start(self) -> None:
        self.night = find_night(self.client, line=LINE)
        self.set_(("0 2 * * *", "UTC"))
        self.resume()

    @rule()
    def pause(self) -> None:
        set_paused(self.client, self.night, paused=True)
        self.paused = True

    @rule(times=TIMES)
    def set_(self, times: tuple[str, str]) -> None:
        set_schedule(self.client, self.night, cron=times[0], timezone=times[1])
        self.times, self.switched_off = times, False

    @rule()
    def resume(self) -> None:
        set_paused(self.client, self.night, paused=False)
        self.paused = self.switched_off = False

    @precondition(lambda self: not self.switched_off)
    @rule()
    def switch_off_in_the_dashboard(self) -> None:
        path = f"/deployments/{self.night.deployment}/schedules"
        (schedule,) = send(self.client, "GET", path)
        send(self.client, "PATCH", f"{path}/{schedule['id']}", {"active": False})
        self.switched_off = True

    @invariant()
    def nights_start_unless_paused(self) -> None:
        starts = not self.paused and not self.switched_off
        self.let_the_server_schedule()
        night = find_night(self.client, line=LINE)
        assert (night.cron, night.timezone, night.paused) == (*self.times, not starts)
        assert night.next_runs[:2] == (next_times(parse_schedule(*self.times), n=2) if starts else ())

    def let_the_server_schedule(self) -> None:
        """Schedule runs as the server's own loop does, which takes a minute: only for deployments that are not paused."""
        if not send(self.client, "GET", f"/deployments/{self.night.deployment}")["paused"]:
            send(self.client, "POST", f"/deployments/{self.night.deployment}/schedule", {"min_runs": 2})


def test_pausing_and_setting_in_any_order(plan: DeploymentPlan, client: SyncPrefectClient) -> None:
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(Pausing, "client", client, raising=False)
        run_state_machine_as_test(Pausing, settings=settings(max_examples=4, stateful_step_count=8))
    assert compare(plan, client) == () or find_night(client, line=LINE).paused


def test_a_line_paused_set_and_resumed_has_nights(plan: DeploymentPlan, client: SyncPrefectClient) -> None:
    night = find_night(client, line=LINE)
    set_paused(client, night, paused=True)
    set_schedule(client, night, cron="30 2 * * *", timezone="Europe/Berlin")
    set_paused(client, night, paused=False)
    assert not find_night(client, line=LINE).paused
    (schedule,) = send(client, "GET", f"/deployments/{night.deployment}/schedules")
    assert schedule["active"], "the schedule's own switch is on, too"
    assert compare(plan, client) == ()


@pytest.mark.parametrize("fault", ["switched off", "none"])
def test_deploy_shows_and_mends_a_line_without_nights(
    plan: DeploymentPlan, client: SyncPrefectClient, fault: str
) -> None:
    night = find_night(client, line=LINE)
    set_schedule(client, night, cron="0 2 * * *", timezone="UTC")
    set_paused(client, night, paused=False)
    path = f"/deployments/{night.deployment}/schedules"
    (schedule,) = send(client, "GET", path)
    if fault == "none":
        send(client, "DELETE", f"{path}/{schedule['id']}")
    else:
        send(client, "PATCH", f"{path}/{schedule['id']}", {"active": False})
    assert [str(change) for change in compare(plan, client)] == [f"~ {NAME}: schedule: {fault} → active"]
    apply(plan, client)
    assert compare(plan, client) == ()
    assert (find_night(client, line=LINE).cron, find_night(client, line=LINE).paused) == ("0 2 * * *", False)


def test_deploy_leaves_a_paused_line_paused(plan: DeploymentPlan, client: SyncPrefectClient) -> None:
    set_paused(client, find_night(client, line=LINE), paused=True)
    assert compare(plan, client) == ()
    set_paused(client, find_night(client, line=LINE), paused=False)


def test_no_night_is_awaited_of_a_line_whose_schedule_is_switched_off(
    plan: DeploymentPlan, client: SyncPrefectClient
) -> None:
    night = find_night(client, line=LINE)
    set_schedule(client, night, cron="0 2 * * *", timezone="UTC")
    path = f"/deployments/{night.deployment}/schedules"
    (schedule,) = send(client, "GET", path)
    send(client, "PATCH", f"{path}/{schedule['id']}", {"active": False})
    since = datetime.now(tz=UTC)
    apply(read_plan(ROOT / "infra" / "prefect.yaml", line="resumed", directory=ROOT), client)
    other = find_night(client, line="resumed")
    set_schedule(client, other, cron="0 2 * * *", timezone="UTC")
    set_paused(client, other, paused=False)
    assert wait_until(lambda: is_awaited(client, "resumed", since=since), timeout_s=30)
    assert not is_awaited(client, LINE, since=since)
    apply(plan, client)


def is_awaited(client: SyncPrefectClient, line: str, *, since: datetime) -> bool:
    """Return whether an event since then says that a night of the line is awaited."""
    events = send(client, "POST", "/events/filter", {"filter": {"event": {"name": [AWAITED]}}})["events"]
    return any(
        line in json.dumps(event["resource"]) for event in events if datetime.fromisoformat(event["occurred"]) > since
    )
