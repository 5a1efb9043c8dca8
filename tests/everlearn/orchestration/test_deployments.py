"""Deployments as code, and when nights begin: against a real Prefect server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import TERMINAL_STATES
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import PrefectHTTPStatusError
from prefect.server.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Scheduled

from everlearn.cycle.record import current_cycle
from everlearn.cycle.workspace import Workspace
from everlearn.errors import BadInputError, ServiceError
from everlearn.orchestration.api_client import connect
from everlearn.orchestration.deployments import DeploymentPlan, apply, compare, read_plan
from everlearn.orchestration.events_client import ARRIVED
from everlearn.orchestration.schedules import ScheduledNight, find_night, set_paused, set_schedule, start_night
from everlearn.registry.connect import open_registry, open_store
from tests.support.night import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

    from tests.support.prefect import Nights

FILE = ROOT / "infra" / "prefect.yaml"
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture(scope="module")
def client(prefect_url: str) -> Iterator[SyncPrefectClient]:
    with temporary_settings({PREFECT_API_URL: prefect_url}), get_client(sync_client=True) as found:
        yield found


@pytest.fixture
def plan(tmp_path: Path) -> DeploymentPlan:
    """Of a line that no other test knows."""
    return read_plan(FILE, line=tmp_path.name.replace("_", "-").lower(), directory=ROOT)


@pytest.fixture(scope="module")
def deployed(client: SyncPrefectClient) -> DeploymentPlan:
    """A line that is there already: applying takes seconds."""
    plan = read_plan(FILE, line="deployed", directory=ROOT)
    apply(plan, client)
    return plan


def test_what_changes_is_shown_before_and_repeating_it_changes_nothing(
    plan: DeploymentPlan, client: SyncPrefectClient
) -> None:
    shown = [str(change) for change in compare(plan, client)]
    assert [each for each in shown if "run-cycle" in each] == [f"+ run-cycle/nightly-{plan.line}"]
    assert all(each.startswith("+ ") for each in shown)
    apply(plan, client)
    assert compare(plan, client) == ()
    apply(plan, client)
    assert compare(plan, client) == ()


def test_what_people_wait_for_goes_before_what_waits_for_nobody(
    deployed: DeploymentPlan, client: SyncPrefectClient
) -> None:
    rank = {name: client.read_work_queue_by_name(name, work_pool_name="cpu").priority for name in ("first", "default")}
    assert rank["first"] < rank["default"]


def test_what_somebody_changed_on_the_server_is_shown_and_put_right(
    deployed: DeploymentPlan, client: SyncPrefectClient, tmp_path: Path
) -> None:
    other = tmp_path / "prefect.yaml"
    other.write_text(
        FILE.read_text().replace("Measure a version on a suite.", "Measured.").replace("limit: 1", "limit: 2")
    )
    changed = read_plan(other, line=deployed.line, directory=ROOT)
    assert [str(change) for change in compare(changed, client)] == [
        f"~ run-cycle/nightly-{deployed.line}: runs at once: 1 → 2",
        f"~ ingest/ingest-{deployed.line}: runs at once: 1 → 2",
        f"~ evaluate/evaluate-{deployed.line}: description: Measure a version on a suite. → Measured.",
        f"~ housekeeping/housekeeping-{deployed.line}: runs at once: 1 → 2",
    ]
    apply(changed, client)
    assert compare(changed, client) == ()


def test_automations_are_made_once_and_mended_where_somebody_changed_them(
    deployed: DeploymentPlan, client: SyncPrefectClient
) -> None:
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


def test_a_trigger_that_somebody_removed_is_shown_and_put_back(
    deployed: DeploymentPlan, client: SyncPrefectClient
) -> None:
    name = f"ingest-{deployed.line}__automation_1"
    (there,) = client.read_automations_by_name(name)
    client.delete_automation(there.id)
    assert f"+ automation {name}" in [str(change) for change in compare(deployed, client)]
    apply(deployed, client)
    (again,) = client.read_automations_by_name(name)
    assert ARRIVED in again.trigger.model_dump_json(), "for problems that have arrived"
    assert compare(deployed, client) == ()


def test_times_that_were_set_stay_when_the_line_is_deployed_again(
    deployed: DeploymentPlan, client: SyncPrefectClient
) -> None:
    night = find_night(client, line=deployed.line)
    assert (night.cron, night.timezone, night.paused) == ("0 2 * * *", "UTC", False)
    set_schedule(client, night, cron="30 2 * * *", timezone="Europe/Berlin")
    set_paused(client, night, paused=True)
    apply(deployed, client)
    night = find_night(client, line=deployed.line)
    assert (night.cron, night.timezone, night.paused) == ("30 2 * * *", "Europe/Berlin", True)
    set_paused(client, night, paused=False)
    assert not find_night(client, line=deployed.line).paused


def test_a_night_can_be_asked_for_now(deployed: DeploymentPlan, client: SyncPrefectClient) -> None:
    run = client.read_flow_run(start_night(client, find_night(client, line=deployed.line)))
    client.delete_flow_run(run.id)  # another test's workers would take it
    assert run.work_pool_name == "cpu"
    assert f"line:{deployed.line}" in run.tags


@pytest.mark.parametrize(("cron", "zone"), [("daily", "UTC"), ("0 2 * *", "UTC"), ("0 2 * * *", "Mars/Olympus")])
def test_what_is_no_time_is_refused_before_anything_is_changed(
    deployed: DeploymentPlan, client: SyncPrefectClient, cron: str, zone: str
) -> None:
    night = find_night(client, line=deployed.line)
    with pytest.raises(BadInputError, match="is no time at which nights can begin"):
        set_schedule(client, night, cron=cron, timezone=zone)
    assert replace(find_night(client, line=deployed.line), next_runs=night.next_runs) == night


def test_a_line_that_was_never_deployed_is_named_with_the_remedy(client: SyncPrefectClient) -> None:
    with pytest.raises(BadInputError, match="run `everlearn deploy --line nowhere`"):
        find_night(client, line="nowhere")


@pytest.mark.parametrize("text", ["a: [", "deployments: 3", "deployments: [{name: x}]", ""])
def test_a_file_without_deployments_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text(text)
    with pytest.raises(BadInputError, match="is no list of deployments"):
        read_plan(file, line="a", directory=tmp_path)
    with pytest.raises(BadInputError, match="cannot be read"):
        read_plan(tmp_path, line="a", directory=tmp_path)


@pytest.mark.parametrize(
    ("right", "wrong"), [('cron: "0 2 * * *"', "cron: daily"), ("timezone: UTC", "timezone: Mars/Olympus")]
)
def test_times_that_are_none_are_named_before_anything_is_applied(tmp_path: Path, right: str, wrong: str) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text(FILE.read_text().replace(right, wrong))
    with pytest.raises(BadInputError, match=rf"{file}: run-cycle/nightly-a: .* is no time at which nights can begin"):
        read_plan(file, line="a", directory=tmp_path)


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        ("run-cycle/nightly", {"data": 3}, "3 is not valid under any of the given schemas"),
        ("run-cycle/nightly", {"dta": "inbox"}, "'dta' was unexpected"),
        ("evaluate/evaluate", {"version": ["v0001"]}, "['v0001'] is not of type 'string'"),
        ("roll-back/roll-back", {}, "'reason' is a required property"),
        ("promote/promote", {"version": "v0001", "reason": "x", "wait_s": "long"}, "'long' is not of type 'number'"),
        ("housekeeping/housekeeping", {"days": 3}, "'days' was unexpected"),
    ],
)
def test_a_run_with_wrong_parameters_is_refused_at_once(
    deployed: DeploymentPlan, client: SyncPrefectClient, name: str, config: dict[str, Any], said: str
) -> None:
    found = client.read_deployment_by_name(f"{name}-{deployed.line}")
    with pytest.raises(PrefectHTTPStatusError) as raised:
        client.create_flow_run_from_deployment(found.id, parameters={"config": config})
    assert said in str(raised.value)


def test_a_server_that_is_older_is_refused_by_name() -> None:
    class Older(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'"3.7.0"')

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Older) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with (
            temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{server.server_port}/api"}),
            pytest.raises(ServiceError, match=r"is version 3.7.0, and here is 3\.\d+\.\d+: a server must not be older"),
            connect(),
        ):
            pass
        server.shutdown()


def test_without_a_server_the_remedy_is_named() -> None:
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(ServiceError, match="run `everlearn up`"),
        connect() as client,
    ):
        find_night(client, line="a")
    with (
        temporary_settings({PREFECT_API_URL: None}),
        pytest.raises(ServiceError, match="no Prefect server runs here"),
        connect(),
    ):
        pass


@given(minutes=st.integers(0, 24 * 60 - 1), spring=st.booleans())
def test_daylight_saving_neither_skips_nor_doubles_a_night(minutes: int, *, spring: bool) -> None:
    begin = datetime(2026, 3, 28, tzinfo=BERLIN) if spring else datetime(2026, 10, 24, tzinfo=BERLIN)
    cron = f"{minutes % 60} {minutes // 60} * * *"
    times = CronSchedule(cron=cron, timezone="Europe/Berlin")
    nights = asyncio.run(times.get_dates(4, start=begin - timedelta(minutes=1)))
    days = [each.astimezone(BERLIN).date() for each in nights]
    assert [day - days[0] for day in days] == [timedelta(days=number) for number in range(4)]


@pytest.fixture
def night(
    plan: DeploymentPlan, client: SyncPrefectClient, nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ScheduledNight]:
    """A line that is deployed where a tiny night can run; nothing of it is left to another test's workers."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", nights.server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", nights.server.secret_key)
    apply(read_plan(FILE, line=plan.line, directory=nights.folder), client)
    settings = nights.settings(line=plan.line).model_dump(mode="json")
    (nights.folder / "params.yaml").write_text(json.dumps(settings), encoding="utf-8")
    inbox = nights.folder / ".everlearn" / "inbox" / plan.line
    inbox.parent.mkdir(parents=True)
    inbox.symlink_to(nights.data)
    found = find_night(client, line=plan.line)
    yield found
    mine = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[f"line:{plan.line}"]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(not_any_=sorted(TERMINAL_STATES))),
    )
    for name in plan.deployments:  # first, so that what has crashed with a worker is not begun again
        client.delete_deployment(client.read_deployment_by_name(name).id)
    for run in client.read_flow_runs(flow_run_filter=mine):
        client.delete_flow_run(run.id)


