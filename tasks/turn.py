"""Whether it is this run's turn: of the nights that a line has missed, the last one alone makes up for all of them."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

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
from prefect.runtime import deployment, flow_run

from tasks.night import step_task

WAITS = [StateType.SCHEDULED, StateType.PENDING]


@step_task
def later_run_waits() -> bool:
    """Whether a later run of this deployment is due as well: it does all that this one would do, with newer data."""
    own, due = deployment.id, flow_run.scheduled_start_time
    if own is None or due is None:
        return False
    with get_client(sync_client=True) as client:
        later = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=WAITS)),
                expected_start_time=FlowRunFilterExpectedStartTime(after_=due, before_=datetime.now(tz=UTC)),
            ),
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[UUID(str(own))])),
        )
    return any(each.expected_start_time and each.expected_start_time > due for each in later)
