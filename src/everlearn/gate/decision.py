"""The gate's decision rule: paired measurements in, PASS, FAIL or INSUFFICIENT with reasons out.

PASS requires that at least one target improved, that no target got worse, and that all other suites are non-inferior
within their margins against every measured baseline: the suites of a kind together, and each of several suites alone.
The non-inferiority claims must all hold, so they need no correction for multiple testing; the improvement claims, one
of which suffices, are corrected by Holm's procedure. The sizes of these suites are fixed before measuring. Guards that
are compared with the record of the line (`guard`) stop early, by evidence that allows it; the two are never mixed in
one claim.

`evidence` counts what changed, with `UNDECIDED` answers, `margins` says how large a loss counts as none, `statistics`
has the tests and bounds, `sentences` words the results, `decision_record` defines them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from everlearn.data.suites import Suite, SuiteKind
from everlearn.errors import BadInputError
from everlearn.gate import sentences, statistics
from everlearn.gate.decision_record import Against, Check, Decision, Outcome, SuiteRow
from everlearn.gate.evidence import Comparison, PairedSuite, compare, pool
from everlearn.gate.guard import drifted_rows
from everlearn.gate.margins import SHIPPED, Margin, plan_margins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.gate.guard import Guard
    from everlearn.settings import GateSettings

__all__ = [
    "Against",
    "Check",
    "Comparison",
    "Decision",
    "Headline",
    "Outcome",
    "PairedSuite",
    "Suite",
    "SuiteKind",
    "SuiteRow",
    "compare",
    "decide",
    "judge",
]

_WORST_FIRST = (Outcome.FAIL, Outcome.INSUFFICIENT, Outcome.PASS)


def judge(
    pairs: Sequence[PairedSuite],
    *,
    settings: GateSettings,
    checks: Sequence[Check] = (),
    level: float | None = None,
    guards: Sequence[Guard] = (),
    headline: Headline | None = None,
) -> Decision:
    """Count the changes in all pairs, and decide. See `decide`."""
    comparisons = [compare(pair) for pair in pairs]
    return decide(comparisons, settings=settings, checks=checks, level=level, guards=guards, headline=headline)


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The claim "beats the base model": against which baseline the base was measured, and at what level it may be made."""

    against: Against
    level: float


def decide(
    comparisons: Sequence[Comparison],
    *,
    settings: GateSettings,
    checks: Sequence[Check] = (),
    level: float | None = None,
    guards: Sequence[Guard] = (),
    headline: Headline | None = None,
) -> Decision:
    """Combine all suites and checks into one decision. `level` is that of the improvement test, by default `alpha`.

    `guards` are the suites that were compared with the record instead (`gate.loss_error: line`), in a night of their
    own level. A `headline` decides nothing: it is said where it is proved on a target, at its level divided by the
    number of targets.

    FAIL: a check failed, a suite got significantly worse, or every target gained significantly less than is worthwhile.
    INSUFFICIENT: nothing to gain, or too few items to prove or refute a claim.
    Raises BadInputError if the same suite occurs twice against the same baseline.
    """
    _refuse_repeated(comparisons)
    provable = [each for each in comparisons if each.can_change or each.kind is SuiteKind.TARGET]
    together = pool([each for each in provable if each.kind is not SuiteKind.TARGET])
    margins = plan_margins(provable, together, settings=_with_power_left(settings) if guards else settings)
    claims = _Claims(comparisons, together, settings, level=settings.alpha if level is None else level)
    of_pairs = [_judge(each, margins.get((each.suite, each.against)), claims, settings) for each in comparisons]
    rows = (*of_pairs, *(guard.row() for guard in guards))
    pools = tuple(_judge(each, margins[each.suite, each.against], claims, settings) for each in together)
    outcomes = {row.outcome for row in (*rows, *pools)} or {Outcome.INSUFFICIENT}
    if not all(check.passed for check in checks):
        outcomes.add(Outcome.FAIL)
    if not claims.candidates:
        outcomes.add(Outcome.INSUFFICIENT)
    outcome = next(outcome for outcome in _WORST_FIRST if outcome in outcomes)
    holders = {guard.suite: guard.holder for guard in guards}
    drifted = [sentences.drifted(row, holders[row.suite]) for row in drifted_rows(rows)]
    warnings = (*sentences.warnings(rows), *drifted)
    reasons = _reasons(outcome, claims, (*pools, *rows), checks, warnings)
    if level is not None:
        reasons = (*reasons, sentences.improvement_level_said(level))
    loss_level = guards[0].level if guards else None
    if loss_level is not None:
        reasons = (*reasons, sentences.loss_level_said(loss_level))
    beaten = None if headline is None else _beaten(comparisons, headline)
    if headline is not None and beaten:
        reasons = (*reasons, sentences.beats_base(beaten, headline.level))
    return Decision(
        outcome=outcome,
        reasons=reasons,
        rows=rows,
        checks=tuple(checks),
        pools=pools,
        warnings=warnings,
        level=level,
        loss_level=loss_level,
        beats_base=beaten,
    )


