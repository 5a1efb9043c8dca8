"""Numbers of a night's items: its own held-out problems, and those generated like them.

Kept as metrics of the manifest or of the event. Nights of older revisions have none: their target suite mixes both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.data.suites import SuiteKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from everlearn.data.suites import Suite

ITEM_METRICS = {SuiteKind.TARGET: "items/own", SuiteKind.GENERATED: "items/generated"}


def count_items(suites: Iterable[Suite]) -> dict[str, float]:
    """Return the numbers of own and of generated items as metrics."""
    counts = dict.fromkeys(ITEM_METRICS.values(), 0.0)
    for suite in suites:
        if suite.kind.is_of_tonight:
            counts[ITEM_METRICS[suite.kind]] += len(suite.problems)
    return counts


def own_items(metrics: Mapping[str, float]) -> tuple[int, int] | None:
    """Return the numbers of own and of all target items; None if they were not recorded."""
    counts = [metrics.get(name) for name in ITEM_METRICS.values()]
    known = [int(count) for count in counts if count is not None]
    return (known[0], sum(known)) if len(known) == len(counts) else None


def describe_items(counts: tuple[int, int] | None) -> str | None:
    """Return `31 of 200 target items are yours`; None if the numbers are not known."""
    return counts and f"{counts[0]} of {counts[1]} target items are yours"
