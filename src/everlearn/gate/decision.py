"""What the gate says, with everything needed to see why: outcome, sentences, one row a suite, one check a fact.

Plain frozen data with a JSON round trip, so that a manifest, a report and an artifact all show the same decision.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from everlearn.data.suites import SuiteKind
from everlearn.errors import BadInputError


class Outcome(StrEnum):
    """What a gate can say. `INSUFFICIENT` (it could not tell) is neither a pass nor a failure."""

    PASS = "PASS"  # noqa: S105 - a verdict, no secret
    FAIL = "FAIL"
    INSUFFICIENT = "INSUFFICIENT"


class Against(StrEnum):
    """Whom the candidate is compared with. Only `PARENT` may carry a PASS; the others watch for a slow decline."""

    PARENT = "parent"
    CHAMPION = "champion"
    BASE = "base"
    BEST = "best"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A fact beside the statistics: the same bytes came back, no NaN, the adapter changes the output."""

    name: str
    passed: bool
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRow:
    """One suite against one opponent. All shares are of 1; a gain is positive, a loss is negative.

    before, after   share of items answered correctly
    won, lost       changed items as counted for the proof: an `UNDECIDED` answer is held against the candidate
    undecided       items where either answer was `UNDECIDED`
    low, high       where the true gain lies, each end at confidence 1 - alpha; `UNDECIDED` widens both
    bound           the largest loss that the data allow, -low; it has to stay within `margin`
    p_value         of "no improvement", where improvement is asked for (a target against the parent)
    power           chance that this many items show an unchanged model to be within the margin
    """

    suite: str
    kind: SuiteKind
    against: Against
    n: int
    before: float
    after: float
    won: int
    lost: int
    undecided: int
    low: float
    high: float
    margin: float
    bound: float
    p_value: float | None
    power: float
    outcome: Outcome
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """PASS, FAIL or INSUFFICIENT, the reasons as sentences, and the rows and checks that they rest on."""

    outcome: Outcome
    reasons: tuple[str, ...]
    rows: tuple[SuiteRow, ...]
    checks: tuple[Check, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the candidate may be published."""
        return self.outcome is Outcome.PASS

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        plain = asdict(self)
        return plain | {name: list(plain[name]) for name in ("reasons", "rows", "checks")}

    def to_json(self) -> str:
        """One JSON object, with keys in a fixed order, so that equal decisions are equal bytes."""
        return json.dumps(self.to_dict(), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Decision:
        """Inverse of `to_dict`. Raises BadInputError naming what is missing or unknown."""
        try:
            return cls(
                outcome=Outcome(plain["outcome"]),
                reasons=tuple(plain["reasons"]),
                rows=tuple(_row(row) for row in plain["rows"]),
                checks=tuple(Check(**check) for check in plain["checks"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BadInputError(f"not a gate decision: {error}. Was it written by another version?") from None

    @classmethod
    def from_json(cls, text: str | bytes) -> Decision:
        """Inverse of `to_json`. Raises BadInputError when the text is no decision."""
        try:
            plain = json.loads(text)
        except ValueError as error:
            raise BadInputError(f"not a gate decision: no JSON ({error})") from None
        return cls.from_dict(plain)


def _row(plain: dict[str, Any]) -> SuiteRow:
    kinds = {
        "kind": SuiteKind(plain["kind"]),
        "against": Against(plain["against"]),
        "outcome": Outcome(plain["outcome"]),
    }
    return SuiteRow(**{**plain, **kinds})
