"""The adapter that a night begins with: its parent's, a new one on the base, or that of an undecided candidate.

With `learn.start: undecided` a candidate that improved too little to be proved is not lost: the next night goes on from
it, and the gate compares the result with the parent as ever. It goes on from the nights directly before that ended
INSUFFICIENT with the parent and base of tonight, without those that may have lost something: only the improvement was
undecided. What they trained on is in the adapter, so it counts as trained on, and is never measured. The problems that
they were measured on have chosen the candidate, so they are left out of tonight's target: its test is about fresh ones
(`data.holdout`). With `gate.improvement_error: line` that holds for every earlier night with the same parent, whatever
tonight begins as.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from everlearn.cycle.workspace import Workspace
from everlearn.gate.undecided import undecided_nights
from tasks.night import LOG, as_json

if TYPE_CHECKING:
    from pathlib import Path

    from tasks.night import Night

BEGINS_AFTER = "begins after"


def choose_start(night: Night) -> None:
    """Decide which undecided nights tonight goes on from, once, before anything depends on it."""
    if night.settings.learn.start != "undecided" or night.work.has(BEGINS_AFTER):
        return
    inputs = night.inputs
    nights, doubtful = undecided_nights(
        night.registry.state().history, parent=inputs.parent, base_fingerprint=inputs.base_fingerprint
    )
    for each in doubtful:
        LOG.info("the undecided candidate of %s is passed over: it may have lost something", each)
    if nights and not Workspace(night.store, night.line, nights[0]).has("trained"):
        LOG.warning(
            "the undecided candidate of %s was removed (retention.work_days): tonight begins with its parent", nights[0]
        )
        nights = []
    night.work.put(BEGINS_AFTER, as_json(nights))
    if nights:
        LOG.info(
            "the adapter begins as the undecided candidate of cycle %s, the last of %d", nights[0][:12], len(nights)
        )


def begins_after(night: Night) -> tuple[str, ...]:
    """Return the cycle keys of the undecided nights that tonight goes on from, the newest first."""
    return tuple(json.loads(night.work.get(BEGINS_AFTER))) if night.work.has(BEGINS_AFTER) else ()


def first_adapter(night: Night, to: Path) -> Path | None:
    """Fetch the adapter that the night begins with into `to`. None for a new one on the base."""
    undecided = begins_after(night)
    if undecided:
        Workspace(night.store, night.line, undecided[0]).get_tree("trained", to)
        return to
    return None if night.settings.learn.start == "base" else parent_adapter(night, to)


def parent_adapter(night: Night, to: Path) -> Path | None:
    """Fetch the parent's adapter into `to`, verified. Return None where the parent is the base model."""
    return night.registry.pull(night.inputs.parent, to=to) if night.inputs.parent else None
