"""Continual-learning metrics of a night: its candidate compared with its ancestors on all guarded suites."""

from __future__ import annotations

import json
from statistics import mean
from typing import TYPE_CHECKING

from everlearn.data.memory_suite import name_nights
from everlearn.data.suites import SuiteKind
from everlearn.errors import BadInputError, IntegrityError, NotFoundError
from everlearn.gate.decision_record import Decision
from everlearn.reporting.transfer import MeasuredNight, share_metrics, shares_in, transfer
from tasks.compare_with_record import guards_of
from tasks.decide import decision_of
from tasks.freeze_suites import items_of, load_suites, versions_of
from tasks.measure import CANDIDATE, has_guards, measured
from tasks.night import as_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from everlearn.registry.manifest import Manifest
    from everlearn.reporting.transfer import MemoryShares, Transfer
    from tasks.night import Night

METRICS = "transfer"


def transfer_of(night: Night, ancestors: Sequence[Manifest | None]) -> Transfer | None:
    """Compute the metrics from what this night and its ancestors (`ancestors_of`) measured. Keep them for the manifest."""
    memory = memory_shares(night)
    known = [_measured(manifest) for manifest in reversed(ancestors) if manifest]
    found = transfer([*known, MeasuredNight(rows=decision_of(night).rows, memory=memory)])
    night.work.put(METRICS, as_json(share_metrics(memory) | (found.metrics() if found else {})))
    return found


def transfer_metrics(night: Night) -> dict[str, float]:
    """Return the metrics of the manifest or the event; none where an older revision wrote the report."""
    metrics: dict[str, float] = json.loads(night.work.get(METRICS)) if night.work.has(METRICS) else {}
    return metrics


def ancestors_of(night: Night) -> Iterator[Manifest | None]:
    """Yield the manifest of each ancestor, the parent first; None for one that is damaged or lost."""
    versions, version = night.registry.state().versions, night.inputs.parent
    while version is not None:
        try:
            yield night.registry.manifest(version)
        except (IntegrityError, NotFoundError):
            yield None
        version = versions[version].parent


def memory_shares(night: Night) -> MemoryShares:
    """Return the shares of the memory of each earlier night that the parent and the candidate solve.

    Where suites are compared with the record of the line, it stands for the parent, and both are shares of sampled
    answers.
    """
    memory = items_of(night, SuiteKind.MEMORY)
    sides = _of_record(night) if has_guards(night) else [_right(night, "parent"), _right(night, CANDIDATE)]
    before, after = (dict(zip((problem.id for problem in memory), side, strict=True)) for side in sides)
    return {
        suite: (mean(before[item.id] for item in items), mean(after[item.id] for item in items))
        for suite, items in name_nights(memory, versions=versions_of(night)).items()
    }


def _measured(ancestor: Manifest) -> MeasuredNight:
    try:
        rows = Decision.from_dict(ancestor.decision).rows
    except BadInputError:  # of an older release, or none
        rows = ()
    return MeasuredNight(rows=rows, memory=shares_in(ancestor.metrics))


def _right(night: Night, policy: str) -> list[float]:
    """Return 1 for each memory item that a policy solves, else 0, in the order of the night's suites."""
    answers = measured(night, policy)
    suites = [suite.name for suite in load_suites(night) if suite.kind is SuiteKind.MEMORY]
    return [float(each.verdict.is_correct) for name in suites for each in answers[name]]


def _of_record(night: Night) -> list[list[float]]:
    guards = [guard for guard in guards_of(night) if guard.kind is SuiteKind.MEMORY]
    return [[float(share) for guard in guards for share in guard.shares[side]] for side in (0, 1)]
