"""The gate's decision rule: paired measurements in, PASS, FAIL or INSUFFICIENT with reasons out.

PASS requires that at least one target improved, that no target got worse, and that every suite is non-inferior within
its margin against the parent and every other measured baseline. The non-inferiority claims must all hold, so they need
no correction for multiple testing; the improvement claims, one of which suffices, are corrected by Holm's procedure.
Suite sizes are fixed before measuring: no early stopping.

`evidence` computes the statistics of one suite and counts `UNDECIDED` answers, `statistics` has the tests and bounds,
`decision` defines the result.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING

from everlearn.data.suites import Suite, SuiteKind
from everlearn.errors import BadInputError
from everlearn.gate import statistics
from everlearn.gate.decision_record import Against, Check, Decision, Outcome, SuiteRow
from everlearn.gate.evidence import Evidence, PairedSuite, WinLossCounts, assess, margin_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.settings import GateSettings

__all__ = [
    "Against",
    "Check",
    "Decision",
    "Outcome",
    "PairedSuite",
    "Suite",
    "SuiteKind",
    "SuiteRow",
    "gate_key",
    "judge",
    "margin_for",
]

_WORST_FIRST = (Outcome.FAIL, Outcome.INSUFFICIENT, Outcome.PASS)


def judge(pairs: Sequence[PairedSuite], *, settings: GateSettings, checks: Sequence[Check] = ()) -> Decision:
    """Combine all suites and checks into one decision.

    FAIL: a check failed, a suite got significantly worse, or every target gained significantly less than is worthwhile.
    INSUFFICIENT: nothing to gain, or too few items to prove or refute a claim.
    Raises BadInputError if the same suite occurs twice against the same baseline.
    """
    repeated = [
        f"{suite} against {against}"
        for (suite, against), n in Counter((p.suite, p.against) for p in pairs).items()
        if n > 1
    ]
    if repeated:
        raise BadInputError(f"the gate received {repeated[0]} twice; compare each suite once with each baseline")
    evidence = [assess(pair, settings=settings) for pair in pairs]
    rows = _rows(evidence, settings)
    outcomes = {row.outcome for row in rows} or {Outcome.INSUFFICIENT}
    if not all(check.passed for check in checks):
        outcomes.add(Outcome.FAIL)
    if not any(e.can_show_improvement for e in evidence):
        outcomes.add(Outcome.INSUFFICIENT)
    outcome = next(outcome for outcome in _WORST_FIRST if outcome in outcomes)
    reasons = _reasons(outcome, evidence, rows, checks)
    return Decision(outcome=outcome, reasons=reasons, rows=rows, checks=tuple(checks))


def gate_key(candidate: str, *, suites: Sequence[Suite], settings: GateSettings) -> str:
    """Return the digest of candidate, suites and settings: the gate can be repeated without training."""
    parts = [candidate, *sorted(suite.digest for suite in suites), settings.model_dump_json()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _rows(evidence: Sequence[Evidence], settings: GateSettings) -> tuple[SuiteRow, ...]:
    candidates = [index for index, e in enumerate(evidence) if e.can_show_improvement]
    significant = statistics.holm([evidence[index].p_better for index in candidates], alpha=settings.alpha)
    improved = {index for index, holds in zip(candidates, significant, strict=True) if holds}
    too_little = bool(candidates) and all(evidence[index].high < settings.worthwhile_gain for index in candidates)
    rows = []
    for index, e in enumerate(evidence):
        outcome, sentence = _judge_no_worse(e, settings)
        if e.pair.kind is SuiteKind.TARGET and e.pair.against is Against.PARENT and outcome is Outcome.PASS:
            outcome, sentence = _judge_improvement(
                e, improved=index in improved, other_improved=bool(improved), too_little=too_little
            )
        rows.append(_row(e, outcome, sentence))
    return tuple(rows)


def _judge_no_worse(e: Evidence, settings: GateSettings) -> tuple[Outcome, str]:
    is_worse = e.p_worse <= settings.alpha
    within = -e.low <= e.margin
    bound = f"the true {'gain is at least' if e.low > 0 else 'loss is at most'} {_points(abs(e.low))} points"
    changes_and_bound = f"{_changes(e)}; {bound}"
    if is_worse and (e.pair.kind is SuiteKind.TARGET or not within):
        return (
            Outcome.FAIL,
            f"got worse: {_changes(e, counts=e.against_baseline)}, p = {e.p_worse:.2g}",
        )
    if within:
        return Outcome.PASS, f"no worse: {changes_and_bound}" + (
            f", and {_points(e.margin)} are allowed" if e.low <= 0 else ""
        )
    discordance = max(
        settings.discordance, (e.against_candidate.won + e.against_candidate.lost) / max(1, len(e.pair.before))
    )
    needed = statistics.items_needed(e.margin, discordance=discordance, power=settings.power, alpha=settings.alpha)
    return Outcome.INSUFFICIENT, (
        f"inconclusive: {changes_and_bound}, more than the {_points(e.margin)} allowed; about {needed} independent items would decide"
    )


def _judge_improvement(e: Evidence, *, improved: bool, other_improved: bool, too_little: bool) -> tuple[Outcome, str]:
    if improved:
        return (
            Outcome.PASS,
            f"improved: {_changes(e)}, p = {e.p_better:.2g}; the true gain is at least {_points(e.low)} points",
        )
    if other_improved:
        return Outcome.PASS, f"no worse: {_changes(e)}, and another target improved"
    if not e.has_room:
        return Outcome.INSUFFICIENT, f"nothing to gain: the parent solves {e.before:.1%}"
    if too_little:
        return (
            Outcome.FAIL,
            f"did not improve: {_changes(e, counts=e.against_baseline)}; the true gain is at most {_points(e.high)} points",
        )
    return Outcome.INSUFFICIENT, (
        f"improvement inconclusive: {_changes(e)}, p = {e.p_better:.2g}; "
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
        won=e.against_candidate.won,
        lost=e.against_candidate.lost,
        undecided=e.undecided,
        low=e.low,
        high=e.high,
        margin=e.margin,
        bound=-e.low,
        p_value=e.p_better if e.can_show_improvement else None,
        power=e.power,
        outcome=outcome,
        sentence=sentence,
    )


def _reasons(
    outcome: Outcome, evidence: Sequence[Evidence], rows: Sequence[SuiteRow], checks: Sequence[Check]
) -> tuple[str, ...]:
    """Return the decisive sentences, most important first."""
    reasons = [f"check {check.name} failed: {check.sentence}" for check in checks if not check.passed]
    targets = [e for e in evidence if e.pair.kind is SuiteKind.TARGET and e.pair.against is Against.PARENT]
    if not targets:
        reasons.append("no target suite was measured against the parent, so no improvement can be shown")
    elif not any(e.can_show_improvement for e in targets):
        reasons.append("nothing to gain: the parent is at the ceiling on every target suite")
    decisive = [row for row in rows if row.outcome is outcome] if outcome is not Outcome.PASS else rows
    decisive = sorted(decisive, key=lambda row: row.p_value is None)  # targets that had to improve come first
    reasons += [f"{row.suite} against the {row.against}: {row.sentence}" for row in decisive]
    return tuple(reasons)


def _changes(e: Evidence, *, counts: WinLossCounts | None = None) -> str:
    """Return `2 won and 7 lost of 240` with the undecided; default counts: `UNDECIDED` against the candidate."""
    shown = counts or e.against_candidate
    undecided = f" ({e.undecided} undecided, counted against this claim)" if e.undecided else ""
    return f"{shown.won} won and {shown.lost} lost of {len(e.pair.before)}{undecided}"


def _points(share: float) -> str:
    return f"{100 * share:.1f}"
