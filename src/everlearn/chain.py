"""The event chain of one line in a store: walk it, and add to it by moving HEAD once.

    <line>/HEAD                     sequence and digest of the newest event, champion, newest snapshot; moved by If-Match
    <line>/events/<digest>.json     one sealed event each
    <line>/objects/sha256/<digest>  snapshots among them: the history so far in one object, so that a walk is short

Nothing is visible before HEAD moves. The state is always folded from events, never stored: a snapshot is a shortcut
to the same events, named by a sealed one. HEAD carries no signature, hence no belief: all it says beside the digest
of the newest event is compared with that event and with the fold.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from everlearn.document import FORMAT, canonical, digest_of, parse, seal, unseal
from everlearn.errors import ConflictError, IntegrityError, NotFoundError, StoreDownError
from everlearn.events import Event, State, fold
from everlearn.objects import fetch, keep, object_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from everlearn.document import Signer, Verifier
    from everlearn.events import Kind
    from everlearn.stores import Store

SNAPSHOT_EVERY = 100
ATTEMPTS = 200
DOWN_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An event that somebody wants to add, before its place in the chain is known."""

    kind: Kind
    actor: str
    reason: str
    cycle_key: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)


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
                raise IntegrityError(f"{self._line}/HEAD is gone; restore it from a backup of the bucket") from None
            return known, None
        head = parse(blob.data, name=f"{self._line}/HEAD")
        state = known if head.get("event") == known.tip else self._walk(head, known=known)
        if head != self._head(state):
            raise IntegrityError(f"{self._line}/HEAD contradicts its own history; restore it from a backup")
        self._known = state
        return state, blob.etag

    def _walk(self, head: dict[str, Any], *, known: State) -> State:
        """The state at `head`, from what is known, from a snapshot, or from the beginning: whichever comes first."""
        events: list[Event] = []
        start = State()
        digest: str | None = str(head.get("event"))
        while digest is not None and digest != known.tip:
            event = self._event(digest)
            events.append(event)
            digest = event.previous
            if event.snapshot is not None and digest != known.tip:
                start, digest = self._snapshot(event.snapshot), None
        if digest is not None:
            start = known
        state = fold(reversed(events), start=start)
        if state.sequence < known.sequence or state.tip_at(known.sequence) != known.tip:
            raise IntegrityError(f"{self._line}/HEAD shows an older or another history than was read before")
        return state

    def _event(self, digest: str) -> Event:
        name = f"{self._line}/events/{digest}.json"
        data = fetch(self._store, name, digest=digest)
        return Event.from_content(self._unseal(data, "event", name), digest=digest_of(data))

    def _snapshot(self, digest: str) -> State:
        name = object_key(self._line, digest)
        content = self._unseal(fetch(self._store, name, digest=digest), "snapshot", name)
        return fold(Event.from_content(each["content"], digest=each["digest"]) for each in content["events"])

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
        if event.sequence % SNAPSHOT_EVERY == 0:
            event = replace(event, snapshot=self._write_snapshot(state))
        data = seal(event.to_content(), purpose="event", line=self._line, signer=self._signer)
        name = f"{self._line}/events/{digest_of(data)}.json"
        event = Event.from_content(self._unseal(data, "event", name), digest=digest_of(data))
        after = fold([event], start=state)
        keep(self._store, name, data)
        return event, after

    def _write_snapshot(self, state: State) -> str:
        events = [{"content": event.to_content(), "digest": event.digest} for event in state.history]
        data = seal({"events": events}, purpose="snapshot", line=self._line, signer=self._signer)
        keep(self._store, object_key(self._line, digest_of(data)), data)
        return digest_of(data)

    def _move(self, state: State, *, etag: str | None) -> None:
        data = canonical(self._head(state))
        if etag is None:
            self._store.check()  # before the first event of a line: is atomicity more than a wish here?
            self._store.create(f"{self._line}/HEAD", data)
        else:
            self._store.replace(f"{self._line}/HEAD", data, etag=etag)

    def _head(self, state: State) -> dict[str, Any]:
        snapshot = next((event.snapshot for event in reversed(state.history) if event.snapshot), None)
        place = {"format": FORMAT, "line": self._line, "sequence": state.sequence, "event": state.tip}
        return place | {"champion": state.champion, "snapshot": snapshot}

    def _unseal(self, data: bytes, purpose: str, name: str) -> dict[str, Any]:
        return unseal(data, purpose=purpose, line=self._line, verifier=self._verifier, name=name)
