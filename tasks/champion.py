"""Change the champion of a line, show it in the dashboard, and wait for consumers to follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.artifacts import create_markdown_artifact

from everlearn.orchestration.artifact_keys import artifact_key
from everlearn.registry.acknowledgements import require_followed
from everlearn.registry.connect import open_registry
from everlearn.reporting.history_table import list_markdown
from everlearn.serving.rollout_status import read_rollout_status
from tasks.night import step_task

if TYPE_CHECKING:
    from everlearn.registry.versions import Verify
    from everlearn.settings import Settings


@step_task
def roll_back_line(
    settings: Settings, to: str | None, *, reason: str, actor: str, keep: bool, verify: Verify
) -> dict[str, str | None]:
    """Roll the line back. Return the version that served before (`left`) and the one that serves now (`to`)."""
    done = open_registry(settings).rollback(to, reason=reason, actor=actor, keep=keep, verify=verify)
    return {"left": done.left, "to": done.to}


@step_task
def promote_version(
    settings: Settings, version: str, *, reason: str, actor: str, verify: Verify
) -> dict[str, str | None]:
    """Make a version the champion, unless it is already. Return the version that served before and the one now."""
    registry = open_registry(settings)
    before = registry.state().champion
    return {"left": before, "to": registry.promote(version, reason=reason, actor=actor, verify=verify).version}


@step_task
def show_champion(settings: Settings) -> None:
    """Show in the dashboard what consumers load from now on."""
    registry = open_registry(settings)
    registry.state()
    sentences = read_rollout_status(registry).sentences()
    create_markdown_artifact(
        key=artifact_key("champion", line=settings.store.line),
        markdown=list_markdown(sentences),
        description=f"The champion of line {settings.store.line}",
    )


@step_task
def await_consumers(settings: Settings, *, timeout_s: float) -> None:
    """Wait until all consumers have followed the champion. A timeout of 0 does not wait.

    Raises:
        LateError: some consumers have not followed in time. The message names them.
    """
    if timeout_s:
        require_followed(open_registry(settings), timeout_s=timeout_s)
