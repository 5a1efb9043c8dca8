"""The event chain of one line in a store: walk it, and add to it by moving HEAD once.

    <line>/HEAD                     sequence and digest of the newest event, champion, newest snapshot; moved by If-Match
    <line>/events/<digest>.json     one sealed event each
    <line>/objects/sha256/<digest>  snapshots among them: many events in one object, so that a walk is short

Nothing is visible before HEAD moves. The state is always folded from events, never stored: a snapshot is a shortcut
to the same events, named by a sealed one. HEAD carries no signature, hence no belief: all it says beside the digest
of the newest event is compared with that event and with the fold.

Snapshots come in levels. Event 10 names one of the events 1 to 9, event 20 one of 10 to 19, event 100 one of all 99,
event 110 one of 100 to 109, and so on; each lists those that hold what is before it. A history of n events is thus read
from at most 9 snapshots and events for each digit of n, and each event is kept once a level. Snapshots of earlier
versions of Everlearn, which held the whole history every time, are read as they are.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from everlearn.canonical_json import canonical, digest_of, parse
from everlearn.errors import BadInputError, ConflictError, IntegrityError, NotFoundError, StoreDownError
from everlearn.registry.events import Event, State, fold
from everlearn.registry.sealed_document import FORMAT, seal, unseal
from everlearn.storage.objects import fetch, object_key, write_once

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from everlearn.registry.events import EventKind
    from everlearn.registry.sealed_document import Signer, Verifier
    from everlearn.storage.protocol import Store

SNAPSHOT_EVERY = 10
ATTEMPTS = 200
READERS = 8
DOWN_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An event that somebody wants to add, before its place in the chain is known. BadInputError without a reason."""

    kind: EventKind
    actor: str
    reason: str
    cycle_key: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """The history is for those who ask later why."""
        if not self.reason.strip():
            raise BadInputError(f"{self.kind} without a reason: say why in a few words, the history keeps them")


class Chain:
    """One line's history in a store. Remembers what it has walked, so that only what is new is read."""

    def __init__(
        self, store: Store, line: str, *, clock: Callable[[], datetime], signer: Signer | None, verifier: Verifier
    ) -> None:
        self._store = store
        self._line = line
        self._clock = clock
        self._signer = signer
        self._verifier = verifier
        self._known = State()

    def state(self) -> State:
        """The state at HEAD; the empty one where nothing was ever published."""
        return self._read()[0]

    def at(self, digest: str) -> State:
        """The state after the event with that digest, whatever HEAD says. IntegrityError if it cannot be read."""
        return self._walk(digest, known=State())

    @property
    def known(self) -> State:
        """The state as last read or written, without asking the store."""
        return self._known

    def append(self, propose: Callable[[State], Draft | Event]) -> Event:
        """Add what `propose` wants, given the state, and return the event; it is asked again after a lost race.

        `propose` returns an event of the history where its intent is fulfilled already, and raises where the state
        forbids it. After ConflictError or StoreDownError on HEAD the chain is read again: our own event in it is success.
        Raises StoreDownError if that cannot be found out; then nothing is known, and the same call may be repeated.
        """
        at = self._clock()
        tried: set[str] = set()
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
            self._known = after
            return event
        raise ConflictError(f"line {self._line}: lost {ATTEMPTS} races in a row; run the same command again")

    def _read(self) -> tuple[State, str | None]:
        known = self._known  # before HEAD is read: what another thread learns meanwhile may be newer than that
        try:
            blob = self._store.get(f"{self._line}/HEAD")
        except NotFoundError:
            if known.tip is not None:
                raise IntegrityError(f"{self._line}/HEAD is gone; run `everlearn fsck --repair`") from None
            return known, None
        head = parse(blob.data, name=f"{self._line}/HEAD")
        tip = str(head.get("event"))
        state = known if tip == known.tip else self._walk(tip, known=known)
        if head != self.head(state):
            raise IntegrityError(f"{self._line}/HEAD contradicts its own history; run `everlearn fsck --repair`")
        self._known = state
        return state, blob.etag

    def _walk(self, tip: str, *, known: State) -> State:
        """The state at `tip`: what is known, and the events since, by themselves or from snapshots."""
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
        fresh = [event for event in (*older, *reversed(newest)) if event.sequence > known.sequence]
        if known.tip is not None and fresh[0].previous != known.tip:
            raise IntegrityError(f"{self._line}/HEAD shows another history than was read before")
        return fold(fresh, start=known)

    def event(self, digest: str) -> Event:
        """One event, verified."""
        name = self.event_key(digest)
        data = fetch(self._store, name, digest=digest)
        return Event.from_content(self._unseal(data, "event", name), digest=digest_of(data))

    def event_key(self, digest: str) -> str:
        """Where that event lies."""
        return f"{self._line}/events/{digest}.json"

    def snapshot(self, digest: str) -> tuple[list[Event], list[str]]:
        """The events in one snapshot, the oldest first, and the digests of those that hold what is before, newest first."""
        name = object_key(self._line, digest)
        content = self._unseal(fetch(self._store, name, digest=digest), "snapshot", name)
        try:
            events = [Event.from_content(each["content"], digest=each["digest"]) for each in content["events"]]
            return events, [str(each) for each in content.get("before", ())]
        except (KeyError, TypeError) as error:
            raise IntegrityError(f"{name} is no snapshot that this version of Everlearn can read ({error})") from None

    def _snapshots(self, digest: str, *, after: int) -> list[Event]:
        """The history in a snapshot and in those before it, unless it begins no later than after event `after`."""
        events, before = self.snapshot(digest)
        if not before or events[0].sequence <= after + 1:
            return events
        with ThreadPoolExecutor(READERS) as pool:
            older = [part for part, _ in pool.map(self.snapshot, before)]
        return [event for part in (*reversed(older), events) for event in part]

    def _write(self, draft: Draft, *, state: State, at: datetime) -> tuple[Event, State]:
        """Write the event as the next after `state`; not visible yet."""
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
        if held := span(event.sequence):
            event = replace(event, snapshot=self._write_snapshot(state, held))
        data = seal(event.to_content(), purpose="event", line=self._line, signer=self._signer)
        name = self.event_key(digest_of(data))
        event = Event.from_content(self._unseal(data, "event", name), digest=digest_of(data))
        after = fold([event], start=state)
        write_once(self._store, name, data)
        return event, after

    def _write_snapshot(self, state: State, held: int) -> str:
        """Keep the last `held` events, or more where the event before them names no snapshot that holds the others."""
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
            self._store.require_conformance()  # before the first event of a line: is atomicity more than a wish here?
            self._store.create(f"{self._line}/HEAD", data)
        else:
            self._store.replace(f"{self._line}/HEAD", data, etag=etag)

    def head(self, state: State) -> dict[str, Any]:
        """What HEAD says when `state` is true."""
        snapshot = next((event.snapshot for event in reversed(state.history) if event.snapshot), None)
        place = {"format": FORMAT, "line": self._line, "sequence": state.sequence, "event": state.tip}
        return place | {"champion": state.champion, "snapshot": snapshot}

    def _unseal(self, data: bytes, purpose: str, name: str) -> dict[str, Any]:
        return unseal(data, purpose=purpose, line=self._line, verifier=self._verifier, name=name)


def span(sequence: int) -> int:
    """How many events the snapshot holds that event `sequence` names: 30 → 10, 31 → 0 (it names none), 1200 → 100."""
    power = 1
    while sequence % (power * SNAPSHOT_EVERY) == 0:
        power *= SNAPSHOT_EVERY
    return power if power > 1 else 0
