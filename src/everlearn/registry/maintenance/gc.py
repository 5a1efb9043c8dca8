"""Remove what no version and no running publish can need. Listed first, always.

    found = plan(registry, retention)                       # reads only
    done = collect(registry, retention, actor="ada", wait=time.sleep)

Kept for ever: HEAD, events, manifests and snapshots, that is, everything that tells the history; the objects of every
version that is not retired; what belongs to the open cycle. Retired are versions that never were champion and are not
among the last few; an event says so before anything of theirs is removed. Data snapshots lie elsewhere and are not
looked at.

The order makes it safe beside publishers and readers, whoever dies when: retire (an event), mark what would be removed,
wait one lease time, say "sweeping" in the mark, list again and read HEAD and leases again, remove what is in both lists
and was not touched since, take the mark away. Whatever is left by a crash is found by the next collection.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from everlearn.cycle.lease import Lease
from everlearn.cycle.record import current_cycle
from everlearn.errors import ConflictError, CycleBusyError, IntegrityError, NotFoundError, RegistryError
from everlearn.registry.maintenance.head_evidence import witnesses
from everlearn.registry.publisher_lease import SWEEPING, Mark, claims, mark_key
from everlearn.storage.objects import object_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from everlearn.registry.events import Event, State
    from everlearn.registry.versions import Registry
    from everlearn.settings import RetentionSettings
    from everlearn.storage.protocol import ObjectInfo, Store

BATCH = 100
SEALED = (b'{"content":{"before":', b'{"content":{"events":')
_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An object that nobody needs, and why not."""

    key: str
    size: int
    modified: datetime
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionPlan:
    """What could go. `retiring` are versions whose files would go with it; `busy` says who is publishing now, if anybody."""

    line: str
    at: datetime
    retiring: tuple[str, ...]
    items: tuple[Item, ...]
    busy: str | None

    @property
    def size(self) -> int:
        """Bytes that would be free."""
        return sum(item.size for item in self.items)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.items or self.retiring)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a collection did: versions retired, keys removed, unfinished uploads given up."""

    retired: tuple[str, ...]
    removed: tuple[str, ...]
    size: int
    uploads: int


def plan(registry: Registry, retention: RetentionSettings) -> CollectionPlan:
    """What nobody needs, by the server's clock. IntegrityError where HEAD or a manifest does not hold: run fsck first."""
    store, line = registry.store, registry.line
    listed = [*store.list(f"{line}/objects/"), *store.list(f"{line}/work/")]  # before HEAD: what is new is not in it
    now = store.now()
    leases = claims(store, line)
    horizon = min([now - timedelta(hours=retention.minimum_age_hours), *_open_since(store, line)])
    state = registry.state()
    _demand_newest(registry, state)
    retiring = retirable(registry, state, keep=retention.versions, before=horizon)
    needed = _needed(registry, state, without=retiring)
    items = [*_objects(store, listed, needed=needed, line=line, before=horizon)]
    items += _workspaces(store, listed, state=state, retiring=retiring, line=line, before=_work_ends(now, retention))
    items += [
        Item(key=lease.key, size=0, modified=lease.expires, why=f"the publisher {lease.holder} is dead")
        for lease in leases
        if lease.expires < horizon
    ]
    busy = next((f"{lease.holder}, until {lease.expires:%H:%M:%S}" for lease in leases if lease.expires > now), None)
    return CollectionPlan(line=line, at=now, retiring=retiring, items=tuple(items), busy=busy)


