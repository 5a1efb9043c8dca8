"""Say in Prefect's own way how a night has ended, so that automations can act on it, or on its absence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.events import emit_event

from tasks.night import step_task

if TYPE_CHECKING:
    from everlearn.settings import Settings

ENDED = "everlearn.night.ended"


@step_task
def announce(settings: Settings, ended: dict[str, str | None]) -> None:
    """One event of the line's own resource, `everlearn.line.<line>`, with the end and its reason."""
    line = settings.store.line
    resource = {"prefect.resource.id": f"everlearn.line.{line}", "prefect.resource.name": line}
    emit_event(event=ENDED, resource=resource | {"everlearn.end": str(ended["end"])}, payload=dict(ended))
