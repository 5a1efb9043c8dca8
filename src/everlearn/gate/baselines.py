"""Baselines: the policies that the candidate is compared with besides its parent.

A candidate that is only ever compared with its parent may lose a little every night. The base model and the best
version so far make a slow decline visible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.gate.decision_record import Against

if TYPE_CHECKING:
    from collections.abc import Mapping

    from everlearn.registry.line_state import State

SKILL_METRIC = "skill"
"""Name of the manifest metric that ranks versions: the mean share of skill items answered correctly."""


def eligible_versions(state: State) -> list[str]:
    """Return the versions that may be the best version so far: all that are neither barred nor retired."""
    return [entry.version for entry in state.versions.values() if not (entry.barred or entry.retired)]


def choose_baselines(
    metrics: Mapping[str, Mapping[str, float]], *, parent: str | None
) -> tuple[tuple[Against, str], ...]:
    """Return (relation, policy) pairs: the base model, and the best version where that is not the parent.

    `metrics` maps the eligible versions, oldest first, to the metrics of their manifests. A version without the skill
    metric counts as 0; of equal versions the oldest is chosen. Without a parent there are no baselines, because the
    candidate is compared with the base model anyway.
    """
    if parent is None:
        return ()
    best = max(metrics, key=lambda version: metrics[version].get(SKILL_METRIC, 0.0), default=parent)
    baselines = [(Against.BASE, "base")]
    if best != parent:
        baselines.append((Against.BEST, best))
    return tuple(baselines)
