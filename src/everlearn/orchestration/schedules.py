"""Schedules of the nights of a line: read, set, pause and resume them, and start a night now.

    with get_client(sync_client=True) as client:
        night = find_night(client, line="math")
        set_schedule(client, night, cron="30 2 * * *", timezone="Europe/Berlin")

The schedules are Prefect's. In a time zone with daylight saving there is one night a day: a night in the skipped hour
starts before it, a night in the repeated hour starts in the first of the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    DeploymentFilterTags,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkerFilter,
    WorkerFilterStatus,
)
from prefect.client.schemas.objects import StateType, WorkerStatus
from prefect.client.schemas.schedules import CronSchedule
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from pydantic import ValidationError

from everlearn.errors import BadInputError
from everlearn.orchestration.events_client import AWAITED, event_body

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

SLUG = "nightly"
TAG = "everlearn"
"""The tag of every deployment of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledNight:
    """The deployment that runs the nights of a line.

    `cron` is None if there is no cron schedule; `next_runs` are in UTC; `workers` counts the online workers of each
    pool on which deployments of the line run.
    """

    line: str
    deployment: UUID
    cron: str | None
    timezone: str | None
    paused: bool
    next_runs: tuple[datetime, ...] = ()
    workers: dict[str, int] = field(default_factory=dict)

    @property
    def pools_without_workers(self) -> tuple[str, ...]:
        """Pools of the line without an online worker."""
        return tuple(pool for pool, online in self.workers.items() if not online)

    def facts(self) -> dict[str, Any]:
        """Return the JSON output of `everlearn schedule show`."""
        schedule = {"line": self.line, "cron": self.cron, "timezone": self.timezone, "paused": self.paused}
        return schedule | {"next": [moment.isoformat() for moment in self.next_runs], "workers": self.workers}


def line_tag(line: str) -> str:
    """Return the tag of every deployment of a line."""
    return f"line:{line}"


def find_night(client: SyncPrefectClient, *, line: str) -> ScheduledNight:
    """Return the nightly deployment of a line. BadInputError if the line was never deployed."""
    deployment = _read_deployment(client, line)
    schedule = next((each for each in deployment.schedules if each.slug in {SLUG, None}), None)
    cron = schedule.schedule if schedule and isinstance(schedule.schedule, CronSchedule) else None
    return ScheduledNight(
        line=line,
        deployment=deployment.id,
        cron=cron.cron if cron else None,
        timezone=(cron.timezone or "UTC") if cron else None,
        paused=deployment.paused or schedule is None or not schedule.active,
        next_runs=_read_next_runs(client, deployment.id),
        workers={pool: _count_online(client, pool) for pool in _pools(client, line)},
    )


def parse_schedule(cron: object, timezone: object) -> CronSchedule:
    """Return a cron schedule. BadInputError if the expression or the time zone is invalid."""
    try:
        return CronSchedule.model_validate({"cron": cron, "timezone": timezone})
    except (ValidationError, ValueError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise BadInputError(f"{cron!r} in {timezone!r} is not a valid schedule: {reason}") from None


def set_schedule(client: SyncPrefectClient, night: ScheduledNight, *, cron: str, timezone: str) -> None:
    """Replace the schedules of a line's nights. BadInputError if the new one is invalid."""
    schedule = parse_schedule(cron, timezone)
    for previous in client.read_deployment(night.deployment).schedules:
        client.delete_deployment_schedule(night.deployment, previous.id)
    client.create_deployment_schedules(
        night.deployment, [DeploymentScheduleCreate(schedule=schedule, active=not night.paused, slug=SLUG)]
    )


def set_paused(client: SyncPrefectClient, night: ScheduledNight, *, paused: bool) -> None:
    """Pause or resume the scheduled nights of a line."""
    (client.pause_deployment if paused else client.resume_deployment)(night.deployment)
    if not paused:
        emit_awaited(client)


def emit_awaited(client: SyncPrefectClient) -> None:
    """Emit the event `everlearn.night.awaited` for each line whose nights are not paused.

    It starts the 26 hours after which a line without a verdict raises an alarm; for a line that is awaited already, the
    26 hours go on. The event is emitted for all lines, because the server forgets what an automation waits for when the
    automation is changed.
    """
    deployments = client.read_deployments(
        flow_filter=FlowFilter(name=FlowFilterName(any_=["run-cycle"])),
        deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG])),
    )
    lines = [each.name.removeprefix(f"{SLUG}-") for each in deployments if not each.paused]
    events = [event_body(AWAITED, line=line, payload={}) for line in lines]
    client.request("POST", "/events", json=events).raise_for_status()


def start_night(client: SyncPrefectClient, night: ScheduledNight) -> UUID:
    """Create a run of the nightly deployment that is due now; return the run's id."""
    return client.create_flow_run_from_deployment(night.deployment, tags=["asked for"]).id


def _read_deployment(client: SyncPrefectClient, line: str) -> DeploymentResponse:
    try:
        return client.read_deployment_by_name(f"run-cycle/nightly-{line}")
    except ObjectNotFound:
        raise BadInputError(f"no nights of line {line!r} are deployed; run `everlearn deploy --line {line}`") from None


def _pools(client: SyncPrefectClient, line: str) -> list[str]:
    """Return the work pools on which deployments of the line run."""
    of_line = DeploymentFilter(tags=DeploymentFilterTags(all_=[line_tag(line)]))
    deployments = client.read_deployments(deployment_filter=of_line)
    return sorted({each.work_pool_name for each in deployments if each.work_pool_name})


def _count_online(client: SyncPrefectClient, pool: str) -> int:
    """Count the workers of a pool that sent a heartbeat within the last 90 s."""
    online = WorkerFilter(status=WorkerFilterStatus(any_=[WorkerStatus.ONLINE]))
    return len(client.read_workers_for_work_pool(pool, worker_filter=online))


def _read_next_runs(client: SyncPrefectClient, deployment: UUID) -> tuple[datetime, ...]:
    """Return the start times, in UTC, of the next three runs that the server has scheduled."""
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        ),
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=3,
    )
    return tuple(run.expected_start_time.astimezone(UTC) for run in runs if run.expected_start_time)
