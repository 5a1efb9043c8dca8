"""What a line needs now and then: a walk from end to end, its garbage removed, and its old runs forgotten."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES
from prefect.client.schemas.sorting import FlowRunSort

from everlearn.errors import IntegrityError
from everlearn.registry.connect import open_registry, open_store, open_verifier
from everlearn.registry.maintenance.fsck import fsck
from everlearn.registry.maintenance.gc import collect, plan
from tasks.artifact import artifact_key
from tasks.night import step_task

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient

    from everlearn.settings import Settings

PAGE = 200
LAST = 10
"""Runs of each deployment that are kept however old they are: a line that rests must not lose its last logs."""


@step_task
def walk_line(settings: Settings) -> int:
    """How many objects were looked at. IntegrityError names what does not hold."""
    line = settings.store.line
    found = fsck(open_store(settings.store), line, verifier=open_verifier(settings))
    faults = [*found.head, *found.damaged, *found.missing]
    told = "".join(f"- `{fault.key}`: {fault.why}\n" for fault in faults) or f"{found.checked} objects: all holds\n"
    create_markdown_artifact(
        key=artifact_key("walk", line=line), markdown=told, description=f"What `everlearn fsck` found on {line}"
    )
    if not found.is_clean:
        raise IntegrityError(f"line {line}: {len(faults)} faults, the first: {faults[0].why}; run `everlearn fsck`")
    return found.checked


@step_task
def collect_garbage(settings: Settings) -> int:
    """How many objects nobody needed. A publisher at work is no error: then there is a next time."""
    registry = open_registry(settings)
    found = plan(registry, settings.retention)
    if found.is_empty or found.busy:
        return 0
    return len(collect(registry, settings.retention, actor="housekeeping", wait=time.sleep).removed)


@step_task
def forget_runs(settings: Settings, *, at: datetime) -> int:
    """How many runs of the line's deployments Prefect was told to delete, with their tasks and logs: all that are old."""
    before = at - timedelta(days=settings.retention.run_days)
    mine = DeploymentFilter(tags=DeploymentFilterTags(all_=[f"line:{settings.store.line}"]))
    with get_client(sync_client=True) as client:
        return sum(_forget(client, each.id, before=before) for each in client.read_deployments(deployment_filter=mine))


def _forget(client: SyncPrefectClient, deployment: UUID, *, before: datetime) -> int:
    """The same of one deployment; its last runs stay."""
    last, forgotten = _ended(client, deployment, limit=LAST), 0
    while old := _ended(client, deployment, before=before, limit=PAGE) - last:
        for run in old:
            client.delete_flow_run(run)
        forgotten += len(old)
    return forgotten


def _ended(client: SyncPrefectClient, deployment: UUID, *, limit: int, before: datetime | None = None) -> set[UUID]:
    """The newest of the runs that have ended, or that ended before that moment."""
    found = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[deployment]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(TERMINAL_STATES))),
            end_time=FlowRunFilterEndTime(before_=before) if before else None,
        ),
        sort=FlowRunSort.END_TIME_DESC,
        limit=limit,
    )
    return {each.id for each in found}
