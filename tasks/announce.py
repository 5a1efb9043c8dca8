"""Say in Prefect's own way what has happened, so that automations can act on it, or on its absence.

Both events belong to the line's own resource, `everlearn.line.<line>`. What the command line changes is told by the
command line itself (everlearn/bell.py): it does without Prefect's code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.states import Completed

from everlearn.orchestration.events_client import CHANGED, ENDED, resource_of
from tasks.night import step_task

if TYPE_CHECKING:
    from everlearn.settings import Settings

SAID = {"PUBLISHED": "PASS", "REJECTED": "FAIL", "NO_NEW_DATA": "no new data", "SKIPPED": "skipped"}


@step_task
def announce(settings: Settings, ended: dict[str, str | None]) -> None:
    """How a night has ended, with its reason. What only was skipped is no end."""
    if ended["end"] != "SKIPPED":
        resource = resource_of(settings.store.line) | {"everlearn.end": str(ended["end"])}
        emit_event(event=ENDED, resource=resource, payload=dict(ended))


@step_task
def announce_champion(settings: Settings, *, what: str, actor: str, champion: str | None) -> None:
    """That another version serves: who did what, and which one it is."""
    payload = {"what": what, "actor": actor, "champion": champion}
    emit_event(event=CHANGED, resource=resource_of(settings.store.line), payload=payload)


def concluded(ended: dict[str, str | None]) -> dict[str, str | None]:
    """The end of a night as what its flow returns: Prefect shows it as the state's message, and callers get `ended`.

    The run's name says it, too: `night 2026-11-22 · line math · v0008 PASS`.
    """
    verdict = SAID.get(str(ended["end"]), str(ended["end"]))
    name: str | None = flow_run.name
    if name is not None:
        said = " ".join(word for word in (ended.get("version"), verdict) if word)
        with get_client(sync_client=True) as client:
            tags = sorted({*flow_run.tags, verdict})
            client.update_flow_run(UUID(str(flow_run.id)), name=f"{name} · {said}", tags=tags)
    return cast("dict[str, str | None]", Completed(data=ended, message=f"{ended['end']}: {ended['reason']}"))
