"""Waiting times of the nights of a line, read from Prefect's server for `everlearn metrics`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort

from everlearn.orchestration.schedules import SLUG
from everlearn.telemetry.prometheus import QueueStatus

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

WAITING = [StateType.SCHEDULED, StateType.PENDING]


def read_queue(client: SyncPrefectClient, *, line: str) -> QueueStatus:
    """Return how many nights of a line wait and run, and for how long; all zero if the line is not deployed."""
    now = datetime.now(tz=UTC)
    nightly = DeploymentFilter(name=DeploymentFilterName(any_=[f"{SLUG}-{line}"]))
    is_due = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=WAITING)),
        expected_start_time=FlowRunFilterExpectedStartTime(before_=now),
    )
    is_running = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING])))
    has_started = FlowRunFilter(start_time=FlowRunFilterStartTime(is_null_=False))
    waiting = client.read_flow_runs(flow_run_filter=is_due, deployment_filter=nightly)
    newest = client.read_flow_runs(
        flow_run_filter=has_started, deployment_filter=nightly, sort=FlowRunSort.START_TIME_DESC, limit=1
    )
    return QueueStatus(
        wait_s=next((_seconds(run.expected_start_time, run.start_time) for run in newest), None),
        oldest_s=max((_seconds(run.expected_start_time, now) for run in waiting), default=0.0),
        waiting=len(waiting),
        late=sum(run.state_name == "Late" for run in waiting),
        running=len(client.read_flow_runs(flow_run_filter=is_running, deployment_filter=nightly)),
    )


def _seconds(due: datetime | None, end: datetime | None) -> float:
    """Return the seconds from `due` to `end`, at least 0: a run may start a moment early."""
    return max(0.0, (end - due).total_seconds()) if due and end else 0.0
