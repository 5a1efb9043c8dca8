"""Evidence of paired measurements: wins and losses of each suite, alone or pooled with the suites of its kind.

An `UNREADABLE` answer counts as wrong, an `UNDECIDED` one never. A claim that leads to PASS counts it against the
candidate (undecided before = right, undecided after = not right), a claim that leads to FAIL counts it against the
baseline (the reverse). Two undecided answers to an item are a tie only if their texts are equal. Undecided answers can
therefore turn a decision into INSUFFICIENT, never into PASS or FAIL.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from everlearn.errors import BadInputError
from everlearn.gate import statistics
from everlearn.gate.decision_record import Against
from everlearn.problem import Measurement, Ruling

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from everlearn.data.suites import SuiteKind


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedSuite:
    """Measurements of one suite by a baseline (`before`) and by the candidate (`after`): the same items, in any order.

    Raises:
        BadInputError: an item was measured twice, or the two sides hold different items.
    """

    suite: str
    kind: SuiteKind
    before: tuple[Measurement, ...]
    after: tuple[Measurement, ...]
    against: Against = Against.PARENT

    def __post_init__(self) -> None:
        before = {(m.item, m.root) for m in self.before}
        if len(before) != len(self.before) or len({m.item for m in self.before}) != len(before):
            raise BadInputError(f"suite {self.suite!r}: an item was measured twice; measure each item once")
        if len(self.after) != len(before) or before != {(m.item, m.root) for m in self.after}:
            raise BadInputError(
                f"suite {self.suite!r}: before and after are not the same items; measure both on the same suite"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Wins and losses with `UNDECIDED` counted one way; `gains` holds wins minus losses of each root."""

    won: int
    lost: int
    gains: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteCounts:
    """Counts of one suite measured with two policies.

    n                   items
    items               independent items: fewer than `n` where items share a root
    against_candidate   changes with `UNDECIDED` counted against the candidate
    against_baseline    changes with `UNDECIDED` counted against the baseline
    right_before        items that the baseline answers correctly; `right_after`: that the candidate does
    wrong_before        items whose answer is not right, and not undecided; `wrong_after`: the candidate's
    undecided           items where either answer was `UNDECIDED`
    """

    n: int
    items: float
    against_candidate: Changes
    against_baseline: Changes
    right_before: int
    right_after: int
    wrong_before: int
    wrong_after: int
    undecided: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The candidate and one baseline on one suite, or on several suites of a kind together (`parts`)."""

    suite: str
    kind: SuiteKind
    against: Against
    parts: tuple[SuiteCounts, ...]

    @property
    def n(self) -> int:
        """Number of items."""
        return sum(part.n for part in self.parts)

    @property
    def items(self) -> float:
        """Number of independent items."""
        return sum(part.items for part in self.parts)

    @property
    def before(self) -> float:
        """Share of items that the baseline answers correctly."""
        return sum(part.right_before for part in self.parts) / max(1, self.n)

    @property
    def after(self) -> float:
        """Share of items that the candidate answers correctly."""
        return sum(part.right_after for part in self.parts) / max(1, self.n)

    @property
    def undecided(self) -> int:
        """Number of items where either answer was `UNDECIDED`."""
        return sum(part.undecided for part in self.parts)

    @property
    def won(self) -> int:
        """Number of wins, with `UNDECIDED` counted against the candidate."""
        return sum(part.against_candidate.won for part in self.parts)

    @property
    def lost(self) -> int:
        """Number of losses, with `UNDECIDED` counted against the candidate."""
        return sum(part.against_candidate.lost for part in self.parts)

    @property
    def can_change(self) -> bool:
        """Whether any answer may be right. A suite on which both policies fail everything proves nothing."""
        return any(part.wrong_before < part.n or part.wrong_after < part.n for part in self.parts)

    @property
    def discordance(self) -> float:
        """Share of changed answers that cancel out: a measure of noise that a gain or a loss does not raise."""
        changes = [part.against_candidate for part in self.parts]
        return 2 * sum(min(each.won, each.lost) for each in changes) / max(1, self.n)

    def has_room(self, *, ceiling: float) -> bool:
        """Return whether the baseline leaves enough wrong answers for an improvement to be visible."""
        return self.n > 0 and sum(part.wrong_before for part in self.parts) > (1 - ceiling) * self.n

    def largest_loss(self, *, alpha: float, most_gain: float = 1.0) -> float:
        """Return the upper bound of the true loss. Of several suites, one counts for a gain of `most_gain` at most.

        So that a large gain on one suite does not pay for a loss on another.
        """
        won = lost = 0.0
        for part in self.parts:
            scale, changes = part.items / max(1, part.n), part.against_candidate
            spare = max(0.0, changes.won - changes.lost - most_gain * part.n) if len(self.parts) > 1 else 0.0
            won, lost = won + scale * (changes.won - spare), lost + scale * changes.lost
        return statistics.largest_loss(won=won, lost=lost, items=self.items, alpha=alpha)

    def largest_gain(self, *, alpha: float) -> float:
        """Return the upper bound of the true gain."""
        scales = [(part.items / max(1, part.n), part.against_baseline) for part in self.parts]
        won, lost = sum(scale * each.won for scale, each in scales), sum(scale * each.lost for scale, each in scales)
        return statistics.largest_loss(won=lost, lost=won, items=self.items, alpha=alpha)

    def p_better(self) -> float:
        """Return the p-value of the null hypothesis "not better"."""
        return self._p([part.against_candidate for part in self.parts], sign=1)

    def p_worse(self) -> float:
        """Return the p-value of the null hypothesis "not worse"."""
        return self._p([part.against_baseline for part in self.parts], sign=-1)

    def _p(self, changes: Sequence[Changes], *, sign: int) -> float:
        won, lost = sum(each.won for each in changes), sum(each.lost for each in changes)
        if self.items < self.n:
            return statistics.sign_flip([sign * gain for each in changes for gain in each.gains])
        return statistics.mcnemar(won=won, lost=lost) if sign > 0 else statistics.mcnemar(won=lost, lost=won)


def compare(pair: PairedSuite) -> Comparison:
    """Count what changed between the two policies of a paired suite."""
    n = len(pair.before)
    before, after = ({m.item: m.verdict.ruling for m in side} for side in (pair.before, pair.after))
    right = [sum(ruling is Ruling.CORRECT for ruling in side.values()) for side in (before, after)]
    unknown = [sum(ruling is Ruling.UNDECIDED for ruling in side.values()) for side in (before, after)]
    sizes = Counter(m.root for m in pair.before)
    counts = SuiteCounts(
        n=n,
        items=statistics.independent_items(list(sizes.values())) if n else 0.0,
        against_candidate=_count(pair, undecided_against_candidate=True),
        against_baseline=_count(pair, undecided_against_candidate=False),
        right_before=right[0],
        right_after=right[1],
        wrong_before=n - right[0] - unknown[0],
        wrong_after=n - right[1] - unknown[1],
        undecided=sum(Ruling.UNDECIDED in {before[item], after[item]} for item in before),
    )
    return Comparison(suite=pair.suite, kind=pair.kind, against=pair.against, parts=(counts,))


def pool(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Return each kind's suites together, against each baseline; nothing for a kind of one suite.

    A suite without a comparison with some baseline, because its best version is the parent, counts there with its
    comparison with the parent.
    """
    by_kind: dict[SuiteKind, dict[Against, dict[str, Comparison]]] = defaultdict(lambda: defaultdict(dict))
    for each in comparisons:
        by_kind[each.kind][each.against][each.suite] = each
    return [
        _together(kind, against, by_kind[kind].get(Against.PARENT, {}) | measured)
        for kind in by_kind
        for against, measured in by_kind[kind].items()
        if len({suite for suites in by_kind[kind].values() for suite in suites}) > 1
    ]


