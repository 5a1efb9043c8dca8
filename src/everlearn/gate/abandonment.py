"""An abandoned night whose candidate was measured is an attempt, and is recorded as one that decided nothing.

Otherwise attempts would be free: a night could be given up after each result that is not liked. A night that was given
up before its candidate answered a suite has tested nothing, and leaves no event. Its parent has answered no suite then,
since the candidate is measured first: otherwise the nights in which the parent was lucky could be given up for nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from everlearn.cycle.workspace import Workspace
from everlearn.data.used_problems import RECORDS
from everlearn.gate.lifetime_error import IMPROVEMENT_ERROR
from everlearn.registry.events import EventKind

if TYPE_CHECKING:
    from everlearn.cycle.record import OpenCycle
    from everlearn.registry.line_state import State
    from everlearn.registry.versions import Registry

ANSWERS = ("measuring/candidate", "measured/candidate", "looking/candidate", "looks", "decision")
"""How the results of a workspace begin that hold answers of the candidate, or what follows from them."""
_ABANDONED = "abandoned"


def charge(registry: Registry, opened: OpenCycle, *, actor: str, why: str) -> None:
    """Record a night that is given up as INSUFFICIENT, if its candidate was measured. Idempotent, like `Registry.record`."""
    work = Workspace(registry.store, registry.line, opened.key)
    was_measured = any(name.startswith(ANSWERS) for name in work.names())
    if not was_measured or opened.key in registry.state().cycles:
        return
    detail = {
        _ABANDONED: True,
        "data_digest": opened.inputs.data_digest,
        "parent": opened.inputs.parent,
        "base_fingerprint": opened.inputs.base_fingerprint,
        "records": sorted({part.decode() for part in work.parts(RECORDS)}),
    }
    if "settings" in opened.notes:  # read without their rules, since another release may have frozen them
        gate = json.loads(opened.notes["settings"]).get("gate", {})
        detail[IMPROVEMENT_ERROR] = gate.get(IMPROVEMENT_ERROR, "night")
    reason = f"given up after its candidate was measured, which counts as a test: {why}"
    registry.record(EventKind.INSUFFICIENT, cycle_key=opened.key, reason=reason, actor=actor, detail=detail)


def is_abandoned(cycle_key: str, state: State) -> bool:
    """Return whether the history says that this night was given up."""
    event = state.cycles.get(cycle_key)
    return event is not None and _ABANDONED in event.detail
