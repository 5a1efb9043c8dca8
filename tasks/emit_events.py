"""Emit Prefect events, so that automations can react to them or to their absence.

Both events belong to the resource of the line, `everlearn.line.<line>`. The command line emits its own events through
`everlearn.orchestration.events_client`, which does not import Prefect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.events import emit_event

from everlearn.orchestration.events_client import CHANGED, ENDED, line_resource
from tasks.night import step_task

if TYPE_CHECKING:
    from everlearn.settings import Settings


@step_task
def emit_night_ended(settings: Settings, ended: dict[str, str | None]) -> None:
    """Emit how a night ended and why. A skipped night is not an end."""
    if ended["end"] != "SKIPPED":
        resource = line_resource(settings.store.line) | {"everlearn.end": str(ended["end"])}
        emit_event(event=ENDED, resource=resource, payload=dict(ended))


@step_task
def emit_champion_changed(settings: Settings, *, what: str, actor: str, champion: str | None) -> None:
    """Emit that the champion changed: what was done, by which actor, and the version that serves now."""
    payload = {"what": what, "actor": actor, "champion": champion}
    emit_event(event=CHANGED, resource=line_resource(settings.store.line), payload=payload)
