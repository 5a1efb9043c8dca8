"""The gate: turns paired measurements into PASS, FAIL or INSUFFICIENT, with reasons.

At least one target has to improve, none may get worse, and every suite has to be no worse within its margin, against
the parent and against whomever else it was measured. All the "no worse" claims must hold together, so they need no
correction; Holm applies over the targets, any one of which may carry the PASS. Sizes are fixed before measuring.

An `UNDECIDED` answer is never folded into wrong. It proves nothing, in either direction: for a PASS it is held against
the candidate (undecided before counts as right, undecided after as not right), for a FAIL against the parent (the
reverse). Two undecided answers to an item are a tie only if they are the same text. So undecided answers can turn a
decision into INSUFFICIENT, never into PASS or FAIL.

The statistics are in `paired.py`, what comes out in `decision.py`. Leaves out: stopping early.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from everlearn import paired
from everlearn.decision import Against, Check, Decision, Outcome, SuiteRow
from everlearn.errors import BadInputError
from everlearn.problem import Measurement, Ruling
from everlearn.suites import Kind, Suite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.settings import GateSettings

__all__ = [
    "Against",
    "Check",
    "Decision",
    "Kind",
    "Outcome",
    "Paired",
    "Suite",
    "SuiteRow",
    "gate_key",
    "judge",
    "margin_for",
]

_WORST_FIRST = (Outcome.FAIL, Outcome.INSUFFICIENT, Outcome.PASS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """One suite answered by an opponent (`before`) and by the candidate (`after`): the same items, in any order."""

    suite: str
    kind: Kind
    before: tuple[Measurement, ...]
    after: tuple[Measurement, ...]
    against: Against = Against.PARENT

    def __post_init__(self) -> None:
        before = {(m.item, m.root) for m in self.before}
        if len(before) != len(self.before) or len({m.item for m in self.before}) != len(before):
            raise BadInputError(f"suite {self.suite!r}: an item was measured twice; measure each item once")
        if len(self.after) != len(before) or before != {(m.item, m.root) for m in self.after}:
            raise BadInputError(
                f"suite {self.suite!r}: before and after are not the same items; measure both on one suite"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counts:
    """Wins and losses under one reading of `UNDECIDED`, with the gain of each root in a fixed order."""

    won: int
    lost: int
    gains: tuple[int, ...]

    def better(self, *, independent: bool) -> float:
        return paired.mcnemar(won=self.won, lost=self.lost) if independent else paired.sign_flip(self.gains)

    def worse(self, *, independent: bool) -> float:
        mirrored = _Counts(won=self.lost, lost=self.won, gains=tuple(-gain for gain in self.gains))
        return mirrored.better(independent=independent)

    def largest_loss(self, *, scale: float, items: float, alpha: float) -> float:
        return paired.largest_loss(won=self.won * scale, lost=self.lost * scale, items=items, alpha=alpha)

    def largest_gain(self, *, scale: float, items: float, alpha: float) -> float:
        return paired.largest_loss(won=self.lost * scale, lost=self.won * scale, items=items, alpha=alpha)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evidence:
    """What one pair says before the targets are weighed together."""

    pair: Paired
    proof: _Counts  # UNDECIDED held against the candidate
    doubt: _Counts  # UNDECIDED held against the parent
    before: float
    after: float
    undecided: int
    low: float
    high: float
    margin: float
    power: float
    p_better: float
    p_worse: float
    has_room: bool

    @property
    def may_carry(self) -> bool:
        return self.pair.kind is Kind.TARGET and self.pair.against is Against.PARENT and self.has_room


def judge(pairs: Sequence[Paired], *, settings: GateSettings, checks: Sequence[Check] = ()) -> Decision:
    """Weigh all suites and checks together.

    FAIL: a check failed, a suite is proved worse, or every target is proved to gain too little to matter.
    INSUFFICIENT: nothing to gain, or a claim could neither be proved nor refuted with this many items.
    Raises BadInputError when the same suite comes twice against the same opponent.
    """
    twice = [
        f"{suite} against {against}"
        for (suite, against), n in Counter((p.suite, p.against) for p in pairs).items()
        if n > 1
    ]
    if twice:
        raise BadInputError(f"the gate was given {twice[0]} twice; each suite is compared once with each opponent")
    evidence = [_weigh(pair, settings) for pair in pairs]
    rows = _rows(evidence, settings)
    outcomes = {row.outcome for row in rows} or {Outcome.INSUFFICIENT}
    if not all(check.passed for check in checks):
        outcomes.add(Outcome.FAIL)
    if not any(e.may_carry for e in evidence):
        outcomes.add(Outcome.INSUFFICIENT)
    outcome = next(each for each in _WORST_FIRST if each in outcomes)
    reasons = _reasons(outcome, evidence, rows, checks)
    return Decision(outcome=outcome, reasons=reasons, rows=rows, checks=tuple(checks))


def margin_for(kind: Kind, n: float, *, settings: GateSettings) -> float:
    """The loss that counts as none: the setting's, or for a small suite what `n` items decide, up to the widest."""
    wanted: float = getattr(settings, f"{kind}_margin")
    decides = paired.decidable_margin(n, discordance=settings.discordance, power=settings.power, alpha=settings.alpha)
    return max(wanted, min(decides, settings.widest_margin))


