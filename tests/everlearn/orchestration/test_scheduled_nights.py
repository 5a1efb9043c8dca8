"""Scheduled nights with real workers: missed, killed and stopped ones. All of it is slow."""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import TERMINAL_STATES, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Scheduled

from everlearn.orchestration.deployments import apply, read_plan
from everlearn.orchestration.run_records import find_run_processes
from everlearn.orchestration.schedules import ScheduledNight, find_night, set_schedule, start_night
from tests.support.night import ROOT
from tests.support.scheduled_nights import finished_steps, history, is_open, run_workers_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

    from tests.support.prefect import Nights

FILE = ROOT / "infra" / "prefect.yaml"


@pytest.fixture(scope="module")
def client(prefect_url: str) -> Iterator[SyncPrefectClient]:
    with temporary_settings({PREFECT_API_URL: prefect_url}), get_client(sync_client=True) as found:
        yield found


@pytest.fixture
def night(
    client: SyncPrefectClient, nights: Nights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ScheduledNight]:
    """A deployed line where a tiny night can run; its deployments and runs are deleted afterwards."""
    line = tmp_path.name.replace("_", "-").lower()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", nights.server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", nights.server.secret_key)
    plan = read_plan(FILE, line=line, directory=nights.folder)
    apply(plan, client)
    settings = nights.settings(line=line).model_dump(mode="json")
    (nights.folder / "params.yaml").write_text(json.dumps(settings), encoding="utf-8")
    inbox = nights.folder / ".everlearn" / "inbox" / line
    inbox.parent.mkdir(parents=True)
    inbox.symlink_to(nights.data)
    yield find_night(client, line=line)
    unfinished = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[f"line:{line}"]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(not_any_=sorted(TERMINAL_STATES))),
    )
    # The deployments go first: the automation for crashed runs would start new ones.
    for name in plan.deployments:
        client.delete_deployment(client.read_deployment_by_name(name).id)
    for run in client.read_flow_runs(flow_run_filter=unfinished):
        client.delete_flow_run(run.id)


@pytest.mark.slow
def test_a_run_without_a_worker_raises_an_event_within_a_minute(
    night: ScheduledNight, client: SyncPrefectClient
) -> None:
    automation = client.read_automations_by_name("everlearn: a run that no worker takes")[0]
    deadline = time.monotonic() + 60
    run = start_night(client, night)
    while not was_triggered(client, automation.id, run):
        assert time.monotonic() < deadline
        time.sleep(1)


def was_triggered(client: SyncPrefectClient, automation: UUID, run: UUID) -> bool:
    """Return whether an event of the run triggered the automation."""
    query = {"filter": {"event": {"name": ["prefect.automation.triggered"]}}}
    events = client._client.post("/events/filter", json=query).json()["events"]
    triggered = [event for event in events if event["resource"]["prefect.resource.id"].endswith(str(automation))]
    return any(str(run) in json.dumps(event) for event in triggered)


@pytest.mark.slow
def test_missed_nights_are_caught_up_once(night: ScheduledNight, client: SyncPrefectClient, nights: Nights) -> None:
    due: list[State[Any]] = [
        Scheduled(scheduled_time=datetime.now(tz=UTC) - timedelta(days=days)) for days in (3, 2, 1)
    ]
    runs = [client.create_flow_run_from_deployment(night.deployment, state=each).id for each in due]
    run_workers_until(lambda: have_ended(client, runs), nights=nights)
    names = [client.read_flow_run(run).state_name for run in runs]
    assert names[:2] == ["Skipped"] * 2
    assert names[2] == "Rejected" or str(names[2]).startswith("Published"), "the name of its verdict"
    assert len(history(nights, night)) == 1, "one night, however many were missed"


