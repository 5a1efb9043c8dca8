"""Statistical evidence of one paired suite: win and loss counts, bounds and p-values.

An `UNDECIDED` answer is never counted as wrong. A claim that leads to PASS counts it against the candidate (undecided
before = right, undecided after = not right), a claim that leads to FAIL counts it against the baseline (the reverse).
Two undecided answers to an item are a tie only if their texts are equal. Undecided answers can therefore turn a
decision into INSUFFICIENT, never into PASS or FAIL.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from everlearn.data.suites import SuiteKind
from everlearn.errors import BadInputError
from everlearn.gate import statistics
from everlearn.gate.decision_record import Against
from everlearn.problem import Measurement, Ruling

if TYPE_CHECKING:
    from everlearn.settings import GateSettings


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
class WinLossCounts:
    """Wins and losses with `UNDECIDED` counted one way; `gains` holds wins minus losses of each root."""

    won: int
    lost: int
    gains: tuple[int, ...]

    def p_better(self, *, independent: bool) -> float:
        """Return the p-value of the null hypothesis "not better"."""
        return statistics.mcnemar(won=self.won, lost=self.lost) if independent else statistics.sign_flip(self.gains)

    def p_worse(self, *, independent: bool) -> float:
        """Return the p-value of the null hypothesis "not worse"."""
        mirrored = WinLossCounts(won=self.lost, lost=self.won, gains=tuple(-gain for gain in self.gains))
        return mirrored.p_better(independent=independent)

    def largest_loss(self, *, scale: float, items: float, alpha: float) -> float:
        """Return the upper bound of the loss for `items` independent items; `scale` converts the counts to that size."""
        return statistics.largest_loss(won=self.won * scale, lost=self.lost * scale, items=items, alpha=alpha)

    def largest_gain(self, *, scale: float, items: float, alpha: float) -> float:
        """Return the upper bound of the gain: `largest_loss` with wins and losses exchanged."""
        return statistics.largest_loss(won=self.lost * scale, lost=self.won * scale, items=items, alpha=alpha)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Statistics of one paired suite, before multiple targets are compared.

    low, high   confidence bounds of the true gain, `UNDECIDED` answers widening both
    power       probability that this many items show an unchanged model to be within `margin`
    has_room    the baseline leaves enough wrong answers for an improvement to be visible
    """

    pair: PairedSuite
    against_candidate: WinLossCounts  # UNDECIDED counted against the candidate
    against_baseline: WinLossCounts  # UNDECIDED counted against the baseline
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
    def can_show_improvement(self) -> bool:
        """Whether an improvement on this suite is sufficient for a PASS."""
        return self.pair.kind is SuiteKind.TARGET and self.pair.against is Against.PARENT and self.has_room


def margin_for(kind: SuiteKind, n: float, *, settings: GateSettings) -> float:
    """Return the non-inferiority margin: the configured one, or the one that `n` items can decide, up to the widest."""
    configured = {
        SuiteKind.TARGET: settings.target_margin,
        SuiteKind.GENERATED: settings.target_margin,
        SuiteKind.MEMORY: settings.skill_margin,
        SuiteKind.SKILL: settings.skill_margin,
        SuiteKind.GENERAL: settings.general_margin,
    }[kind]
    decidable = statistics.decidable_margin(
        n, discordance=settings.discordance, power=settings.power, alpha=settings.alpha
    )
    return max(configured, min(decidable, settings.widest_margin))


def assess(pair: PairedSuite, *, settings: GateSettings) -> Evidence:
    """Compute counts, bounds, p-values and power of one paired suite."""
    n = len(pair.before)
    sizes = Counter(m.root for m in pair.before)
    independent = len(sizes) == n
    items = statistics.independent_items(list(sizes.values())) if n else 0.0
    against_candidate = _count(pair, undecided_against_candidate=True)
    against_baseline = _count(pair, undecided_against_candidate=False)
    bounds: dict[str, Any] = {"scale": items / n if n else 1.0, "items": items, "alpha": settings.alpha}
    margin = margin_for(pair.kind, items, settings=settings)
    before, after = ({m.item: m.verdict.ruling for m in side} for side in (pair.before, pair.after))
    wrong_before = sum(ruling is Ruling.WRONG for ruling in before.values())
    return Evidence(
        pair=pair,
        against_candidate=against_candidate,
        against_baseline=against_baseline,
        before=_share(sum(ruling is Ruling.CORRECT for ruling in before.values()), n),
        after=_share(sum(ruling is Ruling.CORRECT for ruling in after.values()), n),
        undecided=sum(Ruling.UNDECIDED in {before[item], after[item]} for item in before),
        low=-against_candidate.largest_loss(**bounds),
        high=against_baseline.largest_gain(**bounds),
        margin=margin,
        power=statistics.power_of(items, margin=margin, discordance=settings.discordance, alpha=settings.alpha),
        p_better=against_candidate.p_better(independent=independent),
        p_worse=against_baseline.p_worse(independent=independent),
        has_room=n > 0 and wrong_before > (1 - settings.ceiling) * n,
    )


def _count(pair: PairedSuite, *, undecided_against_candidate: bool) -> WinLossCounts:
    after = {m.item: m for m in pair.after}
    gains: Counter[str] = Counter()
    won = lost = 0
    for old in pair.before:
        gain = _gain(old, after[old.item], undecided_against_candidate=undecided_against_candidate)
        won += gain > 0
        lost += gain < 0
        gains[old.root] += gain
    return WinLossCounts(won=won, lost=lost, gains=tuple(gains.values()))


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


def _share(count: int, n: int) -> float:
    return count / n if n else 0.0