def gate_key(candidate: str, *, suites: Sequence[Suite], settings: GateSettings) -> str:
    """The gate's own key, so that it can be repeated without training: candidate digest, suites, settings."""
    parts = [candidate, *sorted(suite.digest for suite in suites), settings.model_dump_json()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _weigh(pair: Paired, settings: GateSettings) -> _Evidence:
    n = len(pair.before)
    sizes = Counter(m.root for m in pair.before)
    independent = len(sizes) == n
    items = paired.independent_items(list(sizes.values())) if n else 0.0
    proof, doubt = _count(pair, against_candidate=True), _count(pair, against_candidate=False)
    bounds: dict[str, Any] = {"scale": items / n if n else 1.0, "items": items, "alpha": settings.alpha}
    margin = margin_for(pair.kind, items, settings=settings)
    before, after = ({m.item: m.verdict.ruling for m in side} for side in (pair.before, pair.after))
    wrong_before = sum(ruling is Ruling.WRONG for ruling in before.values())
    return _Evidence(
        pair=pair,
        proof=proof,
        doubt=doubt,
        before=_share(sum(ruling is Ruling.CORRECT for ruling in before.values()), n),
        after=_share(sum(ruling is Ruling.CORRECT for ruling in after.values()), n),
        undecided=sum(Ruling.UNDECIDED in {before[item], after[item]} for item in before),
        low=-proof.largest_loss(**bounds),
        high=doubt.largest_gain(**bounds),
        margin=margin,
        power=paired.power_of(items, margin=margin, discordance=settings.discordance, alpha=settings.alpha),
        p_better=proof.better(independent=independent),
        p_worse=doubt.worse(independent=independent),
        has_room=n > 0 and wrong_before > (1 - settings.ceiling) * n,
    )


def _count(pair: Paired, *, against_candidate: bool) -> _Counts:
    after = {m.item: m for m in pair.after}
    gains: Counter[str] = Counter()
    won = lost = 0
    for old in pair.before:
        gain = _gain(old, after[old.item], against_candidate=against_candidate)
        won += gain > 0
        lost += gain < 0
        gains[old.root] += gain
    return _Counts(won=won, lost=lost, gains=tuple(gains.values()))


def _gain(old: Measurement, new: Measurement, *, against_candidate: bool) -> int:
    """1 for a win, -1 for a loss, 0 for a tie."""
    rulings = (old.verdict.ruling, new.verdict.ruling)
    if rulings == (Ruling.UNDECIDED, Ruling.UNDECIDED) and old.answer == new.answer:
        return 0
    right_before, right_after = (
        _is_right(ruling, doubt=doubt)
        for ruling, doubt in zip(rulings, (against_candidate, not against_candidate), strict=True)
    )
    return right_after - right_before


def _is_right(ruling: Ruling, *, doubt: bool) -> bool:
    return doubt if ruling is Ruling.UNDECIDED else ruling is Ruling.CORRECT


def _share(count: int, n: int) -> float:
    return count / n if n else 0.0


def _rows(evidence: Sequence[_Evidence], settings: GateSettings) -> tuple[SuiteRow, ...]:
    candidates = [index for index, e in enumerate(evidence) if e.may_carry]
    stands = paired.holm([evidence[index].p_better for index in candidates], alpha=settings.alpha)
    improved = {index for index, holds in zip(candidates, stands, strict=True) if holds}
    too_little = bool(candidates) and all(evidence[index].high < settings.worthwhile_gain for index in candidates)
    rows = []
    for index, e in enumerate(evidence):
        outcome, sentence = _no_worse(e, settings)
        if e.pair.kind is Kind.TARGET and e.pair.against is Against.PARENT and outcome is Outcome.PASS:
            outcome, sentence = _better(e, improved=index in improved, carried=bool(improved), too_little=too_little)
        rows.append(_row(e, outcome, sentence))
    return tuple(rows)


def _no_worse(e: _Evidence, settings: GateSettings) -> tuple[Outcome, str]:
    proved_worse = e.p_worse <= settings.alpha
    within = -e.low <= e.margin
    may_lose = f"{_changes(e)}; the true loss is at most {_points(-e.low)} points"
    if proved_worse and (e.pair.kind is Kind.TARGET or not within):
        return (
            Outcome.FAIL,
            f"got worse: {_changes(e, counts=e.doubt)}, which chance alone would bring with p = {e.p_worse:.2g}",
        )
    if within:
        return Outcome.PASS, f"no worse: {may_lose}, and {_points(e.margin)} are allowed"
    seen = max(settings.discordance, (e.proof.won + e.proof.lost) / max(1, len(e.pair.before)))
    needed = paired.items_needed(e.margin, discordance=seen, power=settings.power, alpha=settings.alpha)
    return Outcome.INSUFFICIENT, (
        f"could not tell: {may_lose}, more than the {_points(e.margin)} allowed; about {needed} independent items would decide"
    )


def _better(e: _Evidence, *, improved: bool, carried: bool, too_little: bool) -> tuple[Outcome, str]:
    if improved:
        return (
            Outcome.PASS,
            f"improved: {_changes(e)}, p = {e.p_better:.2g}; the true gain is at least {_points(e.low)} points",
        )
    if carried:
        return Outcome.PASS, f"no worse: {_changes(e)}, and another target improved"
    if not e.has_room:
        return Outcome.INSUFFICIENT, f"nothing to gain: {e.before:.1%} were right before"
    if too_little:
        return (
            Outcome.FAIL,
            f"did not improve: {_changes(e, counts=e.doubt)}; the true gain is at most {_points(e.high)} points",
        )
    return Outcome.INSUFFICIENT, (
        f"could not tell whether it improved: {_changes(e)}, p = {e.p_better:.2g}; "
        f"the true gain is between {_points(e.low)} and {_points(e.high)} points"
    )


def _row(e: _Evidence, outcome: Outcome, sentence: str) -> SuiteRow:
    return SuiteRow(
        suite=e.pair.suite,
        kind=e.pair.kind,
        against=e.pair.against,
        n=len(e.pair.before),
        before=e.before,
        after=e.after,
        won=e.proof.won,
        lost=e.proof.lost,
        undecided=e.undecided,
        low=e.low,
        high=e.high,
        margin=e.margin,
        bound=-e.low,
        p_value=e.p_better if e.may_carry else None,
        power=e.power,
        outcome=outcome,
        sentence=sentence,
    )


def _reasons(
    outcome: Outcome, evidence: Sequence[_Evidence], rows: Sequence[SuiteRow], checks: Sequence[Check]
) -> tuple[str, ...]:
    """The sentences that decided, most important first."""
    reasons = [f"check {check.name} failed: {check.sentence}" for check in checks if not check.passed]
    targets = [e for e in evidence if e.pair.kind is Kind.TARGET and e.pair.against is Against.PARENT]
    if not targets:
        reasons.append("no target suite was measured against the parent, so no improvement can be shown")
    elif not any(e.may_carry for e in targets):
        reasons.append("nothing to gain: the parent leaves no room on any target suite")
    decisive = [row for row in rows if row.outcome is outcome] if outcome is not Outcome.PASS else rows
    reasons += [f"{row.suite} against the {row.against}: {row.sentence}" for row in decisive]
    return tuple(reasons)


def _changes(e: _Evidence, *, counts: _Counts | None = None) -> str:
    """`2 won and 7 lost of 240`, with what was undecided; the counts of the proof unless others are given."""
    shown = counts or e.proof
    undecided = f" ({e.undecided} undecided, counted against this claim)" if e.undecided else ""
    return f"{shown.won} won and {shown.lost} lost of {len(e.pair.before)}{undecided}"


def _points(share: float) -> str:
    return f"{100 * share:.1f}"
