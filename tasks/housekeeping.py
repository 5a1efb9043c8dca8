"""What a line needs now and then: a walk from end to end, and its garbage removed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prefect.artifacts import create_markdown_artifact

from everlearn.access import open_registry, open_store, open_verifier
from everlearn.errors import IntegrityError
from everlearn.fsck import fsck
from everlearn.gc import collect, plan
from tasks.night import step_task

if TYPE_CHECKING:
    from everlearn.settings import Settings


@step_task
def walk_line(settings: Settings) -> int:
    """How many objects were looked at. IntegrityError names what does not hold."""
    line = settings.store.line
    found = fsck(open_store(settings.store), line, verifier=open_verifier(settings))
    faults = [*found.head, *found.damaged, *found.missing]
    told = "".join(f"- `{fault.key}`: {fault.why}\n" for fault in faults) or f"{found.checked} objects: all holds\n"
    create_markdown_artifact(key=f"walk-{line}", markdown=told, description=f"What `everlearn fsck` found on {line}")
    if not found.is_clean:
        raise IntegrityError(f"line {line}: {len(faults)} faults, the first: {faults[0].why}; run `everlearn fsck`")
    return found.checked


@step_task
def collect_garbage(settings: Settings) -> int:
    """How many objects nobody needed. A publisher at work is no error: then there is a next time."""
    registry = open_registry(settings)
    found = plan(registry, settings.retention)
    if found.is_empty or found.busy:
        return 0
    return len(collect(registry, settings.retention, actor="housekeeping", wait=time.sleep).removed)