@pytest.mark.slow
def test_a_run_that_no_worker_takes_is_told_within_a_minute(
    deployed: DeploymentPlan, client: SyncPrefectClient
) -> None:
    wanted = client.read_automations_by_name("everlearn: a run that no worker takes")[0]
    due = time.monotonic()
    run = start_night(client, find_night(client, line=deployed.line))
    try:
        while not told(client, wanted.id, run):
            assert time.monotonic() < due + 60
            time.sleep(1)
    finally:
        client.delete_flow_run(run)


def told(client: SyncPrefectClient, automation: UUID, run: UUID) -> bool:
    """Whether that automation was set off by something that happened to the run."""
    asked = {"filter": {"event": {"name": ["prefect.automation.triggered"]}}}
    found = client._client.post("/events/filter", json=asked).json()["events"]
    about = [each for each in found if each["resource"]["prefect.resource.id"].endswith(str(automation))]
    return any(str(run) in json.dumps(each) for each in about)


@pytest.mark.slow
def test_nights_that_were_missed_are_caught_up_once(
    night: ScheduledNight, client: SyncPrefectClient, nights: Nights
) -> None:
    due: list[State[Any]] = [
        Scheduled(scheduled_time=datetime.now(tz=UTC) - timedelta(days=days)) for days in (3, 2, 1)
    ]
    runs = [client.create_flow_run_from_deployment(night.deployment, state=each).id for each in due]
    wait(lambda: ended(client, runs), worker=nights)
    names = [client.read_flow_run(run).state_name for run in runs]
    assert names == ["Completed"] * 3
    assert len(history(nights, night)) == 1, "one night, however many were missed"


