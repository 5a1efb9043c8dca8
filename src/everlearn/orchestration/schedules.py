"""Schedules of the nights of a line: read, set, pause and resume them, and start a night now.

    with direct_client.connect() as client:
        night = find_night(client, line="math")
        set_schedule(client, night, cron="30 2 * * *", timezone="Europe/Berlin")

The schedules are Prefect's. It knows two switches, the deployment's and the schedule's own, and starts nights only if
both are on. Everlearn pauses with the deployment's alone: a schedule that is set is active, and resuming activates it.
Requests are plain HTTP, because importing Prefect takes longer than a command.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx

from everlearn.errors import BadInputError
from everlearn.orchestration.direct_client import send
from everlearn.orchestration.events_client import AWAITED, event_body

if TYPE_CHECKING:
    from prefect.client.schemas.schedules import CronSchedule

    from everlearn.orchestration.direct_client import ApiClient

SLUG = "nightly"
"""Slug of the schedule of nights, and how the names of their deployments begin: `nightly-<line>`."""
PROFILE = "EVERLEARN_PROFILE"
TAG = "everlearn"
"""The tag of every deployment of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledNight:
    """The deployment that runs the nights of a line.

    `cron` is None if there is no cron schedule; `next_runs` are in UTC; `workers` counts the online workers of each
    pool on which deployments of the line run; `profile` is that of the settings that its nights use.
    """

    line: str
    deployment: UUID
    cron: str | None
    timezone: str | None
    paused: bool
    next_runs: tuple[datetime, ...] = ()
    workers: dict[str, int] = field(default_factory=dict)
    profile: str | None = None

    @property
    def pools_without_workers(self) -> tuple[str, ...]:
        """Pools of the line without an online worker."""
        return tuple(pool for pool, online in self.workers.items() if not online)

    def facts(self) -> dict[str, Any]:
        """Return the JSON output of `everlearn schedule show`."""
        schedule = {"line": self.line, "cron": self.cron, "timezone": self.timezone, "paused": self.paused}
        return schedule | {
            "next": [moment.isoformat() for moment in self.next_runs],
            "workers": self.workers,
            "profile": self.profile,
        }


def line_tag(line: str) -> str:
    """Return the tag of every deployment of a line."""
    return f"line:{line}"


def nightly_name(line: str) -> str:
    """Return the full name of the deployment that runs the nights of a line, `flow/deployment`."""
    return f"run-cycle/{SLUG}-{line}"


def find_night(client: ApiClient, *, line: str) -> ScheduledNight:
    """Return the nightly deployment of a line. BadInputError if the line was never deployed."""
    deployment = _read_deployment(client, line)
    schedule = nightly_schedule(deployment["schedules"])
    times = schedule["schedule"] if schedule else {}
    return ScheduledNight(
        line=line,
        deployment=UUID(deployment["id"]),
        cron=times.get("cron"),
        timezone=(times.get("timezone") or "UTC") if "cron" in times else None,
        paused=_is_paused(deployment),
        next_runs=_read_next_runs(client, deployment["id"]),
        workers={pool: _count_online(client, pool) for pool in _pools(client, line)},
        profile=(deployment["job_variables"] or {}).get("env", {}).get(PROFILE),
    )


def _is_paused(deployment: dict[str, Any]) -> bool:
    """Return whether no night of a deployment is due: it is paused, or its schedule is switched off or missing."""
    schedule = nightly_schedule(deployment["schedules"])
    return bool(deployment["paused"] or schedule is None or not schedule["active"])


