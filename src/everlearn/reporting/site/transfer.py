"""Continual-learning metrics of a line: what the champion kept of everything that its ancestors could do.

A guarded suite counts from the night that brought it: `memory-v0003` from the result of v0003 on its own held-out problems,
of which the suite is a part, a skill or general suite from what the first version's parent solved. Shares are those that the
gate measured.

    average accuracy    mean share over the suites that the champion's night measured
    backward transfer   mean change of these shares since the suite counts; negative: forgotten
    forgetting          mean distance to the best share of any ancestor; 0 or more
    forward transfer    mean share of each night's own problems that its parent solved before it, less that of the base

D. Lopez-Paz, M. Ranzato, "Gradient episodic memory for continual learning" (NeurIPS 2017, arXiv 1706.08840); A. Chaudhry et
al., "Riemannian walk for incremental learning" (ECCV 2018, arXiv 1801.10112). Intransigence, the distance to a model that is
trained on everything at once, is not computed: no night trains such a model.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING

from everlearn.data.memory_suite import memory_name
from everlearn.data.suites import SuiteKind
from everlearn.gate.decision_record import Against

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.gate.decision_record import SuiteRow
    from everlearn.reporting.site.read_model import NightView


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """The metrics, as shares; `forward` is None where no night compared its target with the base model."""

    suites: int
    versions: int
    average: float
    backward: float
    forgetting: float
    forward: float | None


def transfer(nights: Sequence[NightView]) -> Transfer | None:
    """Return the metrics of the last of these nights, which published a version and its ancestors, oldest first.

    None where the last night measured no guarded suite. A suite that is older than these nights counts from the first of them.
    """
    shares: dict[str, list[float]] = defaultdict(list)
    forward: list[float] = []
    for night in nights:
        rows = night.decision.rows if night.decision else ()
        for row in rows:
            if row.stands_for_suite:
                _add(shares, row, version=night.version)
        forward += _forward(rows)
    last = nights[-1].decision.rows if nights and nights[-1].decision else ()
    now = [row.suite for row in last if row.stands_for_suite and not row.kind.is_of_tonight]
    if not now:
        return None
    return Transfer(
        suites=len(now),
        versions=len(nights),
        average=mean(shares[suite][-1] for suite in now),
        backward=mean(shares[suite][-1] - shares[suite][0] for suite in now),
        forgetting=mean(max(shares[suite]) - shares[suite][-1] for suite in now),
        forward=mean(forward) if forward else None,
    )


def _add(shares: dict[str, list[float]], row: SuiteRow, *, version: str | None) -> None:
    """Add what a version solves of a suite. Its own held-out problems are the memory suite of later nights."""
    if row.kind is SuiteKind.TARGET:
        shares[memory_name(version or "")].append(row.after)
    elif not row.kind.is_of_tonight:
        if not shares[row.suite] and row.kind is not SuiteKind.MEMORY:
            shares[row.suite].append(row.before)
        shares[row.suite].append(row.after)


def _forward(rows: Sequence[SuiteRow]) -> list[float]:
    """Return the share of each target that the parent solves, less that of the base."""
    targets = [row for row in rows if row.kind is SuiteKind.TARGET]
    base = {row.suite: row.before for row in targets if row.against is Against.BASE}
    return [row.before - base[row.suite] for row in targets if row.against is Against.PARENT and row.suite in base]
