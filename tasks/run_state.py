"""State of the current Prefect flow run: whether a later run replaces it, and the final state with the verdict."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import deployment, flow_run
from prefect.states import Completed

from everlearn.orchestration.missed_runs import has_later_due_run
from tasks.night import step_task

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from everlearn.errors import LineBusyError
    from everlearn.settings import Settings

VERDICTS = {"PUBLISHED": "PASS", "REJECTED": "FAIL", "NO_NEW_DATA": "no new data", "SKIPPED": "skipped"}
STATES = {
    "PUBLISHED": "Published",
    "REJECTED": "Rejected",
    "INSUFFICIENT": "Insufficient",
    "NO_NEW_DATA": "No new data",
    "SKIPPED": "Skipped",
}
"""Names of the final states. Their type is COMPLETED: the run did its work, whatever the gate said of the candidate."""


@step_task
def has_later_run() -> bool:
    """Return whether a later run of this deployment is due as well. It does the same work with newer data."""
    own, due = deployment.id, flow_run.scheduled_start_time
    if own is None or due is None:
        return False
    return has_later_due_run(UUID(str(own)), after=due)


def skip_night(busy: LineBusyError) -> dict[str, str | None]:
    """Return the end of a run of a deployment that found another night at work. An interactive run raises the error.

    The run ends instead of waiting: a waiting run would hold a place of its worker for as long as the other night
    takes.
    """
    if deployment.id is None:
        raise busy
    return {"end": "SKIPPED", "reason": f"{busy}; new problems wait for the next night"}


def final_state(ended: dict[str, str | None]) -> dict[str, str | None]:
    """Return the flow's result as a Prefect state with the night's end as its name. Callers receive `ended`.

    The state is `Rejected`, or `Published v0008`, with the reason as its message, so that the dashboard's list tells a
    rejected night from a published one. The verdict is added to the run's tags and to its name:
    `night 2026-11-22 02:00 · line math · v0008 PASS`.
    """
    verdict = VERDICTS.get(str(ended["end"]), str(ended["end"]))
    name: str | None = flow_run.name
    if name is not None:
        suffix = " ".join(word for word in (ended.get("version"), verdict) if word)
        with get_client(sync_client=True) as client:
            tags = sorted({*flow_run.tags, verdict})
            client.update_flow_run(UUID(str(flow_run.id)), name=f"{name} · {suffix}", tags=tags)
    state: State[Any] = Completed(name=state_name(ended), data=ended, message=f"{ended['end']}: {ended['reason']}")
    return cast("dict[str, str | None]", state)


def state_name(ended: dict[str, str | None]) -> str:
    """Return the name of the final state: `Rejected`, or with its version `Published v0008`."""
    name = STATES[str(ended["end"])]
    return f"{name} {ended['version']}" if ended["end"] == "PUBLISHED" else name


def run_name(what: str, settings: Settings, *details: str) -> str:
    """Return the name of the current run: what it does, when it started, its line, details, and its attempt from 2 on.

    The time tells a night from the one that a crash made the server start again on the same day.
    """
    attempt = flow_run.run_count or 1
    words = [f"{what} {datetime.now(tz=UTC):%Y-%m-%d %H:%M}", f"line {settings.store.line}", *details]
    return " · ".join([*words, f"attempt {attempt}"] if attempt > 1 else words)