@pytest.mark.slow
def test_a_schedule_fires_and_the_night_climbs_on_the_gpu_pool(
    night: ScheduledNight, client: SyncPrefectClient, nights: Nights
) -> None:
    set_schedule(client, night, cron="* * * * *", timezone="UTC")
    wait(lambda: bool(history(nights, night)), worker=nights)
    assert history(nights, night)[0] in {"published", "rejected"}, "a night with its verdict"
    (climb,) = climbs(client, night)
    assert (climb.work_pool_name, climb.state_name) == ("gpu", "Completed")


@pytest.mark.slow
def test_a_night_that_is_killed_goes_on_by_itself_and_ends_once(
    night: ScheduledNight, client: SyncPrefectClient, nights: Nights
) -> None:
    run = start_night(client, night)
    killed: list[int] = []

    def once_it_has_ended() -> bool:
        if not killed and (process := process_of(run)) and is_open(nights, night):
            os.kill(process, signal.SIGKILL)
            killed.append(process)
        return bool(history(nights, night))

    wait(once_it_has_ended, worker=nights)
    assert killed, "the night was over before it could be killed"
    runs = client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[night.deployment])),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
    )
    assert [each.state_name for each in runs if each.id == run] == ["Crashed"]
    assert len(history(nights, night)) == 1, "one night, with one verdict"
    assert all(each.state_type in TERMINAL_STATES for each in climbs(client, night)), "nobody climbs for nothing"