def _beaten(comparisons: Sequence[Comparison], headline: Headline) -> tuple[str, ...]:
    """Return the targets on which the candidate is proved to beat the base model."""
    targets = [each for each in comparisons if each.kind is SuiteKind.TARGET and each.against is headline.against]
    return tuple(each.suite for each in targets if each.p_better() <= headline.level / len(targets))


class _Claims:
    """What the tests support: which targets improved on the parent, and which suites got worse.

    Both are corrected for the number of claims by Holm's procedure, improvements at `level`, losses at `alpha`. A
    target without room to improve is no candidate, and counts as a claim: which targets have room depends on the luck
    of the parent.
    """

    def __init__(
        self,
        comparisons: Sequence[Comparison],
        together: Sequence[Comparison],
        settings: GateSettings,
        *,
        level: float,
    ) -> None:
        self.targets = [
            each for each in comparisons if each.kind is SuiteKind.TARGET and each.against is Against.PARENT
        ]
        self.candidates = [each for each in self.targets if each.has_room(ceiling=settings.ceiling)]
        self.p_better = {(each.suite, each.against): each.p_better() for each in self.candidates}
        never = dict.fromkeys(((each.suite, each.against) for each in self.targets), 1.0)
        self.improved = _supported(never | self.p_better, alpha=level)
        self.p_worse = {(each.suite, each.against): each.p_worse() for each in (*comparisons, *together)}
        self.worse = _supported(self.p_worse, alpha=settings.alpha)
        highs = [each.largest_gain(alpha=settings.alpha) for each in self.candidates]
        self.too_little = bool(highs) and max(highs) < settings.worthwhile_gain


def _with_power_left(settings: GateSettings) -> GateSettings:
    """Return the settings for the pairs of a night with guards, which use the other half of what `power` leaves."""
    return settings.model_copy(update={"power": (1 + settings.power) / 2})


def _supported(p_values: dict[tuple[str, Against], float], *, alpha: float) -> set[tuple[str, Against]]:
    holds = statistics.holm(list(p_values.values()), alpha=alpha)
    return {key for key, proved in zip(p_values, holds, strict=True) if proved}


def _judge(e: Comparison, margin: Margin | None, claims: _Claims, settings: GateSettings) -> SuiteRow:
    """Return the row of a suite, or of the suites of a kind together; without a margin, nothing can be proved."""
    row = _measured(e, margin or Margin(wanted=1.0, allowed=1.0), settings)
    if margin is None:
        outcome = Outcome.INSUFFICIENT if e.kind in SHIPPED else Outcome.PASS
        return replace(row, outcome=outcome, sentence=sentences.nothing_right(row))
    has_to_improve = e in claims.targets
    outcome, sentence = _judge_no_worse(e, row, margin, claims, has_to_improve=has_to_improve)
    if has_to_improve:
        row = replace(row, p_value=claims.p_better.get((e.suite, e.against)))
        if outcome is Outcome.PASS:
            outcome, sentence = _judge_improvement(e, row, claims)
    return replace(row, outcome=outcome, sentence=sentence)


