"""When the nights of a line begin: read it, set it, hold it, and begin one now.

    with get_client(sync_client=True) as client:
        night = find_night(client, line="math")
        set_times(client, night, cron="30 2 * * *", timezone="Europe/Berlin")

A schedule is Prefect's own. In a time zone with daylight saving a night that would begin in the hour that is left out
begins before it, and one in the hour that comes twice begins in the first: one night a day, always.
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
from everlearn.orchestration.events_client import AWAITED, message

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

SLUG = "nightly"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledNight:
    """The deployment that runs the nights of a line.

    `held` is whether its schedule is paused; `coming` in UTC; `workers` counts those online in each pool of the line.
    """

    line: str
    deployment: UUID
    cron: str | None
    timezone: str | None
    held: bool
    coming: tuple[datetime, ...] = ()
    workers: dict[str, int] = field(default_factory=dict)

    @property
    def unattended(self) -> tuple[str, ...]:
        """Pools of the line for which no worker is there."""
        return tuple(pool for pool, there in self.workers.items() if not there)

    def facts(self) -> dict[str, Any]:
        """For programs."""
        told = {"line": self.line, "cron": self.cron, "timezone": self.timezone, "paused": self.held}
        return told | {"next": [each.isoformat() for each in self.coming], "workers": self.workers}


def find_night(client: SyncPrefectClient, *, line: str) -> ScheduledNight:
    """The nightly deployment of a line. BadInputError if it was never deployed."""
    found = _deployment(client, line)
    schedule = next((each for each in found.schedules if each.slug in {SLUG, None}), None)
    cron = schedule.schedule if schedule and isinstance(schedule.schedule, CronSchedule) else None
    return ScheduledNight(
        line=line,
        deployment=found.id,
        cron=cron.cron if cron else None,
        timezone=(cron.timezone or "UTC") if cron else None,
        held=found.paused or schedule is None or not schedule.active,
        coming=_coming(client, found.id),
        workers={pool: _online(client, pool) for pool in _pools(client, line)},
    )


def read_times(cron: object, timezone: object) -> CronSchedule:
    """Those times as Prefect keeps them. BadInputError if they are none."""
    try:
        return CronSchedule.model_validate({"cron": cron, "timezone": timezone})
    except (ValidationError, ValueError) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise BadInputError(f"{cron!r} in {timezone!r} is no time at which nights can begin: {said}") from None


def set_times(client: SyncPrefectClient, night: ScheduledNight, *, cron: str, timezone: str) -> None:
    """Let nights begin then, and no longer at other times. BadInputError if these are no times."""
    times = read_times(cron, timezone)
    before = client.read_deployment(night.deployment).schedules
    for each in before:
        client.delete_deployment_schedule(night.deployment, each.id)
    client.create_deployment_schedules(
        night.deployment, [DeploymentScheduleCreate(schedule=times, active=not night.held, slug=SLUG)]
    )


def hold(client: SyncPrefectClient, night: ScheduledNight, *, held: bool) -> None:
    """Let no night begin by itself from now on; or let them again."""
    (client.pause_deployment if held else client.resume_deployment)(night.deployment)
    if not held:
        await_nights(client)


def await_nights(client: SyncPrefectClient) -> None:
    """Say of each line whose nights are not held that a verdict is awaited: 26 hours without one raise an alarm.

    What is awaited already stays so since the first word, and a verdict begins the next 26 hours. All lines are named,
    because the server forgets for which of them an automation waits when that automation is changed.
    """
    nightly = DeploymentFilter(tags=DeploymentFilterTags(all_=["everlearn"]))
    found = client.read_deployments(
        flow_filter=FlowFilter(name=FlowFilterName(any_=["run-cycle"])), deployment_filter=nightly
    )
    lines = [each.name.removeprefix(f"{SLUG}-") for each in found if not each.paused]
    told = [message(AWAITED, line=line, payload={}) for line in lines]
    client.request("POST", "/events", json=told).raise_for_status()


def begin(client: SyncPrefectClient, night: ScheduledNight) -> UUID:
    """Let a night begin now; the id of its run."""
    return client.create_flow_run_from_deployment(night.deployment, tags=["asked for"]).id


def _deployment(client: SyncPrefectClient, line: str) -> DeploymentResponse:
    try:
        return client.read_deployment_by_name(f"run-cycle/nightly-{line}")
    except ObjectNotFound:
        raise BadInputError(f"no nights of line {line!r} are deployed; run `everlearn deploy --line {line}`") from None


def _pools(client: SyncPrefectClient, line: str) -> list[str]:
    """The pools on which deployments of a line run."""
    mine = DeploymentFilter(tags=DeploymentFilterTags(all_=[f"line:{line}"]))
    found = client.read_deployments(deployment_filter=mine)
    return sorted({each.work_pool_name for each in found if each.work_pool_name})


def _online(client: SyncPrefectClient, pool: str) -> int:
    """How many workers have given a sign of life to a pool within the last minute and a half."""
    mine = WorkerFilter(status=WorkerFilterStatus(any_=[WorkerStatus.ONLINE]))
    return len(client.read_workers_for_work_pool(pool, worker_filter=mine))


def _coming(client: SyncPrefectClient, deployment: UUID) -> tuple[datetime, ...]:
    """The next moments for which the server has written down a run."""
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        ),
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=3,
    )
    return tuple(each.expected_start_time.astimezone(UTC) for each in runs if each.expected_start_time)
