"""Who is about to publish: a lease written before the first upload, so that nothing it needs is collected meanwhile.

    <line>/publishers/<id>.json   holder, since when, until when; by the server's clock, each publisher its own
    <line>/gc/mark.json           what a collection is about to remove, and whether it has begun to

A publisher writes its lease and then looks at the mark; a collection (gc.py) moves its mark to "sweeping" and then
looks at the leases. So one of the two sees the other, whatever the order. A lease that has run out protects nothing:
whoever finds its own run out has to stop before HEAD moves.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from everlearn.canonical_json import canonical, parse
from everlearn.errors import IntegrityError, NotFoundError, RegistryError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from everlearn.storage.protocol import Store

LEASE = timedelta(minutes=15)
SWEEPING = "sweeping"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherClaim:
    """A publisher's lease as others read it."""

    key: str
    holder: str
    since: datetime
    expires: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a collection says in public: which keys it means to remove, until when it may, and how far it is."""

    stage: str
    until: datetime
    keys: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical(asdict(self) | {"until": self.until.isoformat()})

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str) -> Mark:
        """Inverse of `to_bytes`. IntegrityError for anything else."""
        said = parse(data, name=name)
        try:
            return cls(stage=said["stage"], until=datetime.fromisoformat(said["until"]), keys=tuple(said["keys"]))
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(f"{name} is no mark of a collection ({error}); delete it") from None


class Publisher:
    """One publisher's lease on `line`, written when it is first needed."""

    def __init__(
        self, store: Store, line: str, *, lease: timedelta = LEASE, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.lease = lease
        self._store = store
        self._line = line
        self._monotonic = monotonic
        self._key = f"{line}/publishers/{uuid.uuid4().hex}.json"
        self._written: float | None = None
        self._since: datetime | None = None
        self._at: datetime | None = None

    def hold(self) -> None:
        """Hold the lease: write it, or write it again when a third of its time is over."""
        if self._written is None or self._monotonic() - self._written > self.lease.total_seconds() / 3:
            self.renew()

    def renew(self) -> datetime:
        """Hold the lease from now on for its whole time; what the server's clock says."""
        written, self._at = self._monotonic(), self._store.now()
        self._since = self._since or self._at
        times = {"since": self._since.isoformat(), "expires": (self._at + self.lease).isoformat()}
        self._store.put(self._key, canonical({"holder": f"{os.getpid()} on {socket.gethostname()}"} | times))
        self._written = written
        return self._at

    @property
    def fresh_after(self) -> datetime | None:
        """What was modified since then need not be refreshed: no collection takes it before this lease runs out."""
        return self._at - self.lease if self._at else None

    def confirm(self, keys: Collection[str]) -> None:
        """Raise RegistryError unless the lease still holds and no collection is removing one of `keys` right now."""
        now = self._store.now()
        if self._at is None or now >= self._at + self.lease:
            self._written = None
            raise RegistryError(
                f"line {self._line}: this publisher's lease has run out (it was too slow, or asleep); nothing was "
                "published; run the same command again"
            )
        mark = read_mark(self._store, self._line)
        if mark is not None and mark.stage == SWEEPING and now < mark.until and not set(mark.keys).isdisjoint(keys):
            raise RegistryError(
                f"line {self._line}: `everlearn gc` is removing an object that this version needs; nothing was "
                "published; run the same command again when it has ended"
            )

    def end(self) -> None:
        """Give the lease back. A server that does not answer is no error: the lease runs out by itself."""
        if self._written is not None:
            self._written = self._since = self._at = None
            with contextlib.suppress(StoreError):
                self._store.delete(self._key)


def claims(store: Store, line: str) -> tuple[PublisherClaim, ...]:
    """All leases that there are, those that have run out as well. What cannot be read is taken for one that began at once."""
    found = []
    for info in store.list(f"{line}/publishers/"):
        with contextlib.suppress(NotFoundError):  # given back meanwhile
            found.append(_claim(store.get(info.key).data, key=info.key, modified=info.modified))
    return tuple(found)


def read_mark(store: Store, line: str) -> Mark | None:
    """What a collection has marked; None if there is none."""
    name = mark_key(line)
    try:
        return Mark.from_bytes(store.get(name).data, name=name)
    except NotFoundError:
        return None


def mark_key(line: str) -> str:
    """Where a collection says what it is about to do."""
    return f"{line}/gc/mark.json"


def _claim(data: bytes, *, key: str, modified: datetime) -> PublisherClaim:
    try:
        said = parse(data, name=key)
        since, expires = datetime.fromisoformat(said["since"]), datetime.fromisoformat(said["expires"])
        return PublisherClaim(key=key, holder=str(said["holder"]), since=since, expires=expires)
    except (IntegrityError, KeyError, TypeError, ValueError):
        return PublisherClaim(key=key, holder="somebody", since=modified, expires=modified + LEASE)
