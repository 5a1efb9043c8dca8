"""Forms that wait for approval of a version: runs of the deployment `approve` that are suspended or scheduled."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

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
from prefect.exceptions import Pause
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput, keyset_from_paused_state, read_flow_run_input
from prefect.states import Cancelled

from everlearn.orchestration.schedules import line_tag

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State


Form = TypeVar("Form", bound=RunInput)


def wait_for_answer(form: type[Form], *, hours: float) -> Form:
    """Suspend this run until the form is answered, and return the answer; the run is executed again for that.

    The client sends a request again when its response is lost. The run is suspended by then, the second request is
    rejected, and Prefect (3.8) ends the run without saving the form: it is saved here, so that it can be answered.
    """
    try:
        return suspend_flow_run(wait_for_input=form, timeout=int(hours * 3600))
    except Pause as suspended:
        keys = keyset_from_paused_state(cast("State", suspended.state))
        if read_flow_run_input(keys["schema"]) is None:
            form.save(keys)
        raise


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
