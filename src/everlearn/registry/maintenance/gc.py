"""Garbage collection: remove what neither a version nor a running publication needs.

    found = plan_collection(registry, retention)                       # gc_plan.py: reads only
    done = collect(registry, retention, actor="ada", wait=time.sleep)

Safe beside publishers and readers, and after a crash at any point, by its order:

1. record the retirement of versions in the history;
2. write a mark with the keys that would be removed;
3. wait for one heartbeat lifetime, so that every publisher either renews its heartbeat or expires;
4. set the mark to "sweeping", then plan again and read the heartbeats again (publisher_heartbeat.py has the other half);
5. remove what is in both plans and was not modified between them;
6. delete the mark.

The next collection completes one that was interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from everlearn.cycle.lease import Lease
from everlearn.cycle.record import current_cycle
from everlearn.errors import ConflictError, CycleBusyError, NotFoundError, RegistryError
from everlearn.registry.maintenance.gc_plan import horizon, plan_collection, retirable
from everlearn.registry.publisher_heartbeat import SWEEPING, CollectionMark, mark_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime, timedelta

    from everlearn.registry.maintenance.gc_plan import CollectionPlan, Garbage
    from everlearn.registry.versions import Registry
    from everlearn.settings import RetentionSettings
    from everlearn.storage.protocol import Store

BATCH = 100  # deletions between two renewals of the mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Result of a collection: retired versions, removed keys and their bytes, aborted multipart uploads."""

    retired: tuple[str, ...]
    removed: tuple[str, ...]
    size: int
    uploads: int


def collect(
    registry: Registry,
    retention: RetentionSettings,
    *,
    actor: str,
    wait: Callable[[float], None],
    lifetime: timedelta | None = None,
) -> Collected:
    """Retire versions and remove garbage. Repeating the call completes an interrupted collection.

    `wait` sleeps for a number of seconds; it is called once with `lifetime`, by default the registry's heartbeat
    lifetime.

    Raises:
        RegistryError: A publication or another collection is running. Nothing was removed.
        IntegrityError: HEAD or a manifest is damaged or old: run fsck first.
    """
    lifetime = lifetime or registry.heartbeat_lifetime
    _require_idle(plan_collection(registry, retention))
    retired = registry.retire(
        lambda state: retirable(registry, state, keep=retention.versions, before=horizon(registry, retention)),
        reason=f"not among the last {retention.versions}, and never champion",
        actor=actor,
    )
    marked = plan_collection(registry, retention)
    mark = _MarkWriter(registry.store, registry.line, lifetime=lifetime)
    mark.set("marked", marked.items, until=lifetime)
    try:
        wait(lifetime.total_seconds())
        mark.set(SWEEPING, marked.items, until=2 * lifetime)
        again = plan_collection(registry, retention)
        _require_idle(again)
        chosen = _unchanged(marked.items, again.items)
        removed = [*_remove(registry.store, registry.line, chosen, mark=mark)]
        uploads = registry.store.abort_uploads(f"{registry.line}/", before=horizon(registry, retention))
    finally:
        mark.drop()
    size = sum(item.size for item in removed)
    return Collected(retired=retired, removed=tuple(item.key for item in removed), size=size, uploads=uploads)


def _require_idle(plan: CollectionPlan) -> None:
    if plan.busy:
        raise RegistryError(
            f"line {plan.line}: a publication is running ({plan.busy}); nothing was removed, run it again later"
        )


def _unchanged(marked: tuple[Garbage, ...], again: tuple[Garbage, ...]) -> tuple[Garbage, ...]:
    before = {(item.key, item.modified) for item in marked}
    return tuple(item for item in again if (item.key, item.modified) in before)


def _remove(store: Store, line: str, items: tuple[Garbage, ...], *, mark: _MarkWriter) -> Iterator[Garbage]:
    """Remove the items and yield them, working files of cycles only if no cycle is running."""
    work = [item for item in items if item.key.startswith(f"{line}/work/")]
    others = [item for item in items if not item.key.startswith(f"{line}/work/")]
    yield from _remove_all(store, others, mark=mark, marked=items)
    if work:
        try:
            with Lease(store, line):
                if current_cycle(store, line) is None:
                    yield from _remove_all(store, work, mark=mark, marked=items)
        except CycleBusyError:
            return


def _remove_all(
    store: Store, items: list[Garbage], *, mark: _MarkWriter, marked: tuple[Garbage, ...]
) -> Iterator[Garbage]:
    for at in range(0, len(items), BATCH):
        mark.set(SWEEPING, marked, until=2 * mark.lifetime)
        for item in items[at : at + BATCH]:
            store.delete(item.key)
            yield item


class _MarkWriter:
    """The mark of one collection. Conditional writes make it a lock: one collection at a time."""

    def __init__(self, store: Store, line: str, *, lifetime: timedelta) -> None:
        self.lifetime = lifetime
        self._store = store
        self._key = mark_key(line)
        self._line = line
        self._etag: str | None = None

    def set(self, stage: str, items: tuple[Garbage, ...], *, until: timedelta) -> None:
        """Write the mark, valid for `until` and one lifetime more. Raises RegistryError if it is not ours."""
        now = self._store.now()
        mark = CollectionMark(stage=stage, until=now + until + self.lifetime, keys=tuple(item.key for item in items))
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
        """Delete the mark, so that the next collection can begin at once."""
        if self._etag is not None:
            self._store.delete(self._key)

    def _begin(self, mark: CollectionMark, now: datetime) -> str:
        try:
            held = self._store.get(self._key)
        except NotFoundError:
            return self._store.create(self._key, mark.to_bytes())
        if now < CollectionMark.from_bytes(held.data, name=self._key).until:
            raise RegistryError(f"line {self._line}: another `everlearn gc` is running; run it again when it has ended")
        return self._store.replace(self._key, mark.to_bytes(), etag=held.etag)
