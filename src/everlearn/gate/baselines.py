"""Baselines: the policies that the candidate is compared with besides its parent.

A candidate that is only ever compared with its parent may lose a little every night. The base model and, for each
suite, the best version so far make a slow decline visible.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from everlearn.data.memory_suite import memory_name
from everlearn.data.suites import SuiteKind
from everlearn.gate.best_versions import best_version
from everlearn.gate.decision_record import Against

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from everlearn.data.suites import Suite
    from everlearn.registry.line_state import State

SKILL_METRIC = "skill"
"""Name of the manifest metric with the mean share of skill items answered correctly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A policy and what it is to the candidate. `suites` names those to compare it on; None: all of the night."""

    against: Against
    policy: str
    suites: tuple[str, ...] | None = None


def eligible_versions(state: State) -> list[str]:
    """Return the versions that may be the best version so far: all that are neither barred nor retired, and never leaked."""
    return [entry.version for entry in state.versions.values() if not (entry.barred or entry.leaked or entry.retired)]


def shares_of(version: str, decision: Mapping[str, Any]) -> dict[str, float]:
    """Return the share of right answers on each suite that the decision about a published version has measured.

    Its target counts as the memory suite that guards it from then on. What was measured under a name may change from
    night to night; it only decides what is measured again tonight.
    """
    rows = [row for row in decision.get("rows", ()) if row["against"] in (Against.PARENT, Against.RECORD)]
    names = {row["suite"]: memory_name(version) if row["kind"] == SuiteKind.TARGET else row["suite"] for row in rows}
    return {names[row["suite"]]: float(row["after"]) for row in rows}


def choose_baselines(
    suites: Iterable[Suite], shares: Mapping[str, Mapping[str, float]], *, parent: str | None
) -> tuple[Baseline, ...]:
    """Return the base model, and each version that is the best on a suite and not the parent, with these suites.

    `shares` has the results of `shares_of` for the eligible versions, oldest first. A suite has at most one best
    version, so that measuring all of them costs at most as much as measuring one policy. Suites that are new every
    night have none. Without a parent there are no baselines, because the candidate is compared with the base model
    anyway.
    """
    if parent is None:
        return ()
    chosen: dict[str, list[str]] = defaultdict(list)
    for suite in suites:
        measured = {version: by_name[suite.name] for version, by_name in shares.items() if suite.name in by_name}
        best = best_version(measured, items=len(suite.problems))
        if best not in (None, parent) and not suite.kind.is_of_tonight:
            chosen[str(best)].append(suite.name)
    others = [Baseline(against=Against.BEST, policy=version, suites=tuple(names)) for version, names in chosen.items()]
    return (Baseline(against=Against.BASE, policy="base"), *others)
