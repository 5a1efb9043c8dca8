"""Candidates that were left undecided, which a later night can go on from: only their improvement could not be proved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.gate.decision_record import Decision, Outcome
from everlearn.registry.base_identity import is_same_base
from everlearn.registry.events import EventKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.registry.events import Event

WITHOUT_CANDIDATE = frozenset({EventKind.SUITE_CHANGED, EventKind.NO_NEW_DATA})


def undecided_nights(
    history: Sequence[Event], *, parent: str | None, base_fingerprint: str
) -> tuple[list[str], list[str]]:
    """Return the cycle keys of the newest undecided nights of that parent and base, the newest first, and of those passed over.

    They end at the first night that was decided, or had another parent or base. Passed over are candidates that may
    have lost something.
    """
    nights: list[str] = []
    doubtful: list[str] = []
    for event in reversed(history):
        if event.kind in WITHOUT_CANDIDATE or (event.kind is EventKind.INSUFFICIENT and "decision" not in event.detail):
            continue
        stated = event.detail.get("base_fingerprint")
        is_of_parent = event.detail.get("parent") == parent and stated is not None
        if (
            event.kind is not EventKind.INSUFFICIENT
            or not is_of_parent
            or not is_same_base(str(stated), base_fingerprint)
        ):
            break
        is_harmless = lost_nothing(Decision.from_dict(event.detail["decision"]))
        (nights if is_harmless else doubtful).append(str(event.cycle_key))
    return nights, doubtful


def lost_nothing(decision: Decision) -> bool:
    """Whether every suite that guards has passed, every check too, and tonight's target shows no fewer right answers."""
    return all(check.passed for check in decision.checks) and all(
        row.won >= row.lost if row.kind.is_of_tonight else row.outcome is Outcome.PASS for row in decision.all_rows
    )
