"""Guards with an error budget of the line: is a candidate within the margin of the record on every suite?

A look is one more answer to every item. After each look a suite is decided or not: its loss is within the margin, by
evidence of 1 over the level of the line's attempt (`lifetime_error.loss_level`), or it got worse, or nothing is shown
yet. Only undecided suites get another look, at most `gate.most_looks`. A version that lost the margin on some suite is
published only if the evidence about that very suite is false, so the level needs no correction for the number of
suites. The memory of all nights is one suite, in which each night has a veto (`memory_veto`).

The margin is that of the suite's kind, or the smallest one that all looks decide; for skill and general suites up to
`gate.widest_margin`. It depends on the record alone, so it is known before anything is measured.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from functools import cached_property
from math import log
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from everlearn.gate import sentences
from everlearn.gate.decision_record import Against, Outcome, SuiteRow
from everlearn.gate.loss_evidence import LossEvidence, chance_within, decided_margin, items_needed
from everlearn.gate.margins import SHIPPED, Margin, veto_margin, wanted_margin
from everlearn.gate.memory_veto import SUSPICION, VETO_SHARE, Parts, lost_in
from everlearn.gate.record_of_line import UNDECIDED, read_look

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from everlearn.data.suites import SuiteKind
    from everlearn.gate.record_of_line import RecordedItem
    from everlearn.settings import GateSettings

LEAST_EVIDENCE_OF_GAIN = 100.0
"""Evidence of a gain from which a version is measured anew to become the record of a suite."""
_DRIFT = 1 / 3
"""Part of the margin below the record from which a suite that passed is warned about."""


@dataclass(frozen=True, kw_only=True)
class Guard:
    """One suite: the record of its items, and the looks at the candidate so far, each with a letter for each item.

    `guards` is the number of suites of the night that are compared with the record, `level` that of the line's attempt.
    `parts` are the nights whose memory the suite holds, none for other kinds. `holder` is the version that most of the
    record is of, if it can serve again.
    """

    suite: str
    kind: SuiteKind
    recorded: tuple[RecordedItem, ...]
    settings: GateSettings
    level: float
    guards: int
    looks: tuple[str, ...] = ()
    parts: Parts = ()
    holder: str | None = None

    @cached_property
    def margin(self) -> Margin:
        """The margin that is wanted, and the one that this record can decide."""
        wanted = wanted_margin(self.kind, self.settings)
        limit = max(self.settings.widest_margin, self._decided(0.0)) if self.kind in SHIPPED else 1.0
        return Margin(wanted=wanted, allowed=max(wanted, min(self.decided, limit)))

    @property
    def decided(self) -> float:
        """The smallest margin that all looks decide."""
        return self._decided(self.variance)

    @property
    def items_needed(self) -> int:
        """The items, answered as much alike as those of the record, that would decide the wanted margin."""
        return items_needed(self.margin.wanted, variance=self.variance, **self._plan)

    @cached_property
    def variance(self) -> float:
        """Expected variance of one answer of a candidate that equals the record, on average over the items."""
        of_answers = sum(item.share * (1 - item.share) * (1 + 1 / item.samples) for item in self.recorded)
        return max(self.settings.discordance / 2, of_answers / len(self.recorded))

    @cached_property
    def evidence(self) -> LossEvidence:
        """What the looks show."""
        evidence = LossEvidence(
            np.array([item.share for item in self.recorded]),
            sizes=np.ones(len(self.recorded)),
            margin=self.margin.allowed,
            variance=self.variance,
            doubted=np.array([item.doubted for item in self.recorded]),
        )
        for look in self.looks:
            right, undecided = read_look(look)
            evidence.add(right, undecided=undecided)
        return evidence

    @property
    def outcome(self) -> Outcome:
        """What is shown so far; INSUFFICIENT while it is nothing.

        A suite that would pass is not decided while a night is suspected to be forgotten and looks are left.
        """
        if self.vetoes:
            return Outcome.FAIL
        if is_within(self.evidence, level=self.level)[0]:
            is_suspect = max(self._lost_in.values(), default=0.0) >= SUSPICION
            return Outcome.INSUFFICIENT if is_suspect and self._may_look else Outcome.PASS
        left = self.settings.most_looks - len(self.looks)
        worse = is_worse(self.evidence, guards=self.guards, alpha=self.settings.alpha, level=self.level, looks=left)[0]
        return Outcome.FAIL if worse else Outcome.INSUFFICIENT

    @property
    def needs_look(self) -> bool:
        """Whether the candidate has to answer the suite once more."""
        return self._may_look and self.outcome is Outcome.INSUFFICIENT

    @property
    def vetoes(self) -> tuple[str, ...]:
        """The nights on whose memory more than the margin of one suite is proved to be lost."""
        chance = chance_of_each(self.guards, power=self.settings.power)
        proof = log(len(self.parts) / (VETO_SHARE * (1 - chance))) if self.parts else 0.0
        return tuple(name for name, lost in self._lost_in.items() if lost >= proof)

    @property
    def shares(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Shares of right answers to each item, of the record and of all looks."""
        before = np.array([item.right / item.samples for item in self.recorded])
        return before, np.mean([read_look(look)[0] for look in self.looks], axis=0)

    @property
    def has_gained(self) -> bool:
        """Whether the looks show that the candidate is better than the record."""
        recorded = np.array([item.share for item in self.recorded])
        gain = LossEvidence(
            1 - recorded, sizes=np.ones(len(recorded)), margin=self.margin.allowed, variance=self.variance
        )
        for look in self.looks:
            gain.add(1 - read_look(look)[0])
        return bool(gain.log_worse[0] >= log(LEAST_EVIDENCE_OF_GAIN))

    def look(self, answers: str) -> Guard:
        """Return the guard with one more look."""
        return replace(self, looks=(*self.looks, answers))

    def at(self, level: float) -> Guard:
        """Return the guard with the level of another attempt."""
        return replace(self, level=level)

    def to_plain(self) -> dict[str, Any]:
        """Return JSON values with which the suite can be judged again, besides the settings and the level."""
        recorded = [astuple(item) for item in self.recorded]
        plain: dict[str, Any] = {"suite": self.suite, "kind": str(self.kind), "recorded": recorded}
        if self.parts:
            plain["parts"] = [list(part) for part in self.parts]
        if self.holder is not None:
            plain["holder"] = self.holder
        return plain | {"looks": list(self.looks)}

    def row(self) -> SuiteRow:
        """Return the judged row of the suite."""
        outcome, measured = self.outcome, self._measured()
        if self.kind in SHIPPED and not measured.before and not measured.after:
            return replace(measured, outcome=Outcome.INSUFFICIENT, sentence=sentences.nothing_right(measured))
        said = {
            Outcome.PASS: lambda: sentences.within_record(measured, self.margin),
            Outcome.FAIL: lambda: self._why_worse(measured),
            Outcome.INSUFFICIENT: lambda: sentences.undecided_at_record(measured, self.margin),
        }
        return replace(measured, outcome=outcome, sentence=said[outcome]())

    def _why_worse(self, measured: SuiteRow) -> str:
        if self.vetoes:
            return sentences.night_forgotten(measured, self.vetoes, veto_margin(self.kind, self.settings))
        return sentences.worse_than_record(measured)

    def _measured(self) -> SuiteRow:
        before, right = self.shares
        bound = self.evidence.largest_loss(self.level)
        return SuiteRow(
            suite=self.suite,
            kind=self.kind,
            against=Against.RECORD,
            n=len(self.recorded),
            before=float(before.mean()),
            after=float(right.mean()),
            won=int(((right >= 0.5) & (before < 0.5)).sum()),
            lost=int(((right < 0.5) & (before >= 0.5)).sum()),
            undecided="".join(self.looks).count(UNDECIDED),
            low=-bound,
            high=self.evidence.largest_gain(self.level),
            margin=self.margin.allowed,
            bound=bound,
            p_value=None,
            power=chance_within(
                self.margin.allowed,
                items=len(self.recorded),
                variance=self.variance,
                looks=self.settings.most_looks,
                level=self.level,
            ),
            outcome=Outcome.INSUFFICIENT,
            sentence="",
            wanted=self.margin.wanted,
            looks=len(self.looks),
        )

    @cached_property
    def _lost_in(self) -> dict[str, float]:
        margin = veto_margin(self.kind, self.settings) if self.parts else 0.0
        return lost_in(self.parts, self.recorded, self.looks, margin=margin, variance=self.variance)

    @property
    def _may_look(self) -> bool:
        return len(self.looks) < self.settings.most_looks

    @property
    def _plan(self) -> _Plan:
        chance = chance_of_each(self.guards, power=self.settings.power)
        if self.parts:
            chance = 1 - (1 - chance) * (1 - VETO_SHARE)
        return {"looks": self.settings.most_looks, "level": self.level, "chance": chance}

    def _decided(self, variance: float) -> float:
        return decided_margin(items=len(self.recorded), variance=variance, **self._plan)


