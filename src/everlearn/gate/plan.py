"""What the suites of a line can decide, computed before a night is paid for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from everlearn.data.suites import SuiteKind
from everlearn.gate.guard import Guard
from everlearn.gate.improvement_power import smallest_visible_gain
from everlearn.gate.margins import veto_margin, wanted_margin
from everlearn.gate.record_of_line import RecordedItem, guarded_suites, item_key, memory_parts
from everlearn.gate.statistics import decidable_margin, independent_items, items_needed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from everlearn.data.suites import Suite
    from everlearn.settings import GateSettings

BASELINES = 3
"""Parent, base and best version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedGuard:
    """What one suite, or all of a kind together, can decide. Margins are shares of the items."""

    suites: str
    items: float
    wanted: float
    decided: float
    items_needed: int

    @property
    def is_decided(self) -> bool:
        """Whether the wanted margin can be decided."""
        return self.decided <= self.wanted


def plan_guards(suites: Sequence[Suite], *, settings: GateSettings) -> list[PlannedGuard]:
    """Return each suite that must not get worse, and of a kind with several, all of them together.

    An unchanged model stays within the decided margin against three baselines at once with `power`.
    """
    planned = []
    for kind in (SuiteKind.SKILL, SuiteKind.GENERAL):
        own = [suite for suite in suites if suite.kind is kind]
        sizes = [
            independent_items([*Counter(item.root or item.id for item in suite.problems).values()]) for suite in own
        ]
        if len(own) > 1:
            planned.append(_planned(f"all {kind} suites", sum(sizes), wanted_margin(kind, settings), settings))
        margin = veto_margin(kind, settings) if len(own) > 1 else wanted_margin(kind, settings)
        planned += [_planned(suite.name, size, margin, settings) for suite, size in zip(own, sizes, strict=True)]
    return planned


def plan_guards_of_record(
    suites: Sequence[Suite], *, record: Mapping[str, RecordedItem], settings: GateSettings, level: float
) -> list[PlannedGuard]:
    """Return what each suite can decide against the record of the line, with all looks at the level of an attempt.

    Items that are not in the record yet count as answered right: their answers vary by `gate.discordance` then.
    """
    always = RecordedItem(right=1, undecided=0, samples=1, policy="")
    guarded = guarded_suites(suites)
    planned = []
    for suite in guarded:
        recorded = tuple(record.get(item_key(problem), always) for problem in suite.problems)
        guard = Guard(
            suite=suite.name,
            kind=suite.kind,
            recorded=recorded,
            settings=settings,
            level=level,
            guards=len(guarded),
            parts=memory_parts(suites) if suite.kind is SuiteKind.MEMORY else (),
        )
        planned.append(
            PlannedGuard(
                suites=suite.name,
                items=len(recorded),
                wanted=guard.margin.wanted,
                decided=guard.decided,
                items_needed=guard.items_needed,
            )
        )
    return planned


def visible_gains(sizes: Sequence[int], *, settings: GateSettings, level: float) -> dict[int, float | None]:
    """Return for numbers of own held-out problems the smallest improvement that they show; None where they show none."""
    at_level = settings.model_copy(update={"alpha": level})
    return {size: smallest_visible_gain(size, settings=at_level) for size in sizes}


def _planned(name: str, items: float, wanted: float, settings: GateSettings) -> PlannedGuard:
    effect = {"discordance": settings.discordance, "power": settings.power, "alpha": settings.alpha}
    return PlannedGuard(
        suites=name,
        items=items,
        wanted=wanted,
        decided=decidable_margin(items, comparisons=BASELINES, **effect),
        items_needed=items_needed(wanted, comparisons=BASELINES, **effect),
    )
