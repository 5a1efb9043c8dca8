"""Margins of the gate: how large a loss counts as none, for each comparison of a night.

A margin depends on the settings, on the number of items and baselines, and on how many answers change without a net
effect (`Comparison.discordance`), never on the direction of the changes. An unchanged model stays within all margins of
a night together with probability `gate.power`, however many suites and baselines there are:

- The suites of a kind are judged together against the margin of the kind, and each of several suites alone against the
  wider `gate.suite_margin`, so that no suite may collapse.
- What the items cannot decide with that power gets the smallest margin that they can decide. For all skill or general
  suites together that is limited by `gate.widest_margin`, and what exceeds it is INSUFFICIENT: their size is the user's
  choice. Target, generated and memory suites are as large as the nights were, so their margin has no limit. Each row
  says which margin was wanted, which one applies, and how many items would decide the wanted one.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod, sqrt
from typing import TYPE_CHECKING

from everlearn.data.suites import SuiteKind
from everlearn.gate import statistics
from everlearn.gate.decision_record import Against

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.gate.evidence import Comparison
    from everlearn.settings import GateSettings

SHIPPED = frozenset({SuiteKind.SKILL, SuiteKind.GENERAL})
"""Kinds of suites that the user ships, whose margins are limited."""
OTHERS_SHARE = 0.25
"""Part of the probability of stopping an unchanged model that target, generated and memory suites may use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """Largest loss that counts as none: the `wanted` one, the `allowed` one, and the items that decide the wanted one."""

    wanted: float
    allowed: float
    items_needed: int = 0


def plan_margins(
    comparisons: Sequence[Comparison], pools: Sequence[Comparison], *, settings: GateSettings
) -> dict[tuple[str, Against], Margin]:
    """Return the margin of each comparison and pool, by suite and baseline."""
    guards = [each for each in comparisons if each.kind is not SuiteKind.TARGET or each.against is not Against.PARENT]
    margins = {
        (each.suite, each.against): Margin(wanted=settings.target_margin, allowed=settings.target_margin)
        for each in comparisons
        if each not in guards
    }
    for kind, chance in _chances({each.kind for each in guards}, power=settings.power).items():
        suites, together = ([each for each in rows if each.kind is kind] for rows in (guards, pools))
        if kind is SuiteKind.TARGET:
            one = chance ** (1 / len({each.suite for each in suites}))
            margins |= _margins(suites, settings.target_margin, chance=one, limit=1.0, settings=settings)
        elif together:
            margins |= _plan_hierarchy(suites, together, chance=chance, settings=settings)
        else:
            margins |= _plan_together(suites, chance=chance, settings=settings)
    return margins


def _chances(kinds: set[SuiteKind], *, power: float) -> dict[SuiteKind, float]:
    """Return the probability with which an unchanged model has to pass each kind, so that it passes all with `power`."""
    shipped, others = kinds & SHIPPED, kinds - SHIPPED
    spent = OTHERS_SHARE if shipped else 1.0
    shares = dict.fromkeys(others, spent / max(1, len(others)))
    shares |= dict.fromkeys(shipped, (1 - spent * bool(others)) / max(1, len(shipped)))
    return {kind: 1 - (1 - power) * share for kind, share in shares.items()}


def _plan_hierarchy(
    suites: Sequence[Comparison], together: Sequence[Comparison], *, chance: float, settings: GateSettings
) -> dict[tuple[str, Against], Margin]:
    """Return the margins of several suites of a kind: each alone, and all together with what is left of `chance`."""
    wanted = veto_margin(suites[0].kind, settings)
    names = {each.suite for each in suites}
    within = prod(_chance_within(wanted, [s for s in suites if s.suite == name], settings) for name in sorted(names))
    if within >= sqrt(chance):  # the suites decide the wanted margin, each alone
        margins = _margins(suites, wanted, chance=settings.power, limit=0.0, settings=settings)
    else:
        within = sqrt(chance)
        margins = _margins(suites, wanted, chance=within ** (1 / len(names)), limit=1.0, settings=settings)
    return margins | _plan_together(together, chance=chance / within, settings=settings)


def _plan_together(
    together: Sequence[Comparison], *, chance: float, settings: GateSettings
) -> dict[tuple[str, Against], Margin]:
    kind = together[0].kind
    limit = settings.widest_margin if kind in SHIPPED else 1.0
    return _margins(together, wanted_margin(kind, settings), chance=chance, limit=limit, settings=settings)


def _margins(
    comparisons: Sequence[Comparison], wanted: float, *, chance: float, limit: float, settings: GateSettings
) -> dict[tuple[str, Against], Margin]:
    """Return the wanted margin for each comparison, or what its items decide, up to `limit` where they can show that."""
    margins = {}
    baselines = len({each.against for each in comparisons})
    for each in comparisons:
        discordance = max(settings.discordance, each.discordance)
        effect = {"discordance": discordance, "power": chance, "alpha": settings.alpha}
        decidable = statistics.decidable_margin(each.items, comparisons=baselines, **effect)
        # Few items cannot show `limit` even if no answer changes: then no change is what has to be shown.
        least = statistics.largest_loss(won=0, lost=0, items=each.items, alpha=settings.alpha) if limit else 0.0
        margins[each.suite, each.against] = Margin(
            wanted=wanted,
            allowed=max(wanted, min(decidable, max(limit, least))),
            items_needed=statistics.items_needed(wanted, comparisons=baselines, **effect),
        )
    return margins


def _chance_within(margin: float, suite: Sequence[Comparison], settings: GateSettings) -> float:
    """Return the probability that an unchanged model stays within `margin` on one suite, against every baseline."""
    return min(
        statistics.power_of(
            each.items,
            margin=margin,
            discordance=max(settings.discordance, each.discordance),
            alpha=settings.alpha,
            comparisons=len(suite),
        )
        for each in suite
    )


def wanted_margin(kind: SuiteKind, settings: GateSettings) -> float:
    """Return the margin of all suites of a kind together, as the settings want it."""
    return {
        SuiteKind.GENERATED: settings.target_margin,
        SuiteKind.MEMORY: settings.memory_margin,
        SuiteKind.SKILL: settings.skill_margin,
        SuiteKind.GENERAL: settings.general_margin,
    }[kind]


def veto_margin(kind: SuiteKind, settings: GateSettings) -> float:
    """Return the margin of each suite alone, where a kind has several."""
    return max(settings.suite_margin, wanted_margin(kind, settings))
