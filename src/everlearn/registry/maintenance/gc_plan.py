"""Plan of a garbage collection: which objects are unreferenced and which versions can be retired. Reads only.

Never removed: HEAD, events, manifests and snapshots (the history); every object that an event or the manifest of a
version that is not retired names (references.py), such as the report of a rejected night; what was uploaded since the
open cycle began. A version can be retired if it was never champion and is not among the newest ones, and no cycle is
open. Data snapshots are stored elsewhere and are not considered.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from everlearn.cycle.record import current_cycle
from everlearn.errors import IntegrityError, NotFoundError
from everlearn.registry.line_keys import is_digest, manifest_key
from everlearn.registry.maintenance.head_evidence import collect_evidence
from everlearn.registry.maintenance.references import References
from everlearn.registry.publisher_heartbeat import read_heartbeats
from everlearn.storage.immutable_objects import object_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from everlearn.registry.events import Event
    from everlearn.registry.line_state import State
    from everlearn.registry.versions import Registry
    from everlearn.settings import RetentionSettings
    from everlearn.storage.protocol import ObjectInfo, Store

# A snapshot starts with one of these bytes: canonical JSON has one order of keys.
_SNAPSHOT_STARTS = (b'{"content":{"before":', b'{"content":{"events":')


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """An object that can be removed, and why."""

    key: str
    size: int
    modified: datetime
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionPlan:
    """What can be removed at server time `at`.

    retiring   versions whose files would be removed as well
    busy       a running publication, which forbids a collection; None if there is none
    """

    line: str
    at: datetime
    retiring: tuple[str, ...]
    items: tuple[Garbage, ...]
    busy: str | None

    @property
    def size(self) -> int:
        """Bytes that would be freed."""
        return sum(item.size for item in self.items)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remove or to retire."""
        return not (self.items or self.retiring)


def plan_collection(registry: Registry, retention: RetentionSettings) -> CollectionPlan:
    """Return what can be removed, by the server's clock.

    Raises:
        IntegrityError: HEAD or a manifest is damaged or old, so that what is needed is unknown: run fsck first.
    """
    store, line = registry.store, registry.line
    # Listed before HEAD is read: an object that a newer event names is then not in the list.
    listed = [*store.list(f"{line}/objects/"), *store.list(f"{line}/work/")]
    now = store.now()
    heartbeats = read_heartbeats(store, line)
    before = min([now - timedelta(hours=retention.minimum_age_hours), *_open_since(store, line)])
    state = registry.state()
    _require_newest(registry, state)
    retiring = retirable(registry, state, keep=retention.versions, before=before)
    referenced = _referenced(registry, state, without=retiring)
    items = [*_objects(store, listed, referenced=referenced, line=line, before=before)]
    ended_before = now - max(timedelta(days=retention.work_days), timedelta(hours=retention.minimum_age_hours))
    items += _workspaces(store, listed, state=state, retiring=retiring, line=line, before=ended_before)
    items += [
        Garbage(key=each.key, size=0, modified=each.expires, why=f"expired heartbeat of {each.holder}")
        for each in heartbeats
        if each.expires < before
    ]
    busy = next((f"{each.holder}, until {each.expires:%H:%M:%S}" for each in heartbeats if each.expires > now), None)
    return CollectionPlan(line=line, at=now, retiring=retiring, items=tuple(items), busy=busy)


def retirable(registry: Registry, state: State, *, keep: int, before: datetime) -> tuple[str, ...]:
    """Return the versions that were never champion, are not among the newest `keep`, and were published before then.

    None while a cycle is open: its night may have chosen any of them as the best version to compare with.
    """
    if current_cycle(registry.store, registry.line) is not None:
        return ()
    old = list(state.versions.values())
    old = old[: max(0, len(old) - keep)]
    fit = [entry for entry in old if not entry.retired and entry.version not in state.ever_champion]
    return tuple(
        entry.version
        for entry in fit
        if registry.store.head(manifest_key(registry.line, entry.manifest)).modified < before
    )


def horizon(registry: Registry, retention: RetentionSettings) -> datetime:
    """Return the server time before which an object must have been modified to be removed."""
    now = registry.store.now()
    return min([now - timedelta(hours=retention.minimum_age_hours), *_open_since(registry.store, registry.line)])


def _open_since(store: Store, line: str) -> list[datetime]:
    """When the open cycle began, by the server's clock: its uploads may be published later. Empty if none is open."""
    if current_cycle(store, line) is None:
        return []
    return [store.head(f"{line}/work/open.json").modified]


def _require_newest(registry: Registry, state: State) -> None:
    """Raise IntegrityError if an older HEAD was put back: objects of newer versions would look unreferenced."""
    on_chain = {event.digest for event in state.history}
    for evidence in collect_evidence(registry.store, registry.line, _events_off(registry, on_chain)):
        if evidence.event not in on_chain:
            raise IntegrityError(
                f"{registry.line}/HEAD is not the newest: event {evidence.sequence} was committed ({evidence.proof}); "
                "run `everlearn fsck --repair` before anything is removed"
            )


def _events_off(registry: Registry, on_chain: set[str]) -> Iterator[Event]:
    """Read the events that are not in the history."""
    for info in registry.store.list(f"{registry.line}/events/"):
        digest = info.key.rpartition("/")[2].removesuffix(".json")
        if digest not in on_chain and is_digest(digest):
            yield registry.event(digest)


def _referenced(registry: Registry, state: State, *, without: tuple[str, ...]) -> frozenset[str]:
    """Return the keys of all objects that an event of the history or the manifest of a version that stays names."""
    references = References(registry.line)
    for event in state.history:
        references.add_event(event)
    for entry in state.versions.values():
        if not entry.retired and entry.version not in without:
            references.add_manifest(registry.manifest(entry.version), version=entry.version)
    return references.keys


def _objects(
    store: Store, listed: Iterable[ObjectInfo], *, referenced: frozenset[str], line: str, before: datetime
) -> Iterator[Garbage]:
    for info in listed:
        is_object = info.key.startswith(object_key(line, ""))
        if is_object and info.key not in referenced and info.modified < before and not _is_snapshot(store, info.key):
            yield Garbage(
                key=info.key, size=info.size, modified=info.modified, why="neither a version nor an event names it"
            )


def _is_snapshot(store: Store, key: str) -> bool:
    """Whether the object is a snapshot. One that no event names yet would be reused by the next event."""
    try:
        return next(iter(store.read(key)), b"").startswith(_SNAPSHOT_STARTS)
    except NotFoundError:
        return True  # removed since it was listed: not ours to remove


def _workspaces(
    store: Store,
    listed: Iterable[ObjectInfo],
    *,
    state: State,
    retiring: tuple[str, ...],
    line: str,
    before: datetime,
) -> list[Garbage]:
    """Return the working files of cycles that ended before then, except for versions that stay: replay reads those."""
    held = defaultdict(list)
    for info in listed:
        key = info.key.removeprefix(f"{line}/work/").partition("/")[0]
        if info.key.startswith(f"{line}/work/") and is_digest(key):
            held[key].append(info)
    opened = current_cycle(store, line)
    kept = {entry.cycle_key for entry in state.versions.values() if not entry.retired and entry.version not in retiring}
    kept |= {opened.key} if opened else set()
    return [
        Garbage(key=info.key, size=info.size, modified=info.modified, why="its cycle ended long ago")
        for key, infos in sorted(held.items())
        if key not in kept and max(info.modified for info in infos) < before
        # The index first: a workspace that is removed in part must not look complete.
        for info in sorted(infos, key=lambda info: not info.key.endswith("/index.json"))
    ]