def _judge_no_worse(
    e: Comparison, row: SuiteRow, margin: Margin, claims: _Claims, *, has_to_improve: bool
) -> tuple[Outcome, str]:
    within = row.bound <= margin.allowed
    key = (e.suite, e.against)
    if key in claims.worse and (e.kind is SuiteKind.TARGET or not within):
        return Outcome.FAIL, sentences.got_worse(e, row, claims.p_worse[key])
    # The few items of a night cannot prove that a target that did not improve is unchanged; net losses have to be.
    if within or (has_to_improve and row.won >= row.lost):
        return Outcome.PASS, sentences.no_worse(row, margin, items=e.items)
    return Outcome.INSUFFICIENT, sentences.inconclusive(row, margin)


def _judge_improvement(e: Comparison, row: SuiteRow, claims: _Claims) -> tuple[Outcome, str]:
    if (e.suite, e.against) in claims.improved:
        return Outcome.PASS, sentences.improved(row)
    if claims.improved:
        return Outcome.PASS, sentences.another_improved(row)
    if row.p_value is None:
        return Outcome.INSUFFICIENT, sentences.nothing_to_gain(row)
    if claims.too_little:
        return Outcome.FAIL, sentences.did_not_improve(e, row)
    return Outcome.INSUFFICIENT, sentences.improvement_inconclusive(row)


def _measured(e: Comparison, margin: Margin, settings: GateSettings) -> SuiteRow:
    """Return the row of a comparison before it is judged."""
    bound = e.largest_loss(alpha=settings.alpha, most_gain=margin.wanted)
    return SuiteRow(
        suite=e.suite,
        kind=e.kind,
        against=e.against,
        n=e.n,
        before=e.before,
        after=e.after,
        won=e.won,
        lost=e.lost,
        undecided=e.undecided,
        low=-bound,
        high=e.largest_gain(alpha=settings.alpha),
        margin=margin.allowed,
        bound=bound,
        p_value=None,
        power=statistics.power_of(
            e.items, margin=margin.allowed, discordance=settings.discordance, alpha=settings.alpha
        ),
        outcome=Outcome.PASS,
        sentence="",
        wanted=margin.wanted,
    )


def _reasons(
    outcome: Outcome,
    claims: _Claims,
    rows: Sequence[SuiteRow],
    checks: Sequence[Check],
    warnings: tuple[str, ...],
) -> tuple[str, ...]:
    """Return the decisive sentences, most important first."""
    reasons = [f"check {check.name} failed: {check.sentence}" for check in checks if not check.passed]
    if not claims.targets:
        reasons.append("no target suite was measured against the parent, so no improvement can be shown")
    elif not claims.candidates:
        reasons.append("nothing to gain: the parent is at the ceiling on every target suite")
    decisive = [row for row in rows if row.outcome is outcome] if outcome is not Outcome.PASS else rows
    decisive = sorted(decisive, key=lambda row: row.p_value is None)  # targets that had to improve come first
    said = [f"{row.suite} against the {row.against}: {row.sentence}" for row in decisive]
    return (*warnings, *said) if outcome is Outcome.PASS else (*reasons, *said, *warnings)


def _refuse_repeated(comparisons: Sequence[Comparison]) -> None:
    counts = Counter((each.suite, each.against) for each in comparisons)
    repeated = [f"{suite} against {against}" for (suite, against), n in counts.items() if n > 1]
    if repeated:
        raise BadInputError(f"the gate received {repeated[0]} twice; compare each suite once with each baseline")