def collect(
    registry: Registry,
    retention: RetentionSettings,
    *,
    actor: str,
    wait: Callable[[float], None],
    lease: timedelta | None = None,
) -> Collected:
    """Remove what `plan` says, beside whoever works. `wait` lets seconds pass: one lease time.

    RegistryError, and nothing removed, while somebody publishes or another collection runs. Repeating it completes it.
    """
    lease = lease or registry.lease
    first = plan(registry, retention)
    _demand_quiet(first)
    retired = registry.retire(
        lambda state: retirable(registry, state, keep=retention.versions, before=_horizon(registry, retention)),
        reason=f"not among the last {retention.versions}, and never champion",
        actor=actor,
    )
    marked = plan(registry, retention)
    mark = _Marked(registry.store, registry.line, lease=lease)
    mark.set("marked", marked.items, until=lease)
    try:
        wait(lease.total_seconds())
        mark.set(SWEEPING, marked.items, until=2 * lease)
        again = plan(registry, retention)
        _demand_quiet(again)
        chosen = _unchanged(marked.items, again.items)
        removed = [*_remove(registry.store, registry.line, chosen, mark=mark, lease=lease)]
        uploads = registry.store.abort_uploads(f"{registry.line}/", before=_horizon(registry, retention))
    finally:
        mark.drop()
    return Collected(
        retired=retired, removed=tuple(item.key for item in removed), size=sum(i.size for i in removed), uploads=uploads
    )


def retirable(registry: Registry, state: State, *, keep: int, before: datetime) -> tuple[str, ...]:
    """Versions that retention lets go: never champion, not among the last `keep`, published before then."""
    old = list(state.versions.values())
    old = old[: max(0, len(old) - keep)]
    fit = [entry for entry in old if not entry.retired and entry.version not in state.ever_champion]
    return tuple(
        entry.version
        for entry in fit
        if registry.store.head(f"{registry.line}/manifests/{entry.manifest}.json").modified < before
    )


def _horizon(registry: Registry, retention: RetentionSettings) -> datetime:
    now = registry.store.now()
    return min([now - timedelta(hours=retention.minimum_age_hours), *_open_since(registry.store, registry.line)])


def _open_since(store: Store, line: str) -> list[datetime]:
    """When the open cycle was opened, by the server's clock: it is a publish that runs."""
    if current_cycle(store, line) is None:
        return []
    return [store.head(f"{line}/work/open.json").modified]


def _work_ends(now: datetime, retention: RetentionSettings) -> datetime:
    return now - max(timedelta(days=retention.work_days), timedelta(hours=retention.minimum_age_hours))


def _demand_quiet(found: CollectionPlan) -> None:
    if found.busy:
        raise RegistryError(
            f"line {found.line}: somebody is publishing ({found.busy}); nothing was removed, run it again"
        )


def _demand_newest(registry: Registry, state: State) -> None:
    """Refuse to work from an older HEAD than was once there: what it does not name may be what was lost."""
    on_it = {event.digest for event in state.history}
    beside = [*_beside(registry, on_it)]
    for witness in witnesses(registry.store, registry.line, beside):
        if witness.event not in on_it:
            raise IntegrityError(
                f"{registry.line}/HEAD is not the newest: event {witness.sequence} was committed ({witness.says}); "
                "run `everlearn fsck --repair` before anything is removed"
            )


def _beside(registry: Registry, on_it: set[str]) -> Iterator[Event]:
    for info in registry.store.list(f"{registry.line}/events/"):
        digest = info.key.rpartition("/")[2].removesuffix(".json")
        if digest not in on_it and _KEY.fullmatch(digest):
            yield registry.event(digest)


def _needed(registry: Registry, state: State, *, without: tuple[str, ...]) -> set[str]:
    """Keys of objects that the history, or a version that is kept, names."""
    found = {event.snapshot for event in state.history if event.snapshot}
    for entry in state.versions.values():
        if not entry.retired and entry.version not in without:
            found |= {ref.digest for ref in registry.manifest(entry.version).references()}
    return {object_key(registry.line, digest) for digest in found}


def _objects(
    store: Store, listed: Iterable[ObjectInfo], *, needed: set[str], line: str, before: datetime
) -> Iterator[Item]:
    for info in listed:
        begins = info.key.startswith(object_key(line, ""))
        if begins and info.key not in needed and info.modified < before and not _is_snapshot(store, info.key):
            yield Item(key=info.key, size=info.size, modified=info.modified, why="no version needs it")


