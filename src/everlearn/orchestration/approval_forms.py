"""Forms that wait for approval of a version: runs of the deployment `approve` that are paused or scheduled."""

from __future__ import annotations

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelled

from everlearn.orchestration.schedules import line_tag


def close_forms(*, line: str, version: str) -> int:
    """Cancel the forms of a version that was decided elsewhere. Return how many there were."""
    waiting = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED, StateType.SCHEDULED]))
    tags = FlowRunFilterTags(all_=[line_tag(line), version])
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["approve"])),
            flow_run_filter=FlowRunFilter(state=waiting, tags=tags),
        )
        for run in runs:
            client.set_flow_run_state(run.id, Cancelled(message=f"{version} was decided elsewhere."), force=True)
    return len(runs)
