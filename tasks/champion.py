"""Change the champion of a line, show what consumers will see, and wait for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.artifacts import create_markdown_artifact

from everlearn.errors import LateError
from everlearn.registry.acknowledgements import wait_for_all
from everlearn.registry.connect import open_registry
from everlearn.serving.rollout_status import outlook
from tasks.artifact import artifact_key
from tasks.night import step_task

if TYPE_CHECKING:
    from everlearn.registry.versions import Verify
    from everlearn.settings import Settings


@step_task
def roll_back_line(
    settings: Settings, to: str | None, *, reason: str, actor: str, keep: bool, verify: Verify
) -> dict[str, str | None]:
    """One event; the version that was left, and the one that serves now."""
    done = open_registry(settings).rollback(to, reason=reason, actor=actor, keep=keep, verify=verify)
    return {"left": done.left, "to": done.to}


@step_task
def promote_version(
    settings: Settings, version: str, *, reason: str, actor: str, verify: Verify
) -> dict[str, str | None]:
    """One event, or none if it is the champion already; the version that served before, and the one that serves now."""
    registry = open_registry(settings)
    before = registry.state().champion
    return {"left": before, "to": registry.promote(version, reason=reason, actor=actor, verify=verify).version}


@step_task
def show_champion(settings: Settings) -> None:
    """What consumers will see, with the run."""
    registry = open_registry(settings)
    registry.state()
    told = outlook(registry).sentences()
    create_markdown_artifact(
        key=artifact_key("champion", line=settings.store.line),
        markdown="".join(f"- {line}\n" for line in told),
        description=f"The champion of line {settings.store.line}",
    )


@step_task
def await_consumers(settings: Settings, *, patience_s: float) -> None:
    """Wait until all consumers have followed; LateError names those that have not. No patience: no question."""
    late = wait_for_all(open_registry(settings), patience_s=patience_s) if patience_s else ()
    if late:
        names = ", ".join(each.consumer for each in late)
        raise LateError(f"the champion has changed, but {names} did not follow within {patience_s:g} s; look there")
