"""Maintenance of a line: check all of its objects, remove garbage, and delete its old runs in Prefect."""

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
from everlearn.orchestration.artifact_keys import artifact_key
from everlearn.orchestration.schedules import line_tag
from everlearn.registry.connect import open_registry, open_store, open_verifier
from everlearn.registry.maintenance.fsck import fsck
from everlearn.registry.maintenance.gc import collect
from everlearn.registry.maintenance.gc_plan import plan_collection
from everlearn.reporting.report import escape_markdown
from tasks.night import step_task

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient

    from everlearn.settings import Settings

PAGE = 200
KEPT_RUNS = 10
"""Newest runs of each deployment that are never deleted, so that an idle line does not lose its last logs."""


@step_task
def walk_line(settings: Settings) -> int:
    """Check the whole line (`everlearn fsck`). Return how many objects were checked; IntegrityError for any fault."""
    line = settings.store.line
    result = fsck(open_store(settings.store), line, verifier=open_verifier(settings))
    faults = [*result.head, *result.damaged, *result.missing]
    rows = "".join(f"- `{fault.key}`: {escape_markdown(fault.why)}\n" for fault in faults)
    create_markdown_artifact(
        key=artifact_key("walk", line=line),
        markdown=rows or f"{result.checked} objects, no faults\n",
        description=f"Result of `everlearn fsck` on {line}",
    )
    if not result.is_clean:
        raise IntegrityError(f"line {line}: {len(faults)} faults, the first: {faults[0].why}; run `everlearn fsck`")
    return result.checked


@step_task
def collect_garbage(settings: Settings) -> int:
    """Remove unreferenced objects (`everlearn gc --yes`). Return how many; 0 while a publisher is active."""
    registry = open_registry(settings)
    planned = plan_collection(registry, settings.retention)
    if planned.is_empty or planned.busy:
        return 0
    return len(collect(registry, settings.retention, actor="housekeeping", wait=time.sleep).removed)


@step_task
def forget_runs(settings: Settings, *, at: datetime) -> int:
    """Delete the line's old runs in Prefect, with their tasks and logs. Return how many."""
    before = at - timedelta(days=settings.retention.run_days)
    own = DeploymentFilter(tags=DeploymentFilterTags(all_=[line_tag(settings.store.line)]))
    with get_client(sync_client=True) as client:
        deployments = client.read_deployments(deployment_filter=own)
        return sum(_delete_runs(client, deployment.id, before=before) for deployment in deployments)


def _delete_runs(client: SyncPrefectClient, deployment: UUID, *, before: datetime) -> int:
    """Delete the runs of one deployment that ended before that time, except its newest ones. Return how many."""
    newest, deleted = _ended_runs(client, deployment, limit=KEPT_RUNS), 0
    while old := _ended_runs(client, deployment, before=before, limit=PAGE) - newest:
        for run in old:
            client.delete_flow_run(run)
        deleted += len(old)
    return deleted


def _ended_runs(
    client: SyncPrefectClient, deployment: UUID, *, limit: int, before: datetime | None = None
) -> set[UUID]:
    """Return the newest runs that have ended, or that ended before that time."""
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[deployment]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(TERMINAL_STATES))),
            end_time=FlowRunFilterEndTime(before_=before) if before else None,
        ),
        sort=FlowRunSort.END_TIME_DESC,
        limit=limit,
    )
    return {run.id for run in runs}
