"""Begin a night of a line, unless one is about to begin anyway."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
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
from prefect.exceptions import ObjectNotFound

from everlearn.errors import BadInputError, NotFoundError
from everlearn.registry.connect import open_store
from tasks.night import LOG, step_task
from tasks.turn import WAITS

if TYPE_CHECKING:
    from everlearn.settings import Settings

SOON = timedelta(minutes=10)


@step_task
def begin_night(settings: Settings, shards: list[str]) -> int:
    """1 if a night was begun for those shards; 0 where one was before, or begins within minutes by itself.

    What a night has failed at, or the gate rejected, waits for the next one: no second night begins for the same shards.
    BadInputError if no nights of the line are deployed.
    """
    line, store = settings.store.line, open_store(settings.store)
    begun = f"{line}/work/begun.json"
    try:
        known = set(json.loads(store.get(begun).data))
    except NotFoundError:
        known = set()
    if known.issuperset(shards):
        return 0
    with get_client(sync_client=True) as client:
        try:
            nightly = client.read_deployment_by_name(f"run-cycle/nightly-{line}")
        except ObjectNotFound:
            raise BadInputError(f"no nights of line {line} are deployed; run `everlearn deploy`") from None
        soon = FlowRunFilterExpectedStartTime(before_=datetime.now(tz=UTC) + SOON)
        waiting = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=WAITS)), expected_start_time=soon
            ),
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[nightly.id])),
        )
        if waiting:
            LOG.info("%r is to begin anyway", waiting[0].name)
            return 0
        run = client.create_flow_run_from_deployment(nightly.id, tags=["new data"])
        store.put(begun, json.dumps(sorted(shards)).encode())
        LOG.info("new problems have arrived: %r begins", run.name)
        return 1