def _is_snapshot(store: Store, key: str) -> bool:
    """Whether it is a part of the history that no event names yet: a later event with the same past would."""
    try:
        return next(iter(store.read(key)), b"").startswith(SEALED)
    except NotFoundError:
        return True  # gone meanwhile: no business of ours


def _workspaces(
    store: Store,
    listed: Iterable[ObjectInfo],
    *,
    state: State,
    retiring: tuple[str, ...],
    line: str,
    before: datetime,
) -> list[Item]:
    """The work of cycles that ended long ago, but for those whose version is kept: later nights replay from it."""
    held = defaultdict(list)
    for info in listed:
        key = info.key.removeprefix(f"{line}/work/").partition("/")[0]
        if info.key.startswith(f"{line}/work/") and _KEY.fullmatch(key):
            held[key].append(info)
    opened = current_cycle(store, line)
    kept = {entry.cycle_key for entry in state.versions.values() if not entry.retired and entry.version not in retiring}
    kept |= {opened.key} if opened else set()
    why = "its cycle ended long ago"
    return [
        Item(key=info.key, size=info.size, modified=info.modified, why=why)
        for key, infos in sorted(held.items())
        if key not in kept and max(info.modified for info in infos) < before
        for info in sorted(infos, key=lambda info: not info.key.endswith("/index.json"))
    ]


def _unchanged(marked: tuple[Item, ...], again: tuple[Item, ...]) -> tuple[Item, ...]:
    before = {(item.key, item.modified) for item in marked}
    return tuple(item for item in again if (item.key, item.modified) in before)


def _remove(store: Store, line: str, items: tuple[Item, ...], *, mark: _Marked, lease: timedelta) -> Iterator[Item]:
    """Remove, the work of cycles only while no night runs; the mark is renewed as long as it goes on."""
    work = [item for item in items if item.key.startswith(f"{line}/work/")]
    others = [item for item in items if item not in set(work)]
    yield from _remove_all(store, others, mark=mark, lease=lease, all_of=items)
    if work:
        try:
            with Lease(store, line):
                if current_cycle(store, line) is None:
                    yield from _remove_all(store, work, mark=mark, lease=lease, all_of=items)
        except CycleBusyError:
            return


def _remove_all(
    store: Store, items: list[Item], *, mark: _Marked, lease: timedelta, all_of: tuple[Item, ...]
) -> Iterator[Item]:
    for at in range(0, len(items), BATCH):
        mark.set(SWEEPING, all_of, until=2 * lease)
        for item in items[at : at + BATCH]:
            store.delete(item.key)
            yield item


class _Marked:
    """The mark of one collection: the right to collect, moved by conditional writes only."""

    def __init__(self, store: Store, line: str, *, lease: timedelta) -> None:
        self._store = store
        self._key = mark_key(line)
        self._line = line
        self._lease = lease
        self._etag: str | None = None

    def set(self, stage: str, items: tuple[Item, ...], *, until: timedelta) -> None:
        now = self._store.now()
        mark = Mark(stage=stage, until=now + until + self._lease, keys=tuple(item.key for item in items))
        try:
            if self._etag is None:
                self._etag = self._begin(mark, now)
            else:
                self._etag = self._store.replace(self._key, mark.to_bytes(), etag=self._etag)
        except ConflictError:
            self._etag = None
            raise RegistryError(
                f"line {self._line}: another `everlearn gc` has taken over; this one removes nothing"
            ) from None

    def drop(self) -> None:
        """Let the next one begin at once."""
        if self._etag is not None:
            self._store.delete(self._key)

    def _begin(self, mark: Mark, now: datetime) -> str:
        try:
            held = self._store.get(self._key)
        except NotFoundError:
            return self._store.create(self._key, mark.to_bytes())
        if now < Mark.from_bytes(held.data, name=self._key).until:
            raise RegistryError(f"line {self._line}: another `everlearn gc` is at work; run it again when it has ended")
        return self._store.replace(self._key, mark.to_bytes(), etag=held.etag)