@pytest.mark.slow
def test_a_scheduled_night_trains_on_the_gpu_pool(
    night: ScheduledNight, client: SyncPrefectClient, nights: Nights
) -> None:
    set_schedule(client, night, cron="* * * * *", timezone="UTC")
    run_workers_until(lambda: bool(history(nights, night)), nights=nights)
    assert history(nights, night)[0] in {"published", "rejected"}, "a night with its verdict"
    (climb,) = climbs(client, night)
    assert (climb.work_pool_name, climb.state_name) == ("gpu", "Completed")


@pytest.mark.slow
def test_a_second_night_ends_at_once_while_one_is_at_work(
    night: ScheduledNight, client: SyncPrefectClient, nights: Nights
) -> None:
    first, second, at_work = start_night(client, night), list[UUID](), list[bool]()

    def start_second_then_check() -> bool:
        if not second and is_open(nights, night):
            second.append(start_night(client, night))
        if not second or not have_ended(client, second):
            return False
        at_work.append(not have_ended(client, [first]))  # before the workers are stopped, which ends it as crashed
        return True

    run_workers_until(start_second_then_check, nights=nights)
    ended = client.read_flow_run(second[0])
    assert ended.state_name == "Skipped"
    assert "is at work" in str(ended.state and ended.state.message)
    assert at_work == [True], "the first night goes on"
    assert "Aborted submission" not in (nights.folder / "worker.log").read_text()


@pytest.mark.slow
def test_a_killed_night_is_resumed_and_ends_once(
    night: ScheduledNight, client: SyncPrefectClient, nights: Nights
) -> None:
    run = start_night(client, night)
    killed: list[int] = []

    def kill_then_check() -> bool:
        if not killed and (process := find_run_processes().get(str(run))) and is_open(nights, night):
            os.kill(process.pid, signal.SIGKILL)
            killed.append(process.pid)
        return bool(history(nights, night))

    run_workers_until(kill_then_check, nights=nights)
    assert killed, "the night was over before it could be killed"
    runs = client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[night.deployment])),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
    )
    assert [each.state_name for each in runs if each.id == run] == ["Crashed"]
    assert len(history(nights, night)) == 1, "one night, with one verdict"
    assert all(each.state_type in TERMINAL_STATES for each in climbs(client, night)), "no climb is left running"


@pytest.mark.slow
def test_a_killed_climb_is_restarted_for_the_same_night(
    night: ScheduledNight, client: SyncPrefectClient, nights: Nights
) -> None:
    run = start_night(client, night)
    killed: list[int] = []

    def kill_then_check() -> bool:
        processes = find_run_processes()
        begun = [processes[name].pid for each in climbs(client, night) if (name := str(each.id)) in processes]
        if begun and not killed and "ladder" in finished_steps(nights, night):
            os.kill(begun[0], signal.SIGKILL)
            killed.extend(begun)
        return bool(history(nights, night)) and have_ended(client, [run])

    run_workers_until(kill_then_check, nights=nights)
    assert killed, "the climb was over before it could be killed"
    assert client.read_flow_run(run).state_type is StateType.COMPLETED, "the night itself went on"
    assert sorted(each.state_name or "" for each in climbs(client, night)) == ["Completed", "Crashed"]
    assert len(history(nights, night)) == 1


@pytest.mark.slow
def test_a_night_continues_with_the_next_workers(
    night: ScheduledNight, client: SyncPrefectClient, nights: Nights
) -> None:
    run = start_night(client, night)
    run_workers_until(lambda: "ladder" in finished_steps(nights, night), nights=nights)
    assert client.read_flow_run(run).state_name == "Crashed", "a stopped worker reports the runs that died with it"
    run_workers_until(lambda: bool(history(nights, night)), nights=nights)
    assert len(history(nights, night)) == 1


def climbs(client: SyncPrefectClient, night: ScheduledNight) -> list[FlowRun]:
    """Return the climb runs of the line."""
    found = client.read_deployment_by_name(f"climb/climb-{night.line}")
    return client.read_flow_runs(deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[found.id])))


def have_ended(client: SyncPrefectClient, runs: list[UUID]) -> bool:
    states = [client.read_flow_run(run).state for run in runs]
    return all(state is not None and state.is_final() for state in states)
