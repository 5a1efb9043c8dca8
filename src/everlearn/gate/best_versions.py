"""Best version for each suite: the last one that was proved better on it than the best version before.

The highest measured share is no guide: of ten equally good versions the luckiest on these items is some points ahead, and
an equally good candidate would look worse than it for ever. One suite's best is not another's: a mean over suites would
let one fall while another rises.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from everlearn.gate.decision_record import Against
from everlearn.gate.statistics import mcnemar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from everlearn.gate.decision_record import Decision, SuiteRow

PROOF = 0.01
"""Largest p-value that proves a gain. Smaller than `gate.alpha`, because every night of a line tries again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A published version, its parent (None: the base model), and the decision that published it."""

    version: str
    parent: str | None
    decision: Decision


def best_versions(published: Iterable[Published]) -> dict[str, str]:
    """Return the best version for each suite; suites on which none of them beats the base model are left out.

    `published` are the versions that may be the best, oldest first. A suite starts with the parent of the first version
    that was measured on it: the base model for the suites of a line, the version that taught it for a memory suite.
    """
    versions = tuple(published)
    best: dict[str, str | None] = {}
    for each in versions:
        for row in _rows_to_beat(each.decision):
            best.setdefault(row.suite, each.parent)
            if row.low > 0 and mcnemar(won=row.won, lost=row.lost) <= PROOF:
                best[row.suite] = each.version
    eligible = {each.version for each in versions}
    return {suite: version for suite, version in best.items() if version in eligible}


def _rows_to_beat(decision: Decision) -> Iterable[SuiteRow]:
    """Return each suite's row against the best version; without one, the parent was the best."""
    against_parent = {row.suite: row for row in decision.rows if row.against is Against.PARENT}
    return (against_parent | {row.suite: row for row in decision.rows if row.against is Against.BEST}).values()
