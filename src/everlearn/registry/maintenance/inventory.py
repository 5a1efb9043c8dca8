"""Everything that a line holds, listed, read and verified; what cannot be, is remembered with its reason, not raised."""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from everlearn.errors import IntegrityError, NotFoundError
from everlearn.registry.event_log import READERS, Chain
from everlearn.registry.manifest import Manifest
from everlearn.registry.sealed_document import unseal
from everlearn.storage.objects import fetch, object_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from everlearn.registry.events import Event
    from everlearn.registry.sealed_document import Verifier
    from everlearn.storage.protocol import Store

T = TypeVar("T")
_NAMED = re.compile(r"(events/[0-9a-f]{64}\.json|manifests/[0-9a-f]{64}\.json|objects/sha256/[0-9a-f]{64})")


class Inventory:
    """What lies under a line, at the moment when this is made.

    sizes    bytes of each key
    events   those that hold, by digest
    copies   events as the snapshots tell them, by digest
    wrong    why a key does not hold
    """

    def __init__(
        self, store: Store, line: str, *, verifier: Verifier, progress: Callable[[int, int], None] | None
    ) -> None:
        self.chain = Chain(store, line, clock=lambda: datetime.now(tz=UTC), signer=None, verifier=verifier)
        held = [info for part in ("events/", "manifests/", "objects/") for info in store.list(f"{line}/{part}")]
        self.sizes = {info.key: info.size for info in held}
        self.events: dict[str, Event] = {}
        self.copies: dict[str, Event] = {}
        self.wrong: dict[str, str] = {}
        self._store = store
        self._line = line
        self._verifier = verifier
        self._progress = progress
        self._seen: set[str] = set()

    def read_events(self) -> None:
        """Read every event, and every snapshot that one of them names."""
        self.each(self._named("events/"), self._read_event)
        self.each({each.snapshot for each in self.events.values() if each.snapshot}, self._read_snapshot)

    def read_rest(self) -> None:
        """Compare all that was not read yet with the digest in its name."""
        self.each(set(self._named("")) - self._seen, self._hash)

    def manifest(self, digest: str) -> Manifest | None:
        """The manifest with that digest, if it holds."""
        key = self.manifest_key(digest)
        return self.attempt(key, lambda: self._manifest(key, digest))

    def manifest_key(self, digest: str) -> str:
        """Where that manifest lies."""
        return f"{self._line}/manifests/{digest}.json"

    def is_torn(self, key: str) -> bool:
        """Whether there are other bytes under `key` than its name says."""
        whole = hashlib.sha256()
        try:
            for part in self._store.read(key):
                whole.update(part)
        except NotFoundError:
            return False  # collected meanwhile
        return whole.hexdigest() != _digest(key)

    def each(self, things: Iterable[T], look: Callable[[T], None]) -> None:
        """Look at many things side by side; what is still waiting is dropped when one look fails."""
        pool = ThreadPoolExecutor(READERS)
        try:
            for _ in pool.map(look, things):
                if self._progress is not None:
                    self._progress(len(self._seen), len(self.sizes))
        finally:
            pool.shutdown(cancel_futures=True)

    def attempt(self, key: str, read: Callable[[], T]) -> T | None:
        """What `read` returns; None, and remembered, where `key` does not hold."""
        self._seen.add(key)
        try:
            return read()
        except IntegrityError as error:
            if key in self.sizes:
                self.wrong[key] = str(error)
            return None

    def _read_event(self, key: str) -> None:
        event = self.attempt(key, lambda: self.chain.event(_digest(key)))
        if event is not None:
            self.events[event.digest] = event

    def _read_snapshot(self, digest: str) -> None:
        key = object_key(self._line, digest)
        read = self.attempt(key, lambda: self.chain.snapshot(digest))
        for event in read[0] if read else ():
            self.copies[event.digest] = event
            if event != self.events.get(event.digest, event):
                self.wrong[key] = f"{key} tells event {event.sequence} otherwise than the event itself"

    def _manifest(self, key: str, digest: str) -> Manifest:
        data = fetch(self._store, key, digest=digest)
        return Manifest.from_content(
            unseal(data, purpose="manifest", line=self._line, verifier=self._verifier, name=key)
        )

    def _hash(self, key: str) -> None:
        self._seen.add(key)
        if self.is_torn(key):
            self.wrong[key] = f"{key} is damaged: its bytes have another digest"

    def _named(self, part: str) -> list[str]:
        """The keys below `part` that are named by a digest."""
        begin = f"{self._line}/"
        return [key for key in self.sizes if key.startswith(begin + part) and _NAMED.fullmatch(key[len(begin) :])]


def _digest(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".json")
