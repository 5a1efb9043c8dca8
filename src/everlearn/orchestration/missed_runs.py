"""Missed runs: of several runs of a deployment that are due, only the latest does the work."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType

from everlearn.orchestration.run_queue import WAITING

if TYPE_CHECKING:
    from uuid import UUID

UNFINISHED = [*WAITING, StateType.RUNNING]
"""Missed runs may all start at once, so the newest of them may be running when an older one looks."""


def has_later_due_run(deployment: UUID, *, after: datetime) -> bool:
    """Return whether a run of this deployment scheduled later than `after` is due too, waiting or already running.

    It does the same with newer data.
    """
    with get_client(sync_client=True) as client:
        later = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED)),
                expected_start_time=FlowRunFilterExpectedStartTime(after_=after, before_=datetime.now(tz=UTC)),
            ),
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
        )
    return any(run.expected_start_time and run.expected_start_time > after for run in later)
