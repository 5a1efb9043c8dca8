"""Sentences of the gate: what was compared, how many items were won and lost, the bound, and the margin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.data.suites import SuiteKind
from everlearn.gate.decision_record import ANOTHER_IMPROVED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.gate.decision_record import SuiteRow
    from everlearn.gate.evidence import Comparison
    from everlearn.gate.margins import Margin


def improved(row: SuiteRow) -> str:
    """Return the sentence of a target with net wins that the test supports."""
    return f"improved: {_changes(row)}, p = {row.p_value:.2g}; {_bound(row)}"


def another_improved(row: SuiteRow) -> str:
    """Return the sentence of a target that did not improve where another did."""
    return f"no worse: {_changes(row)}, {ANOTHER_IMPROVED}"


def nothing_to_gain(row: SuiteRow) -> str:
    """Return the sentence of a target on which the parent is at the ceiling."""
    return f"nothing to gain: the parent solves {row.before:.1%}"


def did_not_improve(e: Comparison, row: SuiteRow) -> str:
    """Return the sentence of a target that gained less than is worthwhile."""
    return f"did not improve: {_shown(e, row)}; the true gain is at most {_points(row.high)} points"


def improvement_inconclusive(row: SuiteRow) -> str:
    """Return the sentence of a target that may have improved or not."""
    return (
        f"improvement inconclusive: {_changes(row)}, p = {row.p_value:.2g}; "
        f"the true gain is between {_points(row.low)} and {_points(row.high)} points"
    )


def got_worse(e: Comparison, row: SuiteRow, p_value: float) -> str:
    """Return the sentence of a suite with net losses that the test supports."""
    return f"got worse: {_shown(e, row)}, p = {p_value:.2g}"


def no_worse(row: SuiteRow, margin: Margin, *, items: float) -> str:
    """Return the sentence of a suite whose loss is within the margin, and what is shown of a margin that was widened."""
    said = f"no worse: {_changes(row)}; {_bound(row)}"
    if row.bound <= 0:
        return said
    said = f"{said}, and {_points(margin.allowed)} are allowed"
    if margin.allowed <= margin.wanted:
        return said
    wanted = _points(margin.wanted)
    if row.bound <= margin.wanted:
        return f"{said} (the {wanted} that were wanted hold, too)"
    return f"{said} ({wanted} were wanted; to decide that takes about {margin.items_needed} independent items, not {items:.0f})"


def inconclusive(row: SuiteRow, margin: Margin) -> str:
    """Return the sentence of a suite whose loss may exceed the margin."""
    needed = f"; about {margin.items_needed} independent items would decide {_points(margin.wanted)}"
    return (
        f"inconclusive: {_changes(row)}; {_bound(row)}, more than the {_points(margin.allowed)} allowed{_widened(margin)}"
        f"{needed if margin.items_needed else ''}"
    )


def nothing_right(row: SuiteRow) -> str:
    """Return the sentence of a suite on which both policies fail everything."""
    return f"shows no loss: the {row.against} and the candidate solve none of {row.n}, so there is nothing to lose"


def improvement_level_said(level: float) -> str:
    """Return what level an improvement had to be shown at, where earlier nights of the line decide about it."""
    return (
        f"an improvement had to be shown at the level {level:.2g}, the share of the line's error budget for this night"
    )


def loss_level_said(level: float) -> str:
    """Return at what level losses had to be excluded, where earlier nights of the line decide about it."""
    return f"losses since the record had to be excluded at the level {level:.2g}, this attempt's share of the line's budget"


def beats_base(targets: Sequence[str], level: float) -> str:
    """Return the headline, and that it holds for the whole life of the line."""
    return f"beats the base model on {' and '.join(targets)}, at the level {level:.2g}: this attempt's share of one false such claim"


def within_record(row: SuiteRow, margin: Margin) -> str:
    """Return the sentence of a suite whose loss since the record is within the margin."""
    said = f"no worse than the record: {_against_record(row)}; {_bound(row)}"
    if row.bound <= 0:
        return said
    return f"{said}, and {_points(margin.allowed)} are allowed{_widened(margin)}"


def worse_than_record(row: SuiteRow) -> str:
    """Return the sentence of a suite with a loss since the record that is proved."""
    return f"got worse than the record: {_against_record(row)}; {_bound(row)}, and {_points(row.margin)} are allowed"


def night_forgotten(row: SuiteRow, nights: Sequence[str], margin: float) -> str:
    """Return the sentence of the memory of all nights where a loss on that of some is proved."""
    return (
        f"got worse than the record on {' and '.join(nights)}: more than {_points(margin)} points are proved to be lost there; "
        f"of all, {_against_record(row)}"
    )


def undecided_at_record(row: SuiteRow, margin: Margin) -> str:
    """Return the sentence of a suite whose answers decide nothing."""
    return f"inconclusive: {_against_record(row)}; {_bound(row)}, more than the {_points(margin.allowed)} allowed{_widened(margin)}"


def drifted(row: SuiteRow, holder: str | None) -> str:
    """Return the warning about a suite that passed well below the record, with how to go back to the version that holds it."""
    said = (
        f"{row.suite} has drifted to {row.after:.1%}, recorded {row.before:.1%}: replay problems like it, or roll back, before "
        "the line can no longer show that it is within the margin"
    )
    if holder is None:
        return said
    back = f'everlearn rollback --to {holder} --reason "{row.suite} has drifted"'
    return f"{said} (more replay: learn.replay; {holder} holds the record: {back})"


def warnings(rows: Sequence[SuiteRow]) -> tuple[str, ...]:
    """Return what the decision does not cover."""
    guards = {row.kind for row in rows if row.stands_for_suite}
    if SuiteKind.SKILL in guards:
        return ()
    return ("no skill suite was measured: nothing shows that the model kept the skills it had before",)


def _changes(row: SuiteRow) -> str:
    """Return `2 won and 7 lost of 240` with the undecided, which count against the candidate."""
    return _counted(row, won=row.won, lost=row.lost)


def _shown(e: Comparison, row: SuiteRow) -> str:
    """Return the changes of a claim against the candidate: the undecided count against the baseline."""
    changes = [part.against_baseline for part in e.parts]
    return _counted(row, won=sum(each.won for each in changes), lost=sum(each.lost for each in changes))


def _counted(row: SuiteRow, *, won: int, lost: int) -> str:
    undecided = f" ({row.undecided} undecided, counted against this claim)" if row.undecided else ""
    return f"{won} won and {lost} lost of {row.n}{undecided}"


def _widened(margin: Margin) -> str:
    """Return which margin was wanted, where another one applies."""
    return f" ({_points(margin.wanted)} were wanted)" if margin.allowed > margin.wanted else ""


def _against_record(row: SuiteRow) -> str:
    undecided = f" ({row.undecided} undecided)" if row.undecided else ""
    answers = row.n * (row.looks or 0)
    return f"{row.after:.1%} of {answers} answers are right{undecided}, recorded {row.before:.1%}"


def _bound(row: SuiteRow) -> str:
    relation = "gain is at least" if row.low > 0 else "loss is at most"
    return f"the true {relation} {_points(abs(row.low))} points"


def _points(share: float) -> str:
    return f"{100 * share:.1f}"
