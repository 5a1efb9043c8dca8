"""What a decision was made from, stored so that anybody can make it again without a model and without the problems.

An answer is one letter (`record_of_line`); of two undecided answers to an item it is stored whether they are equal,
because the gate counts equal ones as a tie. Statements, answers and references are not stored.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from everlearn.data.suites import SuiteKind
from everlearn.errors import IntegrityError
from everlearn.gate.decision import Headline, judge
from everlearn.gate.decision_record import Against, Check, Decision
from everlearn.gate.evidence import PairedSuite
from everlearn.gate.guard import Guard
from everlearn.gate.record_of_line import NOT_RIGHT, RIGHT, UNDECIDED, RecordedItem, letter_of
from everlearn.problem import Measurement, Ruling, Verdict
from everlearn.settings import GateSettings

_RULINGS = {RIGHT: Ruling.CORRECT, UNDECIDED: Ruling.UNDECIDED, NOT_RIGHT: Ruling.WRONG}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvidence:
    """Everything that `judge` needs, but the levels, which follow from the events of the line."""

    pairs: tuple[PairedSuite, ...]
    guards: tuple[Guard, ...]
    checks: tuple[Check, ...]
    settings: GateSettings
    base: Against | None = None
    """As what the base model was measured; None where it was not, or by an older revision, which made no headlines."""

    def judge(self, *, level: float | None, loss_level: float | None, headline_level: float | None = None) -> Decision:
        """Make the decision again, at these levels of the line."""
        guards = [guard.at(loss_level) for guard in self.guards] if loss_level is not None else []
        headline = None
        if self.base is not None and headline_level is not None:
            headline = Headline(against=self.base, level=headline_level)
        return judge(
            self.pairs, settings=self.settings, checks=self.checks, level=level, guards=guards, headline=headline
        )

    def to_json(self) -> bytes:
        """Return one JSON object with sorted keys: equal evidence gives equal bytes."""
        plain: dict[str, Any] = {
            "pairs": [_pair_to_plain(pair) for pair in self.pairs],
            "guards": [guard.to_plain() for guard in self.guards],
            "checks": [asdict(check) for check in self.checks],
            "settings": self.settings.model_dump(mode="json"),
        }
        if self.base is not None:
            plain["base"] = str(self.base)
        return json.dumps(plain, ensure_ascii=False, sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> StoredEvidence:
        """Inverse of `to_json`. Raises IntegrityError if this is no evidence."""
        try:
            plain = json.loads(data)
            settings = GateSettings.model_validate(plain["settings"])
            return cls(
                pairs=tuple(map(_pair_from_plain, plain["pairs"])),
                guards=tuple(_guard_from_plain(row, settings, of=len(plain["guards"])) for row in plain["guards"]),
                checks=tuple(Check(**check) for check in plain["checks"]),
                settings=settings,
                base=Against(plain["base"]) if "base" in plain else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(
                f"not the evidence of a decision: {error}; was it written by a newer Everlearn?"
            ) from None


def _pair_to_plain(pair: PairedSuite) -> dict[str, Any]:
    after = {m.item: m for m in pair.after}
    both = [(m, after[m.item]) for m in pair.before]
    roots = {root: number for number, root in enumerate(dict.fromkeys(m.root for m in pair.before))}
    return {
        "suite": pair.suite,
        "kind": str(pair.kind),
        "against": str(pair.against),
        "roots": [roots[m.root] for m in pair.before] if len(roots) < len(both) else None,
        "before": "".join(_letter(m) for m, _ in both),
        "after": "".join(_letter(m) for _, m in both),
        "equal": [
            index
            for index, (old, new) in enumerate(both)
            if UNDECIDED == _letter(old) == _letter(new) and old.answer == new.answer
        ],
    }


def _pair_from_plain(plain: dict[str, Any]) -> PairedSuite:
    equal = set(plain["equal"])

    def side(name: str) -> tuple[Measurement, ...]:
        return tuple(
            Measurement(
                item=str(index),
                root=str((plain["roots"] or range(len(plain[name])))[index]),
                verdict=Verdict(ruling=_RULINGS[letter], reason=""),
                answer="" if index in equal else name,
            )
            for index, letter in enumerate(plain[name])
        )

    kind, against = SuiteKind(plain["kind"]), Against(plain["against"])
    return PairedSuite(suite=plain["suite"], kind=kind, against=against, before=side("before"), after=side("after"))


def _letter(measurement: Measurement) -> str:
    return letter_of(measurement.verdict.ruling)


def _guard_from_plain(plain: dict[str, Any], settings: GateSettings, *, of: int) -> Guard:
    return Guard(
        suite=plain["suite"],
        kind=SuiteKind(plain["kind"]),
        recorded=tuple(map(RecordedItem.from_plain, plain["recorded"])),
        settings=settings,
        level=settings.alpha,
        guards=of,
        looks=tuple(plain["looks"]),
        parts=tuple((name, items) for name, items in plain.get("parts", ())),
        holder=plain.get("holder"),
    )
