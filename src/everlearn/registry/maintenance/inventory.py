"""Inventory of a line: every event, snapshot, manifest, object and record of used problems, listed, read and verified.

Faults are collected by key, not raised, so that one damaged object does not hide the next.
"""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from everlearn.data.used_problems import UsedProblems
from everlearn.errors import IntegrityError, NotFoundError
from everlearn.registry.event_log import READERS, EventLog
from everlearn.registry.line_keys import manifest_key
from everlearn.registry.manifest import Manifest
from everlearn.registry.sealed_document import unseal
from everlearn.storage.immutable_objects import fetch, object_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from everlearn.registry.events import Event
    from everlearn.registry.sealed_document import Verifier
    from everlearn.storage.protocol import Store

T = TypeVar("T")
_NAMED = re.compile(
    r"(events/[0-9a-f]{64}\.json|manifests/[0-9a-f]{64}\.json|objects/sha256/[0-9a-f]{64}"
    r"|problems/(measured|trained)/[0-9a-f]{64})"
)
_PARTS = ("events/", "manifests/", "objects/", "problems/")


class Inventory:
    """The keys of a line as listed at construction, and what has been read of them.

    sizes    bytes of each key
    events   verified events by digest
    copies   events as snapshots hold them, by digest
    faults   why a key failed verification, by key
    """

    def __init__(
        self, store: Store, line: str, *, verifier: Verifier, progress: Callable[[int, int], None] | None
    ) -> None:
        self.log = EventLog(store, line, clock=lambda: datetime.now(tz=UTC), signer=None, verifier=verifier)
        held = [info for part in _PARTS for info in store.list(f"{line}/{part}")]
        self.sizes = {info.key: info.size for info in held}
        self.events: dict[str, Event] = {}
        self.copies: dict[str, Event] = {}
        self.faults: dict[str, str] = {}
        self._store = store
        self._line = line
        self._verifier = verifier
        self._progress = progress
        self._read: set[str] = set()

    def read_events(self) -> None:
        """Read every event, and every snapshot that one of them names."""
        self.for_each(self._addressed("events/"), self._read_event)
        self.for_each({each.snapshot for each in self.events.values() if each.snapshot}, self._read_snapshot)

    def used_problems(self) -> Iterator[tuple[str, UsedProblems | None]]:
        """Yield the keys of all records of used problems with their content, None for a damaged one."""
        for key in self._addressed("problems/"):
            yield key, self.attempt(key, partial(self._record, key))

    def read_rest(self) -> None:
        """Hash every key that was not read yet, and compare it with the digest in its name."""
        self.for_each(set(self._addressed("")) - self._read, self._hash)

    def manifest(self, digest: str) -> Manifest | None:
        """Return the manifest with that digest; None if it is missing or damaged."""
        key = manifest_key(self._line, digest)
        return self.attempt(key, lambda: self._manifest(key, digest))

    def has_wrong_bytes(self, key: str) -> bool:
        """Whether the bytes under `key` differ from the digest in its name."""
        whole = hashlib.sha256()
        try:
            for part in self._store.read(key):
                whole.update(part)
        except NotFoundError:
            return False  # removed since it was listed
        return whole.hexdigest() != _digest(key)

    def for_each(self, values: Iterable[T], work: Callable[[T], None]) -> None:
        """Call `work` for every value in a thread pool. The first exception cancels what has not begun, and is raised."""
        pool = ThreadPoolExecutor(READERS)
        try:
            for _ in pool.map(work, values):
                if self._progress is not None:
                    self._progress(len(self._read), len(self.sizes))
        finally:
            pool.shutdown(cancel_futures=True)

    def attempt(self, key: str, read: Callable[[], T]) -> T | None:
        """Return the result of `read`; on IntegrityError record it as the fault of `key`, and return None."""
        self._read.add(key)
        try:
            return read()
        except IntegrityError as error:
            if key in self.sizes:
                self.faults[key] = str(error)
            return None

    def _read_event(self, key: str) -> None:
        event = self.attempt(key, lambda: self.log.event(_digest(key)))
        if event is not None:
            self.events[event.digest] = event

    def _read_snapshot(self, digest: str) -> None:
        key = object_key(self._line, digest)
        read = self.attempt(key, lambda: self.log.snapshot(digest))
        for event in read[0] if read else ():
            self.copies[event.digest] = event
            if event != self.events.get(event.digest, event):
                self.faults[key] = f"{key}: its copy of event {event.sequence} differs from the event itself"

    def _manifest(self, key: str, digest: str) -> Manifest:
        data = fetch(self._store, key, digest=digest)
        content = unseal(data, purpose="manifest", line=self._line, verifier=self._verifier, name=key)
        return Manifest.from_content(content)

    def _record(self, key: str) -> UsedProblems:
        return UsedProblems.from_bytes(fetch(self._store, key, digest=_digest(key)), name=key)

    def _hash(self, key: str) -> None:
        self._read.add(key)
        if self.has_wrong_bytes(key):
            self.faults[key] = f"{key} is damaged: its bytes have another digest"

    def _addressed(self, part: str) -> list[str]:
        """Return the keys below `part` whose name is a digest."""
        begin = f"{self._line}/"
        return [key for key in self.sizes if key.startswith(begin + part) and _NAMED.fullmatch(key[len(begin) :])]


def _digest(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".json")