def _together(kind: SuiteKind, against: Against, measured: dict[str, Comparison]) -> Comparison:
    parts = tuple(part for suite in sorted(measured) for part in measured[suite].parts)
    return Comparison(suite=f"{len(parts)} {kind} suites together", kind=kind, against=against, parts=parts)


def _count(pair: PairedSuite, *, undecided_against_candidate: bool) -> Changes:
    after = {m.item: m for m in pair.after}
    gains: Counter[str] = Counter()
    won = lost = 0
    for old in pair.before:
        gain = _gain(old, after[old.item], undecided_against_candidate=undecided_against_candidate)
        won += gain > 0
        lost += gain < 0
        gains[old.root] += gain
    return Changes(won=won, lost=lost, gains=tuple(gains.values()))


def _gain(old: Measurement, new: Measurement, *, undecided_against_candidate: bool) -> int:
    """Return 1 for a win, -1 for a loss, 0 for a tie."""
    rulings = (old.verdict.ruling, new.verdict.ruling)
    if rulings == (Ruling.UNDECIDED, Ruling.UNDECIDED) and old.answer == new.answer:
        return 0
    right_before = _is_right(rulings[0], if_undecided=undecided_against_candidate)
    right_after = _is_right(rulings[1], if_undecided=not undecided_against_candidate)
    return right_after - right_before


def _is_right(ruling: Ruling, *, if_undecided: bool) -> bool:
    return if_undecided if ruling is Ruling.UNDECIDED else ruling is Ruling.CORRECT
