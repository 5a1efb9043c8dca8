"""Acceptance of new rows: the share of invalid rows that stops a night, and the rows that go to quarantine.

Great Expectations counts the rows that meet each criterion (tasks/expectations.py); limits and decision are here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from everlearn.errors import BadDataError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from everlearn.data.rows import Row

MAX_STATEMENT_CHARS = 4000
EXAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptanceCriteria:
    """Limits that the rows of a night have to meet. `max_bad_share` is the setting ingest.max_bad_share."""

    domains: tuple[str, ...]
    max_bad_share: float
    max_statement_chars: int = MAX_STATEMENT_CHARS


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """Decision about the rows of a night. `quarantined` are left out of the snapshot, accepted or not."""

    accepted: bool
    rows: int
    quarantined: tuple[Row, ...]
    max_bad_share: float

    @property
    def bad_share(self) -> float:
        """Share of rows with a fault."""
        return len(self.quarantined) / self.rows if self.rows else 0.0

    def require_accepted(self, *, quarantine: str) -> None:
        """Raise BadDataError with the first reasons unless accepted. `quarantine` is the URL of all reasons."""
        if self.accepted:
            return
        reasons = "; ".join(f"{row.where}: {row.why}" for row in self.quarantined[:EXAMPLES])
        raise BadDataError(
            f"{len(self.quarantined)} of {self.rows} new rows are bad ({self.bad_share:.0%}, at most "
            f"{self.max_bad_share:.0%} may be): {reasons}. Correct them, or raise ingest.max_bad_share. "
            f"All of them: {quarantine}"
        )


def min_good_share(max_bad_share: float) -> float:
    """Return the share of rows that has to meet each criterion."""
    return 1 - max_bad_share


def has_acceptable_share(*, bad: int, rows: int, max_bad_share: float) -> bool:
    """Return whether few enough of `rows` (at least one) are bad.

    Divides as Great Expectations does, so that inbox and night agree at the limit in spite of rounding.
    """
    return (rows - bad) / rows >= min_good_share(max_bad_share)


def decide(
    rows: Sequence[Row], *, bad: Collection[int], criteria_met: bool, criteria: AcceptanceCriteria
) -> Acceptance:
    """Accept the rows if they meet the criteria, and put those with the indices `bad` into quarantine."""
    quarantined = tuple(rows[index] for index in sorted(bad))
    return Acceptance(
        accepted=criteria_met, rows=len(rows), quarantined=quarantined, max_bad_share=criteria.max_bad_share
    )
