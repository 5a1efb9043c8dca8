"""Guarded suites of a line: what every night measures so that no version gets worse on it.

The items of a suite are an object of the registry. An event `suite_changed` names the suites that were added, that hold
other items than before (a thinned memory, or without items that an earlier night trained on), or that are guarded no
longer. A night records it before it trains, so that the history says what each later decision was about. The suites of
tonight's own problems are new every night and not guarded.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from everlearn.canonical_json import digest_of
from everlearn.registry.events import EventKind
from everlearn.registry.manifest import ObjectRef

if TYPE_CHECKING:
    from collections.abc import Mapping

    from everlearn.registry.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardedSuite:
    """A suite as the history names it: its kind, number of items, and the object that holds these as JSON Lines."""

    kind: str
    items: int
    digest: str
    size: int

    @property
    def ref(self) -> ObjectRef:
        """The object that holds the items."""
        return ObjectRef(digest=self.digest, size=self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteContent:
    """The items of a suite as JSON Lines (`data`), their number, and its kind."""

    kind: str
    items: int
    data: bytes

    def describe(self) -> GuardedSuite:
        """Return the suite as the history names it."""
        digest, size = digest_of(self.data), len(self.data)
        return GuardedSuite(kind=self.kind, items=self.items, digest=digest, size=size)


Suites = dict[str, GuardedSuite]
"""Guarded suites by name."""


def detail_of(before: Mapping[str, GuardedSuite], after: Mapping[str, GuardedSuite]) -> dict[str, Any]:
    """Return what an event says of a change: `suites`, those that are new or other than before, and the names `retired`."""
    changed = {name: asdict(suite) for name, suite in after.items() if before.get(name) != suite}
    return {"suites": changed, "retired": sorted(before.keys() - after.keys())}


def changed_by(event: Event) -> Suites:
    """Return the suites that an event added, or gave other items. None for an event of another kind."""
    named = event.detail.get("suites", {}) if event.kind is EventKind.SUITE_CHANGED else {}
    return {name: GuardedSuite(**facts) for name, facts in named.items()}


def after_event(before: Mapping[str, GuardedSuite], event: Event) -> Suites:
    """Return the suites after an event `suite_changed`. Raises KeyError if it retires one that is not there."""
    suites = dict(before)
    for name in event.detail.get("retired", ()):
        del suites[name]
    return suites | changed_by(event)


def describe_change(before: Mapping[str, GuardedSuite], after: Mapping[str, GuardedSuite]) -> str:
    """Return a change in words: `short-sums added (700 items); memory-v0001 from 20 to 12 items; memory-v0002 retired`."""
    words = []
    for name, suite in sorted(after.items()):
        old = before.get(name)
        if old is None:
            words.append(f"{name} added ({suite.items} items)")
        elif old.items != suite.items:
            words.append(f"{name} from {old.items} to {suite.items} items")
        elif old != suite:
            words.append(f"{name} has other items")
    words += [f"{name} retired" for name in sorted(before.keys() - after.keys())]
    return "; ".join(words)
