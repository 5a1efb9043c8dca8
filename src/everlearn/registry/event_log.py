"""Event log: a line's chain of events in a store, read from HEAD and appended to by moving HEAD once.

    <line>/HEAD                     sequence and digest of the newest event, champion, newest snapshot; moved by If-Match
    <line>/events/<digest>.json     one sealed event each
    <line>/objects/sha256/<digest>  among others snapshots: many events in one object, to shorten a walk

An event is visible once HEAD names it. The state is folded from events, never stored: a snapshot holds the same events
and is named by a sealed one. HEAD is unsigned and therefore not trusted: its fields are compared with the newest event
and with the fold.

Snapshots have levels. Event 10 names a snapshot of events 1 to 9, event 20 one of 10 to 19, event 100 one of 1 to 99,
event 110 one of 100 to 109, and so on; each snapshot lists those of the history before it. A history of n events is
read from at most 9 snapshots and events for each digit of n, and each event is stored once a level. Earlier versions of
Everlearn stored the whole history in every snapshot; those are still readable.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from everlearn.canonical_json import canonical, digest_of, parse
from everlearn.errors import ConflictError, IntegrityError, NotFoundError, StoreDownError
from everlearn.registry.events import Draft, Event
from everlearn.registry.line_keys import event_key
from everlearn.registry.line_state import State, fold
from everlearn.registry.sealed_document import FORMAT, seal, unseal
from everlearn.storage.immutable_objects import fetch, object_key, write_once

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from everlearn.registry.sealed_document import Signer, Verifier
    from everlearn.storage.protocol import Store

SNAPSHOT_EVERY = 10
ATTEMPTS = 200  # lost races before an append gives up
READERS = 8
DOWN_ATTEMPTS = 3  # unanswered moves of HEAD before an append gives up


class EventLog:
    """The history of `line` in `store`. Caches the last state, so that only newer events are read again."""

    def __init__(
        self, store: Store, line: str, *, clock: Callable[[], datetime], signer: Signer | None, verifier: Verifier
    ) -> None:
        self._store = store
        self._line = line
        self._clock = clock
        self._signer = signer
        self._verifier = verifier
        self._cached = State()

    def state(self) -> State:
        """Return the state at HEAD; the empty state for a line without HEAD.

        Raises:
            IntegrityError: HEAD or an event is missing or damaged, or HEAD is older than a state read before.
        """
        return self._read()[0]

    def at(self, digest: str) -> State:
        """Return the state after the event with that digest, independent of HEAD. Raises IntegrityError if unreadable."""
        return self._walk(digest, known=State())

    @property
    def cached_state(self) -> State:
        """The state as last read or written; no request is made."""
        return self._cached

    def append(self, propose: Callable[[State], Draft | Event]) -> Event:
        """Append the event that `propose` returns for the current state, and return it.

        `propose` is called again after a lost race. It returns an event of the history if its intent is fulfilled
        already, and raises if the state forbids it. After ConflictError or StoreDownError on HEAD the log is read
        again: finding our own event there is success.

        Raises:
            StoreDownError: It is unknown whether the event was committed; the same call may be repeated.
            ConflictError: Too many races were lost in a row.
        """
        at = self._clock()
        tried: set[str] = set()  # digests of our events, any of which may have been committed
        down = 0
        for _ in range(ATTEMPTS):
            state, etag = self._read()
            mine = next((event for event in reversed(state.history) if event.digest in tried), None)
            wanted = mine or propose(state)
            if isinstance(wanted, Event):
                return wanted
            event, after = self._write(wanted, state=state, at=at)
            tried.add(event.digest)
            try:
                self._move(after, etag=etag)
            except ConflictError:
                continue
            except StoreDownError:
                down += 1
                if down == DOWN_ATTEMPTS:
                    raise
                continue
            self._cached = after
            return event
        raise ConflictError(f"line {self._line}: lost {ATTEMPTS} races in a row; run the same command again")

    def event(self, digest: str) -> Event:
        """Return one event, verified. Raises IntegrityError if it is missing or damaged."""
        name = event_key(self._line, digest)
        data = fetch(self._store, name, digest=digest)
        return Event.from_content(self._unseal(data, "event", name), digest=digest_of(data))

    def snapshot(self, digest: str) -> tuple[list[Event], list[str]]:
        """Return the events of a snapshot, oldest first, and the digests of the snapshots before it, newest first."""
        name = object_key(self._line, digest)
        content = self._unseal(fetch(self._store, name, digest=digest), "snapshot", name)
        try:
            events = [Event.from_content(each["content"], digest=each["digest"]) for each in content["events"]]
            return events, [str(each) for each in content.get("before", ())]
        except (KeyError, TypeError) as error:
            raise IntegrityError(
                f"{name} is not a snapshot that this version of Everlearn can read ({error})"
            ) from None

    def head(self, state: State) -> dict[str, Any]:
        """Return the content of HEAD for `state`."""
        snapshot = next((event.snapshot for event in reversed(state.history) if event.snapshot), None)
        place = {"format": FORMAT, "line": self._line, "sequence": state.sequence, "event": state.tip}
        return place | {"champion": state.champion, "snapshot": snapshot}

    def _read(self) -> tuple[State, str | None]:
        known = self._cached  # taken before HEAD is read: another thread may cache a newer state meanwhile
        try:
            blob = self._store.get(f"{self._line}/HEAD")
        except NotFoundError:
            if known.tip is not None:
                raise IntegrityError(f"{self._line}/HEAD is missing; run `everlearn fsck --repair`") from None
            return known, None
        head = parse(blob.data, name=f"{self._line}/HEAD")
        tip = str(head.get("event"))
        state = known if tip == known.tip else self._walk(tip, known=known)
        if head != self.head(state):
            raise IntegrityError(f"{self._line}/HEAD contradicts its own history; run `everlearn fsck --repair`")
        self._cached = state
        return state, blob.etag

    def _walk(self, tip: str, *, known: State) -> State:
        """Return the state at `tip`: `known` and the events since, read one by one or from snapshots."""
        newest: list[Event] = []
        older: list[Event] = []
        digest: str | None = tip
        while digest is not None and digest != known.tip:
            event = self.event(digest)
            if event.sequence <= known.sequence:
                raise IntegrityError(f"{self._line}/HEAD shows an older or another history than was read before")
            newest.append(event)
            digest = event.previous
            if event.snapshot is not None and event.sequence > known.sequence + 1:
                older, digest = self._snapshots(event.snapshot, after=known.sequence), None
        # Snapshots may reach back beyond `known`; what is cached must not be folded twice.
        fresh = [event for event in (*older, *reversed(newest)) if event.sequence > known.sequence]
        if known.tip is not None and fresh[0].previous != known.tip:
            raise IntegrityError(f"{self._line}/HEAD shows another history than was read before")
        return fold(fresh, start=known)

    def _snapshots(self, digest: str, *, after: int) -> list[Event]:
        """Return the events of a snapshot, with those of the snapshots before it if it begins later than `after` + 1."""
        events, before = self.snapshot(digest)
        if not before or events[0].sequence <= after + 1:
            return events
        with ThreadPoolExecutor(READERS) as pool:
            older = [part for part, _ in pool.map(self.snapshot, before)]
        return [event for part in (*reversed(older), events) for event in part]

    def _write(self, draft: Draft, *, state: State, at: datetime) -> tuple[Event, State]:
        """Write the event that follows `state`, and return it with the state after it. HEAD does not name it yet."""
        event = Event(
            sequence=state.sequence + 1,
            previous=state.tip,
            kind=draft.kind,
            actor=draft.actor,
            reason=draft.reason,
            at=at,
            cycle_key=draft.cycle_key,
            detail=draft.detail,
        )
        if held := snapshot_span(event.sequence):
            event = replace(event, snapshot=self._write_snapshot(state, held))
        data = seal(event.to_content(), purpose="event", line=self._line, signer=self._signer)
        name = event_key(self._line, digest_of(data))
        # Read back and fold before writing: an event that readers would refuse must not reach the store.
        event = Event.from_content(self._unseal(data, "event", name), digest=digest_of(data))
        after = fold([event], start=state)
        write_once(self._store, name, data)
        return event, after

    def _write_snapshot(self, state: State, held: int) -> str:
        """Write a snapshot of the last `held` events, more if the event before them names no snapshot; its digest."""
        first = state.sequence + 1 - held
        while first > 0 and state.history[first - 1].snapshot is None:
            first -= 1
        previous = state.history[first - 1].snapshot if first else None
        before = [previous, *self.snapshot(previous)[1]] if previous else []
        events = state.history[max(first - 1, 0) :]
        content = [{"content": event.to_content(), "digest": event.digest} for event in events]
        data = seal({"before": before, "events": content}, purpose="snapshot", line=self._line, signer=self._signer)
        write_once(self._store, object_key(self._line, digest_of(data)), data)
        return digest_of(data)

    def _move(self, state: State, *, etag: str | None) -> None:
        data = canonical(self.head(state))
        if etag is None:
            self._store.require_conformance()  # before a line's first event: are conditional writes atomic here?
            self._store.create(f"{self._line}/HEAD", data)
        else:
            self._store.replace(f"{self._line}/HEAD", data, etag=etag)

    def _unseal(self, data: bytes, purpose: str, name: str) -> dict[str, Any]:
        return unseal(data, purpose=purpose, line=self._line, verifier=self._verifier, name=name)


def snapshot_span(sequence: int) -> int:
    """Return how many events the snapshot named by event `sequence` holds: 30 → 10, 1200 → 100, 31 → 0 (no snapshot)."""
    power = 1
    while sequence % (power * SNAPSHOT_EVERY) == 0:
        power *= SNAPSHOT_EVERY
    return power if power > 1 else 0
