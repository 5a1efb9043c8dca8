"""Publisher heartbeats: records of running publications, which keep the garbage collector from removing their objects.

    <line>/publishers/<id>.json   holder, start and expiry by the server's clock; one for each publisher
    <line>/gc/mark.json           the keys that a running collection will remove, and its stage

Many publishers may have a heartbeat at once: it excludes collections, not other publishers. A publisher writes its
heartbeat, then reads the mark; a collection (`maintenance.gc`) sets its mark to "sweeping", then reads the heartbeats.
In every interleaving at least one of the two sees the other. An expired heartbeat protects nothing: a publisher that
finds its own expired must stop before it moves HEAD.
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

LIFETIME = timedelta(minutes=15)
SWEEPING = "sweeping"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """A publisher's heartbeat as stored under `key`."""

    key: str
    holder: str
    since: datetime
    expires: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionMark:
    """Stage of a running collection, the time until which it holds, and the keys that it will remove."""

    stage: str
    until: datetime
    keys: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """Return the mark as canonical JSON."""
        return canonical(asdict(self) | {"until": self.until.isoformat()})

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str) -> CollectionMark:
        """Return the mark in `data`: the inverse of `to_bytes`. Raises IntegrityError for any other bytes."""
        content = parse(data, name=name)
        try:
            until = datetime.fromisoformat(content["until"])
            return cls(stage=content["stage"], until=until, keys=tuple(content["keys"]))
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(f"{name} is not the mark of a collection ({error}); delete it") from None


class PublisherHeartbeat:
    """Writes one publisher's heartbeat on `line`, first when it is needed."""

    def __init__(
        self,
        store: Store,
        line: str,
        *,
        lifetime: timedelta = LIFETIME,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lifetime = lifetime
        self._store = store
        self._line = line
        self._monotonic = monotonic
        self._key = f"{line}/publishers/{uuid.uuid4().hex}.json"
        self._written: float | None = None  # local monotonic clock: when a renewal is due
        self._since: datetime | None = None  # server's clock, as are all times in the record
        self._at: datetime | None = None

    def keep_alive(self) -> None:
        """Write the heartbeat if there is none yet, or if a third of its lifetime has passed."""
        if self._written is None or self._monotonic() - self._written > self.lifetime.total_seconds() / 3:
            self.renew()

    def renew(self) -> datetime:
        """Write the heartbeat with a full lifetime from now, and return the server's time."""
        written, self._at = self._monotonic(), self._store.now()
        self._since = self._since or self._at
        times = {"since": self._since.isoformat(), "expires": (self._at + self.lifetime).isoformat()}
        self._store.put(self._key, canonical({"holder": f"{os.getpid()} on {socket.gethostname()}"} | times))
        self._written = written
        return self._at

    @property
    def fresh_after(self) -> datetime | None:
        """Objects modified after this time need no refresh: no collection removes them before the heartbeat expires."""
        return self._at - self.lifetime if self._at else None

    def confirm(self, keys: Collection[str]) -> None:
        """Check that the heartbeat has not expired and that no collection is removing one of `keys`.

        Raises:
            RegistryError: One of the two does not hold; the publication must stop.
        """
        now = self._store.now()
        if self._at is None or now >= self._at + self.lifetime:
            self._written = None
            raise RegistryError(
                f"line {self._line}: this publisher's heartbeat has expired (the process was too slow, or suspended); "
                "nothing was published; run the same command again"
            )
        mark = read_mark(self._store, self._line)
        if mark is not None and mark.stage == SWEEPING and now < mark.until and not set(mark.keys).isdisjoint(keys):
            raise RegistryError(
                f"line {self._line}: `everlearn gc` is removing an object that this version needs; nothing was "
                "published; run the same command again when it has ended"
            )

    def end(self) -> None:
        """Delete the heartbeat. A store error is ignored: the heartbeat expires."""
        if self._written is not None:
            self._written = self._since = self._at = None
            with contextlib.suppress(StoreError):
                self._store.delete(self._key)


def read_heartbeats(store: Store, line: str) -> tuple[Heartbeat, ...]:
    """Return all heartbeats of a line, expired ones included.

    An unreadable record counts as a heartbeat that began when it was written and has the default lifetime.
    """
    heartbeats = []
    for info in store.list(f"{line}/publishers/"):
        with contextlib.suppress(NotFoundError):  # deleted since it was listed
            heartbeats.append(_heartbeat(store.get(info.key).data, key=info.key, modified=info.modified))
    return tuple(heartbeats)


def read_mark(store: Store, line: str) -> CollectionMark | None:
    """Return the mark of the running collection; None if there is none."""
    name = mark_key(line)
    try:
        return CollectionMark.from_bytes(store.get(name).data, name=name)
    except NotFoundError:
        return None


def mark_key(line: str) -> str:
    """Return the key of a line's collection mark."""
    return f"{line}/gc/mark.json"


def _heartbeat(data: bytes, *, key: str, modified: datetime) -> Heartbeat:
    try:
        content = parse(data, name=key)
        since, expires = datetime.fromisoformat(content["since"]), datetime.fromisoformat(content["expires"])
        return Heartbeat(key=key, holder=str(content["holder"]), since=since, expires=expires)
    except (IntegrityError, KeyError, TypeError, ValueError):
        return Heartbeat(key=key, holder="unknown", since=modified, expires=modified + LIFETIME)
