"""Run a night's training on a worker with a GPU and wait for it. A run that crashes is started again and resumes."""

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
from everlearn.orchestration.schedules import line_tag
from tasks.night import LOG, step_task
from tasks.open_night import watch_parent

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.flows import Flow

    from tasks.night import Night

POLL_S = 2.0
LOG_INTERVAL_S = 60.0
CANCEL_TIMEOUT_S = 20.0
LAST_RESULT = "check/bytes"
"""The last result that the flow `climb` keeps in the workspace."""
UNFINISHED = FlowRunFilterState(type=FlowRunFilterStateType(not_any_=sorted(TERMINAL_STATES)))
UNREACHABLE = (httpx.HTTPError, PrefectHTTPStatusError, RuntimeError)
REFUSED = frozenset({401, 403})
"""Statuses of a server that answers: waiting changes nothing."""


@step_task
def await_climb(night: Night, deployment: str) -> None:
    """Start a run of `deployment` and wait until it has completed.

    A run that crashes is started again at once; the flow `climb` itself limits how often it resumes at one place.

    Raises:
        CycleError: the run failed. The message holds its own.
        StaleParentError: the run stopped because the night could no longer publish.
        CycleBusyError: another night took over the lease. Its runs must not be cancelled from here.
    """
    while True:
        night.work.fence()
        if night.work.has(LAST_RESULT):
            return
        _cancel(FlowRunFilter(tags=FlowRunFilterTags(all_=[tag_of(night.key)]), state=UNFINISHED))
        run = _start(night, deployment)
        state = _await_final_state(run)
        if state.is_completed():
            return
        if not state.is_crashed():
            watch_parent(night)()  # where it failed for that reason, this run says so itself
            raise CycleError(f"the run {run.name!r} ended as {state.name}: {state.message or 'no reason given'}")
        LOG.warning("the run %r crashed (%s); starting another one, which resumes there", run.name, state.message)


def stop_climbs(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - Prefect's names
    """Cancel the training runs of a night that is cancelled: a hook for `on_cancellation`."""
    _cancel(FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run.id]), state=UNFINISHED))


def tag_of(cycle_key: str) -> str:
    """Return the tag that all runs of one night share."""
    return f"cycle:{cycle_key[:12]}"


def _start(night: Night, deployment: str) -> FlowRun:
    parameters = {"config": {"cycle_key": night.key, "token": night.token}}
    tags = [tag_of(night.key), line_tag(night.line)]
    try:
        return cast("FlowRun", run_deployment(deployment, parameters=parameters, timeout=0, tags=tags))
    except ObjectNotFound:
        raise BadInputError(
            f"no deployment {deployment!r} trains for line {night.line}; run `everlearn deploy`"
        ) from None


def _await_final_state(run: FlowRun) -> State[Any]:
    """Return the final state of a run. An unreachable server is polled again: the training goes on without it.

    Raises PrefectHTTPStatusError if the server refuses to tell.
    """
    warn = _warn_at_times()
    with get_client(sync_client=True) as client:
        while True:
            try:
                state = client.read_flow_run(run.id).state
            except UNREACHABLE as error:
                if isinstance(error, PrefectHTTPStatusError) and error.response.status_code in REFUSED:
                    raise
                warn(f"the Prefect server does not answer ({error}); still waiting for {run.name!r}")
            else:
                if state is not None and state.is_final():
                    return state
                is_waiting = state is not None and state.type is not StateType.RUNNING
                if is_waiting:
                    warn(f"the run {run.name!r} waits for a worker; check that one serves its work pool")
            time.sleep(POLL_S)


def _warn_at_times() -> Callable[[str], None]:
    """Return a function that logs a warning at most every `LOG_INTERVAL_S`, the first one after that time."""
    logged = time.monotonic()

    def warn(message: str) -> None:
        nonlocal logged
        if time.monotonic() - logged > LOG_INTERVAL_S:
            logged = time.monotonic()
            LOG.warning("%s", message)

    return warn


def _cancel(which: FlowRunFilter) -> None:
    """Cancel runs and wait until they have ended. They can no longer write, but each holds a GPU.

    A run that does not end within `CANCEL_TIMEOUT_S` has no live process and is marked as cancelled.
    """
    with get_client(sync_client=True) as client:
        runs = [run.id for run in client.read_flow_runs(flow_run_filter=which)]
        for run in runs:
            client.set_flow_run_state(run, Cancelling())
        deadline = time.monotonic() + CANCEL_TIMEOUT_S
        while (left := [run for run in runs if not _is_final(client, run)]) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        for run in left:
            client.set_flow_run_state(run, Cancelled(message="Another run has taken over."), force=True)


def _is_final(client: SyncPrefectClient, run: UUID) -> bool:
    state = client.read_flow_run(run).state
    return state is not None and state.is_final()
