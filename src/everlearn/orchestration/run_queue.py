"""How long the nights of a line wait for a worker, as Prefect's server knows it; for `everlearn metrics`."""

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

from everlearn.telemetry.prometheus import Queue

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

WAITS = [StateType.SCHEDULED, StateType.PENDING]


def read_queue(client: SyncPrefectClient, *, line: str) -> Queue:
    """The nights of a line that wait, run, or ran last. None wait where nothing is deployed."""
    now = datetime.now(tz=UTC)
    nights = DeploymentFilter(name=DeploymentFilterName(any_=[f"nightly-{line}"]))
    due = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=WAITS)),
        expected_start_time=FlowRunFilterExpectedStartTime(before_=now),
    )
    running = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING])))
    begun = FlowRunFilter(start_time=FlowRunFilterStartTime(is_null_=False))
    waiting = client.read_flow_runs(flow_run_filter=due, deployment_filter=nights)
    newest = client.read_flow_runs(
        flow_run_filter=begun, deployment_filter=nights, sort=FlowRunSort.START_TIME_DESC, limit=1
    )
    return Queue(
        wait_s=next((_between(each.expected_start_time, each.start_time) for each in newest), None),
        oldest_s=max((_between(each.expected_start_time, now) for each in waiting), default=0.0),
        waiting=len(waiting),
        late=sum(each.state_name == "Late" for each in waiting),
        running=len(client.read_flow_runs(flow_run_filter=running, deployment_filter=nights)),
    )


def _between(due: datetime | None, then: datetime | None) -> float:
    """Seconds from when a run was due; never less than none, since a run may begin a moment early."""
    return max(0.0, (then - due).total_seconds()) if due and then else 0.0
