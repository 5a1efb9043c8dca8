"""Let a worker with a GPU climb, and wait for it: a climb that crashed is begun again, and goes on where it was."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import TERMINAL_STATES, StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Cancelled, Cancelling

from everlearn.errors import BadInputError, CycleError
from tasks.night import LOG, step_task

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.flows import Flow

    from tasks.night import Night

POLL_S = 2.0
WORD_S = 60.0
LAST = "check/bytes"
"""What a climb keeps at its very end."""
DEAF_S = 20.0
UNENDED = FlowRunFilterState(type=FlowRunFilterStateType(not_any_=sorted(TERMINAL_STATES)))
NO_ANSWER = (httpx.HTTPError, PrefectHTTPStatusError, RuntimeError)


@step_task
def await_climb(night: Night, deployment: str) -> None:
    """Begin a run of `deployment` and wait until it has ended well. CycleError with its own words if it failed.

    A run that crashes is begun again at once. It is the climb that counts how often that happens at one place. Whoever
    was taken over meanwhile must not touch the climbs of the one that did: CycleBusyError.
    """
    while True:
        night.work.fence()
        if night.work.has(LAST):
            return
        _stop(FlowRunFilter(tags=FlowRunFilterTags(all_=[tag_of(night.key)]), state=UNENDED))
        run = _begin(night, deployment)
        state = _end_of(run)
        if state.is_completed():
            return
        if not state.is_crashed():
            raise CycleError(f"the climb {run.name!r} ended as {state.name}: {state.message or 'no reason given'}")
        LOG.warning("the climb %r has crashed (%s); another one goes on where it was", run.name, state.message)


def stop_climbs(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - Prefect's names
    """When a night is cancelled, its climb is, too: for `on_cancellation`."""
    _stop(FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run.id]), state=UNENDED))


def tag_of(cycle_key: str) -> str:
    """What the runs of one night have in common."""
    return f"cycle:{cycle_key[:12]}"


def _begin(night: Night, deployment: str) -> FlowRun:
    given = {"config": {"cycle_key": night.key, "token": night.token}}
    tags = [tag_of(night.key), f"line:{night.line}"]
    try:
        return cast("FlowRun", run_deployment(deployment, parameters=given, timeout=0, tags=tags))
    except ObjectNotFound:
        raise BadInputError(
            f"there is no deployment {deployment!r} to climb for line {night.line}; run `everlearn deploy`"
        ) from None


def _end_of(run: FlowRun) -> State[Any]:
    """Its final state. A server that is away is waited for: the climb needs it as little as this does."""
    told = time.monotonic()
    with get_client(sync_client=True) as client:
        while True:
            try:
                state = client.read_flow_run(run.id).state
            except NO_ANSWER as error:
                LOG.warning("the Prefect server does not answer (%s); still waiting for the climb", error)
            else:
                if state is not None and state.is_final():
                    return state
                if state is not None and state.type is not StateType.RUNNING and time.monotonic() - told > WORD_S:
                    told = time.monotonic()
                    LOG.warning("the climb %r still waits for a worker; is one at work on its pool?", run.name)
            time.sleep(POLL_S)


def _stop(which: FlowRunFilter) -> None:
    """Cancel those runs. They could not write any more, but hold a GPU; who does not listen is dead."""
    with get_client(sync_client=True) as client:
        found = [run.id for run in client.read_flow_runs(flow_run_filter=which)]
        for run in found:
            client.set_flow_run_state(run, Cancelling())
        deadline = time.monotonic() + DEAF_S
        while (left := [run for run in found if not _is_final(client, run)]) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        for run in left:
            client.set_flow_run_state(run, Cancelled(message="Another run has taken over."), force=True)


def _is_final(client: SyncPrefectClient, run: UUID) -> bool:
    state = client.read_flow_run(run).state
    return state is not None and state.is_final()
