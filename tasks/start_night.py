"""Start a night for new shards, unless one is about to start anyway."""

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
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound

from everlearn.cycle.lease import is_held
from everlearn.errors import BadInputError, NotFoundError
from everlearn.orchestration.run_queue import WAITING
from everlearn.orchestration.schedules import nightly_name
from everlearn.registry.connect import open_store
from tasks.night import LOG, step_task

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

    from everlearn.settings import Settings
    from everlearn.storage.protocol import Store

SOON = timedelta(minutes=10)


@step_task
def start_night(settings: Settings, shards: list[str]) -> int:
    """Return 1 if a night was started for these shards, 0 if one was before, has just begun, or is due within `SOON`.

    Shards of a night that failed or was rejected wait for the next scheduled night: no second one is started for them.
    While another night is at work none is started either, and the next look, in ten minutes, finds the shards again.

    Raises:
        BadInputError: no nights of the line are deployed.
    """
    line, store = settings.store.line, open_store(settings.store)
    record = f"{line}/work/begun.json"
    if _read_started(store, record).issuperset(shards):
        return 0
    if is_held(store, line, at=datetime.now(tz=UTC)):
        LOG.info("no night is started: another one is at work on line %s", line)
        return 0
    with get_client(sync_client=True) as client:
        try:
            nightly = client.read_deployment_by_name(nightly_name(line))
        except ObjectNotFound:
            raise BadInputError(f"no nights of line {line} are deployed; run `everlearn deploy`") from None
        near = _near_nights(client, nightly.id)
        if near:
            LOG.info(
                "no night is started: %r has just begun, or is due within %d minutes", near[0].name, SOON.seconds // 60
            )
            return 0
        run = client.create_flow_run_from_deployment(nightly.id, tags=["new data"])
        store.put(record, json.dumps(sorted(shards)).encode())
        LOG.info("started %r for %d new shards", run.name, len(shards))
        return 1


def _read_started(store: Store, record: str) -> set[str]:
    """Return the digests of the shards for which the last night was started."""
    try:
        return set(json.loads(store.get(record).data))
    except NotFoundError:
        return set()


def _near_nights(client: SyncPrefectClient, deployment: UUID) -> list[FlowRun]:
    """Return the nights that wait and are due within `SOON`, and those that began so recently that they may hold no lease yet."""
    now, nightly = datetime.now(tz=UTC), DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
    waiting = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=WAITING)),
        expected_start_time=FlowRunFilterExpectedStartTime(before_=now + SOON),
    )
    begun = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING])),
        start_time=FlowRunFilterStartTime(after_=now - SOON),
    )
    return [
        run
        for each in (waiting, begun)
        for run in client.read_flow_runs(flow_run_filter=each, deployment_filter=nightly)
    ]
