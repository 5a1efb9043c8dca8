"""Who serves what: each consumer says which version it has taken up, and a rollback can wait until all have.

    <line>/consumers/<name>.json   consumer, version, digest of its manifest, the newest event it has seen, when

A consumer writes its own and no other. They are notes, not documents: unsigned, believed by nobody who verifies, and
written over each time. What `fsck` takes from one is only where to look for an event that is signed.
"""

from __future__ import annotations

import re
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Self

from everlearn.canonical_json import canonical, parse
from everlearn.errors import BadInputError, IntegrityError, NotFoundError, StoreDownError

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.registry.line_state import State
    from everlearn.registry.versions import Registry
    from everlearn.storage.protocol import Store

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
POLL_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """What one consumer has taken up. `version` and `manifest` None mean the base model alone.

    `sequence` and `event` are those of the newest event that it had seen then.
    """

    consumer: str
    version: str | None
    manifest: str | None
    sequence: int
    event: str | None
    at: datetime

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical(asdict(self) | {"at": self.at.isoformat()})

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str) -> Self:
        """Inverse of `to_bytes`. IntegrityError if it is none."""
        content = parse(data, name=name)
        try:
            said = cls(**content | {"at": datetime.fromisoformat(content["at"])})
        except (KeyError, TypeError, ValueError):
            raise IntegrityError(f"{name} is no acknowledgement") from None
        texts = (said.consumer, said.version or "", said.manifest or "", said.event or "")
        if type(said.sequence) is not int or not all(isinstance(each, str) for each in texts):
            raise IntegrityError(f"{name} is no acknowledgement")
        return said


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A consumer as the line sees it. `acknowledged` is None where what it wrote cannot be read."""

    consumer: str
    acknowledged: Acknowledgement | None
    behind: bool

    @property
    def serves(self) -> str | None:
        """The version; None is the base model, or nothing that is known."""
        return self.acknowledged.version if self.acknowledged else None


def check_name(consumer: str) -> str:
    """`consumer`, if it can be the name of one. BadInputError if not."""
    if not _NAME.fullmatch(consumer):
        raise BadInputError(f"{consumer!r} is no name of a consumer: letters, digits, dots, dashes, at most 100")
    return consumer


def acknowledge(registry: Registry, *, consumer: str, version: str | None, sequence: int, at: datetime) -> None:
    """Say that `consumer` has taken up `version` (None: the base model), having seen `sequence` events."""
    state = registry.state()
    said = Acknowledgement(
        consumer=check_name(consumer),
        version=version,
        manifest=state.versions[version].manifest if version else None,
        sequence=sequence,
        event=state.tip_at(sequence),
        at=at,
    )
    registry.store.put(_key(registry.line, consumer), said.to_bytes())


def acknowledgements(store: Store, line: str) -> dict[str, Acknowledgement | None]:
    """By consumer, what each has said last; None where that cannot be read."""
    prefix = f"{line}/consumers/"
    names = [info.key.removeprefix(prefix).removesuffix(".json") for info in store.list(prefix)]
    return {name: _read(store, _key(line, name)) for name in names}


def replicas(registry: Registry, *, state: State | None = None) -> tuple[Replica, ...]:
    """Every consumer that has ever said something, and whether it is behind the champion."""
    state = state or registry.state()
    wanted = state.versions[state.champion].manifest if state.champion else None
    said = acknowledgements(registry.store, registry.line)
    return tuple(
        Replica(consumer=name, acknowledged=each, behind=each is None or each.manifest != wanted)
        for name, each in sorted(said.items())
    )


def forget(registry: Registry, consumer: str) -> None:
    """Remove what a consumer has said that is no more, so that nobody waits for it. BadInputError if it is unknown."""
    key = _key(registry.line, check_name(consumer))
    if _read(registry.store, key) is None and consumer not in acknowledgements(registry.store, registry.line):
        raise BadInputError(f"no consumer of line {registry.line} is called {consumer!r}; see `everlearn replicas`")
    registry.store.delete(key)


def wait_for_all(
    registry: Registry,
    *,
    patience_s: float,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> tuple[Replica, ...]:
    """Wait until nobody is behind; those who still are when patience ends. A store that is away is waited for, too."""
    end = clock() + patience_s
    while True:
        try:
            late = tuple(each for each in replicas(registry) if each.behind)
        except StoreDownError:
            if clock() >= end:
                raise
        else:
            if not late or clock() >= end:
                return late
        pause(POLL_S)


def _read(store: Store, key: str) -> Acknowledgement | None:
    try:
        return Acknowledgement.from_bytes(store.get(key).data, name=key)
    except (NotFoundError, IntegrityError):
        return None


def _key(line: str, consumer: str) -> str:
    return f"{line}/consumers/{consumer}.json"
