"""The gate: turns paired measurements into PASS, FAIL or INSUFFICIENT, with reasons.

At least one target has to improve, none may get worse, and every suite has to be no worse within its margin, against
the parent and against whomever else it was measured. All the "no worse" claims must hold together, so they need no
correction; Holm applies over the targets, any one of which may carry the PASS. Sizes are fixed before measuring.

What one suite proves by itself, and how `UNDECIDED` answers count, is in `evidence.py`; the statistics are in `paired.py`,
what comes out is in `decision.py`. Leaves out: stopping early.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING

from everlearn.data.suites import Suite, SuiteKind
from everlearn.errors import BadInputError
from everlearn.gate import statistics
from everlearn.gate.decision import Against, Check, Decision, Outcome, SuiteRow
from everlearn.gate.evidence import Evidence, Paired, WinLossCounts, margin_for, weigh

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.settings import GateSettings

__all__ = [
    "Against",
    "Check",
    "Decision",
    "Outcome",
    "Paired",
    "Suite",
    "SuiteKind",
    "SuiteRow",
    "gate_key",
    "judge",
    "margin_for",
]

_WORST_FIRST = (Outcome.FAIL, Outcome.INSUFFICIENT, Outcome.PASS)


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
    evidence = [weigh(pair, settings=settings) for pair in pairs]
    rows = _rows(evidence, settings)
    outcomes = {row.outcome for row in rows} or {Outcome.INSUFFICIENT}
    if not all(check.passed for check in checks):
        outcomes.add(Outcome.FAIL)
    if not any(e.may_carry for e in evidence):
        outcomes.add(Outcome.INSUFFICIENT)
    outcome = next(each for each in _WORST_FIRST if each in outcomes)
    reasons = _reasons(outcome, evidence, rows, checks)
    return Decision(outcome=outcome, reasons=reasons, rows=rows, checks=tuple(checks))


def gate_key(candidate: str, *, suites: Sequence[Suite], settings: GateSettings) -> str:
    """The gate's own key, so that it can be repeated without training: candidate digest, suites, settings."""
    parts = [candidate, *sorted(suite.digest for suite in suites), settings.model_dump_json()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _rows(evidence: Sequence[Evidence], settings: GateSettings) -> tuple[SuiteRow, ...]:
    candidates = [index for index, e in enumerate(evidence) if e.may_carry]
    stands = statistics.holm([evidence[index].p_better for index in candidates], alpha=settings.alpha)
    improved = {index for index, holds in zip(candidates, stands, strict=True) if holds}
    too_little = bool(candidates) and all(evidence[index].high < settings.worthwhile_gain for index in candidates)
    rows = []
    for index, e in enumerate(evidence):
        outcome, sentence = _no_worse(e, settings)
        if e.pair.kind is SuiteKind.TARGET and e.pair.against is Against.PARENT and outcome is Outcome.PASS:
            outcome, sentence = _better(e, improved=index in improved, carried=bool(improved), too_little=too_little)
        rows.append(_row(e, outcome, sentence))
    return tuple(rows)


def _no_worse(e: Evidence, settings: GateSettings) -> tuple[Outcome, str]:
    proved_worse = e.p_worse <= settings.alpha
    within = -e.low <= e.margin
    true = f"the true {'gain is at least' if e.low > 0 else 'loss is at most'} {_points(abs(e.low))} points"
    may_lose = f"{_changes(e)}; {true}"
    if proved_worse and (e.pair.kind is SuiteKind.TARGET or not within):
        return (
            Outcome.FAIL,
            f"got worse: {_changes(e, counts=e.doubt)}, which chance alone would bring with p = {e.p_worse:.2g}",
        )
    if within:
        return Outcome.PASS, f"no worse: {may_lose}" + (f", and {_points(e.margin)} are allowed" if e.low <= 0 else "")
    seen = max(settings.discordance, (e.proof.won + e.proof.lost) / max(1, len(e.pair.before)))
    needed = statistics.items_needed(e.margin, discordance=seen, power=settings.power, alpha=settings.alpha)
    return Outcome.INSUFFICIENT, (
        f"could not tell: {may_lose}, more than the {_points(e.margin)} allowed; about {needed} independent items would decide"
    )


def _better(e: Evidence, *, improved: bool, carried: bool, too_little: bool) -> tuple[Outcome, str]:
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


def _row(e: Evidence, outcome: Outcome, sentence: str) -> SuiteRow:
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
    outcome: Outcome, evidence: Sequence[Evidence], rows: Sequence[SuiteRow], checks: Sequence[Check]
) -> tuple[str, ...]:
    """The sentences that decided, most important first."""
    reasons = [f"check {check.name} failed: {check.sentence}" for check in checks if not check.passed]
    targets = [e for e in evidence if e.pair.kind is SuiteKind.TARGET and e.pair.against is Against.PARENT]
    if not targets:
        reasons.append("no target suite was measured against the parent, so no improvement can be shown")
    elif not any(e.may_carry for e in targets):
        reasons.append("nothing to gain: the parent leaves no room on any target suite")
    decisive = [row for row in rows if row.outcome is outcome] if outcome is not Outcome.PASS else rows
    decisive = sorted(decisive, key=lambda row: row.p_value is None)  # what was to improve, before what was to stay
    reasons += [f"{row.suite} against the {row.against}: {row.sentence}" for row in decisive]
    return tuple(reasons)


def _changes(e: Evidence, *, counts: WinLossCounts | None = None) -> str:
    """`2 won and 7 lost of 240`, with what was undecided; the counts of the proof unless others are given."""
    shown = counts or e.proof
    undecided = f" ({e.undecided} undecided, counted against this claim)" if e.undecided else ""
    return f"{shown.won} won and {shown.lost} lost of {len(e.pair.before)}{undecided}"


def _points(share: float) -> str:
    return f"{100 * share:.1f}"