@pytest.mark.slow
def test_a_climb_that_is_killed_is_begun_again_for_the_same_night(
    night: ScheduledNight, client: SyncPrefectClient, nights: Nights
) -> None:
    run = start_night(client, night)
    killed: list[int] = []

    def once_it_has_ended() -> bool:
        begun = [process for each in climbs(client, night) if (process := process_of(each.id))]
        if begun and not killed and "ladder" in work(nights, night):
            os.kill(begun[0], signal.SIGKILL)
            killed.extend(begun)
        return bool(history(nights, night)) and ended(client, [run])

    wait(once_it_has_ended, worker=nights)
    assert killed, "the climb was over before it could be killed"
    assert client.read_flow_run(run).state_name == "Completed", "the night itself went on"
    assert sorted(each.state_name or "" for each in climbs(client, night)) == ["Completed", "Crashed"]
    assert len(history(nights, night)) == 1


@pytest.mark.slow
def test_a_night_whose_workers_are_stopped_goes_on_with_the_next_ones(
    night: ScheduledNight, client: SyncPrefectClient, nights: Nights
) -> None:
    run = start_night(client, night)
    wait(lambda: "ladder" in work(nights, night), worker=nights)
    assert client.read_flow_run(run).state_name == "Crashed", "whoever stops a worker says what died with it"
    wait(lambda: bool(history(nights, night)), worker=nights)
    assert len(history(nights, night)) == 1


def climbs(client: SyncPrefectClient, night: ScheduledNight) -> list[FlowRun]:
    """The runs of the line that climb."""
    found = client.read_deployment_by_name(f"climb/climb-{night.line}")
    return client.read_flow_runs(deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[found.id])))


def work(nights: Nights, night: ScheduledNight) -> tuple[str, ...]:
    """What the open night has kept so far."""
    store = open_store(nights.settings(line=night.line).store)
    found = current_cycle(store, night.line)
    return Workspace(store, night.line, found.key).names() if found else ()


def process_of(run: UUID) -> int | None:
    """The process in which a worker runs that flow run."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(run).encode() in (path / "environ").read_bytes():
                return int(path.name)
    return None


def is_open(nights: Nights, night: ScheduledNight) -> bool:
    """Whether the night has frozen its inputs."""
    return current_cycle(open_store(nights.settings(line=night.line).store), night.line) is not None


def history(nights: Nights, night: ScheduledNight) -> list[str]:
    state = open_registry(nights.settings(line=night.line)).state()
    return [str(event.kind) for event in state.history]


def ended(client: SyncPrefectClient, runs: list[UUID]) -> bool:
    states = [client.read_flow_run(run).state for run in runs]
    return all(state is not None and state.is_final() for state in states)


def wait(condition: Callable[[], bool], *, worker: Nights) -> None:
    """Until it is so, with workers of both pools at work."""
    environ = os.environ | {
        "PREFECT_API_URL": worker.prefect_url,
        "PREFECT_HOME": str(worker.folder / "prefect"),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-c", "from everlearn.cli import main; main()", "worker"]
    log = worker.folder / "worker.log"
    with (
        log.open("a") as out,
        subprocess.Popen(command, cwd=worker.folder, env=environ, stdout=out, stderr=out) as process,
    ):
        try:
            deadline = time.monotonic() + 240
            while not condition():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.5)
        finally:
            process.terminate()
