"""Acknowledgements: which version each consumer serves, and waiting until all serve the champion.

    <line>/consumers/<name>.json   consumer, version, digest of its manifest, newest event seen, time

Each consumer overwrites its own record. The records are unsigned and never trusted: `fsck` takes from them only which
signed event to look for.
"""

from __future__ import annotations

import re
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Self

from everlearn.canonical_json import canonical, parse
from everlearn.errors import BadInputError, IntegrityError, LateError, NotFoundError, StoreDownError

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.registry.line_state import State
    from everlearn.registry.versions import Registry
    from everlearn.storage.protocol import Store

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
POLL_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """What one consumer serves. `version` and `manifest` None mean the base model without an adapter.

    `sequence` and `event` are number and digest of the newest event that the consumer had seen.
    """

    consumer: str
    version: str | None
    manifest: str | None
    sequence: int
    event: str | None
    at: datetime

    def to_bytes(self) -> bytes:
        """Return the record as canonical JSON."""
        return canonical(asdict(self) | {"at": self.at.isoformat()})

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str) -> Self:
        """Return the record in `data`: the inverse of `to_bytes`. Raises IntegrityError for any other bytes."""
        content = parse(data, name=name)
        try:
            made = cls(**content | {"at": datetime.fromisoformat(content["at"])})
        except (KeyError, TypeError, ValueError):
            raise IntegrityError(f"{name} is not an acknowledgement: a field is missing, unknown or invalid") from None
        texts = (made.consumer, made.version or "", made.manifest or "", made.event or "")
        if type(made.sequence) is not int or not all(isinstance(each, str) for each in texts):
            raise IntegrityError(f"{name} is not an acknowledgement: a field has the wrong type")
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A consumer of a line. `acknowledged` is None if its record cannot be read."""

    consumer: str
    acknowledged: Acknowledgement | None
    behind: bool

    @property
    def serves(self) -> str | None:
        """The version that it serves; None is the base model, or unknown."""
        return self.acknowledged.version if self.acknowledged else None


def check_consumer_name(consumer: str) -> str:
    """Return `consumer`. Raises BadInputError if it cannot be part of a key."""
    if not _NAME.fullmatch(consumer):
        raise BadInputError(
            f"{consumer!r} is not a valid consumer name: use letters, digits, dots, dashes and underscores, at most 100"
        )
    return consumer


def acknowledge(registry: Registry, *, consumer: str, version: str | None, sequence: int, at: datetime) -> None:
    """Record that `consumer` serves `version` (None: the base model) and has seen `sequence` events."""
    state = registry.state()
    note = Acknowledgement(
        consumer=check_consumer_name(consumer),
        version=version,
        manifest=state.versions[version].manifest if version else None,
        sequence=sequence,
        event=state.tip_at(sequence),
        at=at,
    )
    registry.store.put(_key(registry.line, consumer), note.to_bytes())


def acknowledgements(store: Store, line: str) -> dict[str, Acknowledgement | None]:
    """Return the record of each consumer by name; None for one that cannot be read."""
    prefix = f"{line}/consumers/"
    names = [info.key.removeprefix(prefix).removesuffix(".json") for info in store.list(prefix)]
    return {name: _read(store, _key(line, name)) for name in names}


def replicas(registry: Registry, *, state: State | None = None) -> tuple[Replica, ...]:
    """Return every consumer with a record, by name, and whether it serves another version than the champion."""
    state = state or registry.state()
    wanted = state.versions[state.champion].manifest if state.champion else None
    notes = acknowledgements(registry.store, registry.line)
    return tuple(
        Replica(consumer=name, acknowledged=note, behind=note is None or note.manifest != wanted)
        for name, note in sorted(notes.items())
    )


def forget_consumer(registry: Registry, consumer: str) -> None:
    """Delete a consumer's record, so that rollbacks no longer wait for it. Raises BadInputError if it has none."""
    if consumer not in acknowledgements(registry.store, registry.line):
        raise BadInputError(f"no consumer of line {registry.line} is called {consumer!r}; see `everlearn replicas`")
    registry.store.delete(_key(registry.line, consumer))


def require_followed(registry: Registry, *, timeout_s: float) -> None:
    """Wait until every consumer serves the champion. Raises LateError, which names those that do not at the timeout."""
    late = wait_until_followed(registry, timeout_s=timeout_s)
    if late:
        names = ", ".join(replica.consumer for replica in late)
        raise LateError(
            f"the champion has changed, but {names} did not follow within {timeout_s:g} s; check the log there, or, if "
            f"the consumer is gone, run `everlearn replicas --forget {late[0].consumer}`"
        )


def wait_until_followed(
    registry: Registry,
    *,
    timeout_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Replica, ...]:
    """Wait until every consumer serves the champion, and return those that are still behind at the timeout.

    Raises:
        StoreDownError: The store does not answer at the timeout. Until then it is polled again.
    """
    end = clock() + timeout_s
    while True:
        try:
            late = tuple(each for each in replicas(registry) if each.behind)
        except StoreDownError:
            if clock() >= end:
                raise
        else:
            if not late or clock() >= end:
                return late
        sleep(POLL_S)


def _read(store: Store, key: str) -> Acknowledgement | None:
    try:
        return Acknowledgement.from_bytes(store.get(key).data, name=key)
    except (NotFoundError, IntegrityError):
        return None


def _key(line: str, consumer: str) -> str:
    return f"{line}/consumers/{consumer}.json"