def nightly_schedule(schedules: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the schedule of Everlearn among those of a deployment, or one without a name."""
    return next((each for each in schedules if each["slug"] in {SLUG, None}), None)


def set_schedule(client: ApiClient, night: ScheduledNight, *, cron: str, timezone: str) -> CronSchedule:
    """Replace the schedules of a line's nights by an active one, and return it. A paused deployment remains paused.

    Raises:
        BadInputError: the schedule is invalid. Nothing was changed.
    """
    from everlearn.orchestration.cron_times import parse_schedule  # imports Prefect

    schedule = parse_schedule(cron, timezone)
    path = f"/deployments/{night.deployment}/schedules"
    present = send(client, "GET", path)
    kept = nightly_schedule(present)
    new = {"schedule": schedule.model_dump(mode="json"), "active": True, "slug": SLUG}
    if kept is None:
        send(client, "POST", path, [new])
    else:
        send(client, "PATCH", f"{path}/{kept['id']}", new)
    for other in present:
        if other is not kept:
            send(client, "DELETE", f"{path}/{other['id']}")
    return schedule


def set_paused(client: ApiClient, night: ScheduledNight, *, paused: bool) -> None:
    """Pause or resume the scheduled nights of a line. Resuming activates a schedule that was switched off.

    Raises:
        BadInputError: there is no schedule to resume.
    """
    if paused:
        send(client, "POST", f"/deployments/{night.deployment}/pause_deployment")
        return
    schedules = f"/deployments/{night.deployment}/schedules"
    schedule = nightly_schedule(send(client, "GET", schedules))
    if schedule is None:
        raise BadInputError(
            f'line {night.line} has no schedule; set one: `everlearn schedule set "0 2 * * *" --line {night.line}`'
        )
    if not schedule["active"]:
        send(client, "PATCH", f"{schedules}/{schedule['id']}", {"active": True})
    send(client, "POST", f"/deployments/{night.deployment}/resume_deployment")
    emit_awaited(client)


def emit_awaited(client: ApiClient) -> None:
    """Emit the event `everlearn.night.awaited` for each line whose nights are not paused.

    It starts the 26 hours after which a line without a verdict raises an alarm; for a line that is awaited already, the
    26 hours go on. The event is emitted for all lines, because the server forgets what an automation waits for when the
    automation is changed.
    """
    query = {"flows": {"name": {"any_": ["run-cycle"]}}, "deployments": {"tags": {"all_": [TAG]}}}
    deployments = send(client, "POST", "/deployments/filter", query)
    lines = [each["name"].removeprefix(f"{SLUG}-") for each in deployments if not _is_paused(each)]
    send(client, "POST", "/events", [event_body(AWAITED, line=line, payload={}) for line in lines])


def start_night(client: ApiClient, night: ScheduledNight) -> UUID:
    """Create a run of the nightly deployment that is due now; return the run's id."""
    due = {"scheduled_time": datetime.now(tz=UTC).isoformat()}
    body = {"state": {"type": "SCHEDULED", "name": "Scheduled", "state_details": due}, "tags": ["asked for"]}
    return UUID(send(client, "POST", f"/deployments/{night.deployment}/create_flow_run", body)["id"])


def _read_deployment(client: ApiClient, line: str) -> dict[str, Any]:
    try:
        return dict(send(client, "GET", f"/deployments/name/{nightly_name(line)}"))
    except httpx.HTTPStatusError as error:
        if error.response.status_code != HTTPStatus.NOT_FOUND:
            raise
        raise BadInputError(f"no nights of line {line!r} are deployed; run `everlearn deploy --line {line}`") from None


def _pools(client: ApiClient, line: str) -> list[str]:
    """Return the work pools on which deployments of the line run."""
    query = {"deployments": {"tags": {"all_": [line_tag(line)]}}}
    deployments = send(client, "POST", "/deployments/filter", query)
    return sorted({each["work_pool_name"] for each in deployments if each["work_pool_name"]})


def _count_online(client: ApiClient, pool: str) -> int:
    """Count the workers of a pool that sent a heartbeat within the last 90 s."""
    query = {"workers": {"status": {"any_": ["ONLINE"]}}}
    return len(send(client, "POST", f"/work_pools/{pool}/workers/filter", query))


def _read_next_runs(client: ApiClient, deployment: str) -> tuple[datetime, ...]:
    """Return the start times, in UTC, of the next three runs that the server has scheduled."""
    query = {
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
        "deployments": {"id": {"any_": [deployment]}},
        "sort": "EXPECTED_START_TIME_ASC",
        "limit": 3,
    }
    runs = send(client, "POST", "/flow_runs/filter", query)
    return tuple(datetime.fromisoformat(run["expected_start_time"]).astimezone(UTC) for run in runs)
