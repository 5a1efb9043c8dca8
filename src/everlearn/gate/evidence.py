"""What one paired suite proves before the suites are weighed together: counts, bounds and p-values.

An `UNDECIDED` answer is never folded into wrong. It proves nothing, in either direction: for a PASS it is held against
the candidate (undecided before counts as right, undecided after as not right), for a FAIL against the parent (the
reverse). Two undecided answers to an item are a tie only if they are the same text. So undecided answers can turn a
decision into INSUFFICIENT, never into PASS or FAIL.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from everlearn.data.suites import SuiteKind
from everlearn.errors import BadInputError
from everlearn.gate import statistics
from everlearn.gate.decision import Against
from everlearn.problem import Measurement, Ruling

if TYPE_CHECKING:
    from everlearn.settings import GateSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """One suite answered by an opponent (`before`) and by the candidate (`after`): the same items, in any order."""

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
                f"suite {self.suite!r}: before and after are not the same items; measure both on one suite"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class WinLossCounts:
    """Wins and losses under one reading of `UNDECIDED`, with the gain of each root in a fixed order."""

    won: int
    lost: int
    gains: tuple[int, ...]

    def better(self, *, independent: bool) -> float:
        """The p-value of "no better"."""
        return statistics.mcnemar(won=self.won, lost=self.lost) if independent else statistics.sign_flip(self.gains)

    def worse(self, *, independent: bool) -> float:
        """The p-value of "no worse"."""
        mirrored = WinLossCounts(won=self.lost, lost=self.won, gains=tuple(-gain for gain in self.gains))
        return mirrored.better(independent=independent)

    def largest_loss(self, *, scale: float, items: float, alpha: float) -> float:
        """Upper bound of the loss; `items` independent ones, the counts brought to their `scale`."""
        return statistics.largest_loss(won=self.won * scale, lost=self.lost * scale, items=items, alpha=alpha)

    def largest_gain(self, *, scale: float, items: float, alpha: float) -> float:
        """Upper bound of the gain, the same seen from the other side."""
        return statistics.largest_loss(won=self.lost * scale, lost=self.won * scale, items=items, alpha=alpha)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one pair says before the targets are weighed together."""

    pair: Paired
    proof: WinLossCounts  # UNDECIDED held against the candidate
    doubt: WinLossCounts  # UNDECIDED held against the parent
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
        """Whether an improvement here can carry the PASS."""
        return self.pair.kind is SuiteKind.TARGET and self.pair.against is Against.PARENT and self.has_room


def margin_for(kind: SuiteKind, n: float, *, settings: GateSettings) -> float:
    """The loss that counts as none: the setting's, or for a small suite what `n` items decide, up to the widest."""
    wanted: float = getattr(settings, f"{kind}_margin")
    decides = statistics.decidable_margin(
        n, discordance=settings.discordance, power=settings.power, alpha=settings.alpha
    )
    return max(wanted, min(decides, settings.widest_margin))


def weigh(pair: Paired, *, settings: GateSettings) -> Evidence:
    """All that a pair says by itself."""
    n = len(pair.before)
    sizes = Counter(m.root for m in pair.before)
    independent = len(sizes) == n
    items = statistics.independent_items(list(sizes.values())) if n else 0.0
    proof, doubt = _count(pair, against_candidate=True), _count(pair, against_candidate=False)
    bounds: dict[str, Any] = {"scale": items / n if n else 1.0, "items": items, "alpha": settings.alpha}
    margin = margin_for(pair.kind, items, settings=settings)
    before, after = ({m.item: m.verdict.ruling for m in side} for side in (pair.before, pair.after))
    wrong_before = sum(ruling is Ruling.WRONG for ruling in before.values())
    return Evidence(
        pair=pair,
        proof=proof,
        doubt=doubt,
        before=_share(sum(ruling is Ruling.CORRECT for ruling in before.values()), n),
        after=_share(sum(ruling is Ruling.CORRECT for ruling in after.values()), n),
        undecided=sum(Ruling.UNDECIDED in {before[item], after[item]} for item in before),
        low=-proof.largest_loss(**bounds),
        high=doubt.largest_gain(**bounds),
        margin=margin,
        power=statistics.power_of(items, margin=margin, discordance=settings.discordance, alpha=settings.alpha),
        p_better=proof.better(independent=independent),
        p_worse=doubt.worse(independent=independent),
        has_room=n > 0 and wrong_before > (1 - settings.ceiling) * n,
    )


def _count(pair: Paired, *, against_candidate: bool) -> WinLossCounts:
    after = {m.item: m for m in pair.after}
    gains: Counter[str] = Counter()
    won = lost = 0
    for old in pair.before:
        gain = _gain(old, after[old.item], against_candidate=against_candidate)
        won += gain > 0
        lost += gain < 0
        gains[old.root] += gain
    return WinLossCounts(won=won, lost=lost, gains=tuple(gains.values()))


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
