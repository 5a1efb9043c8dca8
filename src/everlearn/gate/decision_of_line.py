"""Make a decision at the levels that follow from the events of its line; it says which events and which rule these were."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from everlearn.gate.lifetime_error import (
    RULE,
    headline_level_of_line,
    level_of_line,
    loss_level_of_line,
    past_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.gate.decision_record import Decision
    from everlearn.gate.stored_evidence import StoredEvidence
    from everlearn.registry.events import Event
    from everlearn.registry.versions import Registry


def judge_by_line(evidence: StoredEvidence, history: Sequence[Event], *, registry: Registry) -> Decision:
    """Judge evidence after these events of the line, oldest first."""
    settings = evidence.settings
    past = past_of(history, settings=settings, registry=registry)
    decision = evidence.judge(
        level=level_of_line(past, settings=settings),
        loss_level=loss_level_of_line(past, settings=settings),
        headline_level=headline_level_of_line(past, settings=settings),
    )
    return replace(decision, rule=RULE, seen=history[-1].sequence if history else 0)
