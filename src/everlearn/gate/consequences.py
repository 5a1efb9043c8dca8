"""Consequences of a gate decision: how the cycle ends, which event is recorded, and whether the champion changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.cycle.record import End
from everlearn.gate.decision_record import Outcome
from everlearn.registry.events import EventKind

if TYPE_CHECKING:
    from everlearn.gate.decision_record import Decision
    from everlearn.settings import GateSettings

END_OF = {Outcome.PASS: End.PUBLISHED, Outcome.FAIL: End.REJECTED, Outcome.INSUFFICIENT: End.INSUFFICIENT}
"""How a cycle ends. Only a PASS publishes a version."""
EVENT_OF = {End.REJECTED: EventKind.REJECTED, End.INSUFFICIENT: EventKind.INSUFFICIENT}
"""The event that records a cycle without a version."""


def becomes_champion(settings: GateSettings) -> bool:
    """Return whether a version that passed becomes the champion at once, or waits for approval."""
    return not settings.require_approval


def skill_of(decision: Decision) -> float:
    """Return the mean share of skill items that the candidate answers correctly; 0 without a skill suite."""
    shares = [row.after for row in decision.rows if row.kind == "skill" and row.stands_for_suite]
    return sum(shares) / len(shares) if shares else 0.0


def reason_of(decision: Decision) -> str:
    """Return the sentence for the history: the first improvement, or the most important reason against publishing."""
    improved = [row for row in decision.rows if decision.passed and row.has_improved]
    if not improved:
        return decision.reasons[0]
    return "; ".join([f"{improved[0].suite} {improved[0].sentence}", *decision.warnings])