class _Plan(TypedDict):
    looks: int
    level: float
    chance: float


def chance_of_each(guards: int, *, power: float) -> float:
    """Return the probability with which an unchanged model passes each guard, so that it passes all with `power`.

    Half of the probability of stopping it is left to the comparisons of tonight's suites with the parent. Of that of a
    guard with several nights, the vetoes have a share.
    """
    return float((1 - (1 - power) / 2) ** (1 / guards))


def is_within(evidence: LossEvidence, *, level: float) -> NDArray[np.bool_]:
    """Return whether the loss is within the margin, for each simulated line of the evidence, or for one suite: shape (1,)."""
    return np.asarray(evidence.log_within >= -log(level))


def is_worse(evidence: LossEvidence, *, guards: int, alpha: float, level: float, looks: int) -> NDArray[np.bool_]:
    """Return whether something was lost, at `alpha` for all suites of a night, and the `looks` left could hardly show that it is within the margin."""
    return np.asarray((evidence.log_worse >= log(guards / alpha)) & ~evidence.can_pass(level, looks=looks))


def drifted_rows(rows: Sequence[SuiteRow]) -> list[SuiteRow]:
    """Return the suites that passed, but more than a third of the margin below the record."""
    return [
        row
        for row in rows
        if row.against is Against.RECORD
        and row.outcome is Outcome.PASS
        and row.before - row.after > _DRIFT * row.margin
    ]
