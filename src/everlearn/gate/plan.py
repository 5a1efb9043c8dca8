"""What the suites of a line can decide, computed before a night is paid for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from everlearn.data.memory_suite import split_memory
from everlearn.data.suites import SuiteKind
from everlearn.gate.guard import Guard
from everlearn.gate.improvement_power import smallest_visible_gain
from everlearn.gate.lifetime_error import (
    Past,
    budgets_of_line,
    level_of_line,
    loss_level_of_line,
    loss_spent_of,
    past_of,
)
from everlearn.gate.margins import veto_margin, wanted_margin
from everlearn.gate.record_of_line import (
    RecordedItem,
    guarded_suites,
    item_key,
    memory_after,
    memory_parts,
    record_after,
    unrecorded,
)
from everlearn.gate.statistics import decidable_margin, independent_items, items_needed
from everlearn.registry.line_state import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from everlearn.data.suites import Suite
    from everlearn.gate.lifetime_error import ErrorBudget
    from everlearn.registry.versions import Registry
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


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersNeeded:
    """Numbers of answers that a comparison with the record needs.

    record      to items that the record lacks, or has only as answers to another way of asking
    look        of the candidate at each look at all suites: it needs one at least
    candidate   of the candidate, if no suite is decided before the last look
    renewal     of the candidate afresh, if it is better than the record on every suite
    """

    record: int
    look: int
    candidate: int
    renewal: int

    @property
    def least(self) -> int:
        """All answers, if every suite is decided at the first look and none is renewed."""
        return self.record + self.look

    @property
    def most(self) -> int:
        """All answers, if every suite needs all looks and is renewed."""
        return self.record + self.candidate + self.renewal

    @property
    def sentence(self) -> str:
        """How many answers are needed, and what for."""
        return (
            f"the comparison with the record needs {self.least} to {self.most} answers: {self.record} for the record, "
            f"{self.look} to {self.candidate} of the candidate, and at most {self.renewal} more where it is better"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NightPlan:
    """What the next night of a line can decide, and at which levels.

    guards       what each suite can decide
    level        of the improvement test; `loss_level` of the comparisons with the record, None where there are none
    past         what the nights so far mean for these levels; None where no error budget is of the line
    gains        smallest improvement that so many own held-out problems show; None: they never do
    answers      that the comparison with the record needs; None where there is none
    budgets      what is spent and left, by error that is limited over the life of the line
    """

    guards: Sequence[PlannedGuard]
    level: float
    loss_level: float | None
    past: Past | None
    gains: Mapping[int, float | None]
    answers: AnswersNeeded | None
    budgets: Mapping[str, ErrorBudget]


def plan_night(
    suites: Sequence[Suite], *, settings: GateSettings, sizes: Sequence[int], registry: Registry | None, asked: str
) -> NightPlan:
    """Return what the next night can decide by these suites, and gains for `sizes` own held-out problems.

    `registry` is needed only where an error budget is of the line, `asked` is the night's way of asking.
    """
    state = registry.state() if registry else State()
    past = past_of(state.history, settings=settings, registry=registry) if registry else Past()
    level, loss_level = level_of_line(past, settings=settings), loss_level_of_line(past, settings=settings)
    level = level or settings.alpha
    answers, loss_spent = None, 0.0
    if registry is None or loss_level is None:
        guards = plan_guards(suites, settings=settings)
    else:
        suites = (*suites, *_memory(registry, state, settings))
        record = record_after(state.champion, registry)
        guards = plan_guards_of_record(suites, record=record, settings=settings, level=loss_level)
        answers = answers_needed(suites, record, settings=settings, asked=asked)
        loss_spent = loss_spent_of(state.history, settings=settings, registry=registry)
    return NightPlan(
        guards=guards,
        level=level,
        loss_level=loss_level,
        past=past if registry else None,
        gains=visible_gains(sizes, settings=settings, level=level),
        answers=answers,
        budgets=budgets_of_line(past, settings=settings, loss_spent=loss_spent),
    )


def _memory(registry: Registry, state: State, settings: GateSettings) -> Sequence[Suite]:
    """Return the memory of earlier nights that the next one measures."""
    memory = memory_after(state.champion, registry) if settings.memory_items else None
    versions = {entry.cycle_key: entry.version for entry in state.versions.values()}
    return split_memory(memory.problems, versions=versions) if memory else ()


def answers_needed(
    suites: Sequence[Suite], record: Mapping[str, RecordedItem], *, settings: GateSettings, asked: str
) -> AnswersNeeded:
    """Return how many answers a night with these suites needs to compare its candidate with the record of its parent."""
    guarded = guarded_suites(suites)
    items = sum(len(suite.problems) for suite in guarded)
    return AnswersNeeded(
        record=settings.record_samples * len(unrecorded(guarded, record, asked=asked)),
        look=items,
        candidate=settings.most_looks * items,
        renewal=settings.record_samples * items,
    )


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
