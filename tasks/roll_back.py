"""Take the champion of a line back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.access import open_registry
from tasks.night import step_task

if TYPE_CHECKING:
    from everlearn.settings import Settings


@step_task
def roll_back_line(settings: Settings, to: str | None, *, reason: str, actor: str) -> dict[str, str | None]:
    """One event; the version that was left, and the one that serves now."""
    done = open_registry(settings).rollback(to, reason=reason, actor=actor)
    return {"left": done.left, "to": done.to}
