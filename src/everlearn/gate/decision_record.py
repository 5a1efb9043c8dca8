"""The gate's decision as data: outcome, reasons, one row per suite and baseline, one entry per check.

Frozen dataclasses with a JSON round trip, so that manifest, report and artifact show the same decision.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from everlearn.data.suites import SuiteKind
from everlearn.errors import BadInputError


class Outcome(StrEnum):
    """Outcome of the gate. `INSUFFICIENT`: the data decide neither PASS nor FAIL."""

    PASS = "PASS"  # noqa: S105 - an outcome, not a password
    FAIL = "FAIL"
    INSUFFICIENT = "INSUFFICIENT"


class Against(StrEnum):
    """The baseline of a comparison. An improvement counts against `PARENT` only; the others detect a slow decline."""

    PARENT = "parent"
    BASE = "base"
    BEST = "best"
    RECORD = "record"
    """The recorded best on a suite: stored answers, with which several sampled answers an item are compared."""


ANOTHER_IMPROVED = "and another target improved"
"""End of the sentence of a target that did not improve itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A deterministic check: uploaded bytes are equal, no NaN, the adapter changes the output."""

    name: str
    passed: bool
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRow:
    """One suite against one baseline. Shares lie in 0..1; a gain is positive, a loss negative.

    before, after   share of items answered correctly
    won, lost       changed items, with an `UNDECIDED` answer counted against the candidate
    undecided       items where either answer was `UNDECIDED`; against the record, undecided answers of all looks
    low, high       confidence bounds of the true gain, each at 1 - alpha; `UNDECIDED` widens both
    bound           upper bound of the loss, -low; must not exceed `margin`
    margin          largest loss that counts as none; `wanted`: the one of the settings, None in older decisions
    p_value         of "no improvement", for targets against the parent; None elsewhere
    power           probability that this many items show an unchanged model to be within the margin
    looks           answers an item, against the record; None elsewhere. There `won` and `lost` are items whose usual answer
                    changed, and `low` and `high` hold at the level of the line's attempt
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
    wanted: float | None = None
    looks: int | None = None

    @property
    def stands_for_suite(self) -> bool:
        """Whether this is the row to show where a suite has only one: against the parent, or the record in its place."""
        return self.against in (Against.PARENT, Against.RECORD)

    @property
    def has_improved(self) -> bool:
        """Whether this is a target that improved itself, and did not pass because another one did."""
        is_tested = self.p_value is not None and self.outcome is Outcome.PASS
        return is_tested and not self.sentence.endswith(ANOTHER_IMPROVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Outcome, the reasons as sentences, and the rows and checks that support them.

    `pools` holds one row per kind with several suites and baseline: these suites together. `warnings` says what the
    decision does not cover. Both are also among the reasons, and older decisions have neither. `level` is that of the
    improvement test, `loss_level` that of the comparisons with the record, where they are not `gate.alpha`
    (`lifetime_error`). `beats_base` names the targets on which the candidate is proved to beat the base model at a
    level that holds for the line's whole life; None where no such claim is made. `rule` is the number of the rule by
    which these levels follow from the events of the line up to number `seen`; None in decisions of older revisions.
    """

    outcome: Outcome
    reasons: tuple[str, ...]
    rows: tuple[SuiteRow, ...]
    checks: tuple[Check, ...] = ()
    pools: tuple[SuiteRow, ...] = ()
    warnings: tuple[str, ...] = ()
    level: float | None = None
    loss_level: float | None = None
    beats_base: tuple[str, ...] | None = None
    rule: int | None = None
    seen: int | None = None

    @property
    def passed(self) -> bool:
        """Whether the candidate may be published."""
        return self.outcome is Outcome.PASS

    @property
    def all_rows(self) -> tuple[SuiteRow, ...]:
        """Rows of the suites together, where a kind has several, and of each suite."""
        return (*self.pools, *self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-serializable values."""
        plain = {name: value for name, value in asdict(self).items() if name not in _OF_LINE or value is not None}
        for row in (*plain["rows"], *plain["pools"]):
            if row["looks"] is None:
                del row["looks"]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}

    def to_json(self) -> str:
        """Return one JSON object with sorted keys: equal decisions give equal bytes."""
        return json.dumps(self.to_dict(), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Decision:
        """Inverse of `to_dict`. Raises BadInputError that names the missing or unknown field."""
        try:
            return cls(
                outcome=Outcome(plain["outcome"]),
                reasons=tuple(plain["reasons"]),
                rows=tuple(_row(row) for row in plain["rows"]),
                checks=tuple(Check(**check) for check in plain["checks"]),
                pools=tuple(_row(row) for row in plain.get("pools", ())),
                warnings=tuple(plain.get("warnings", ())),
                level=plain.get("level"),
                loss_level=plain.get("loss_level"),
                beats_base=None if (beaten := plain.get("beats_base")) is None else tuple(beaten),
                rule=plain.get("rule"),
                seen=plain.get("seen"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BadInputError(f"not a gate decision: {error}. Was it written by another version?") from None


_OF_LINE = ("level", "loss_level", "beats_base", "rule", "seen")
"""Fields that not every decision has: those of an error budget of the line, and what older revisions did not store."""


def _row(plain: dict[str, Any]) -> SuiteRow:
    kinds = {
        "kind": SuiteKind(plain["kind"]),
        "against": Against(plain["against"]),
        "outcome": Outcome(plain["outcome"]),
    }
    return SuiteRow(**{**plain, **kinds})
