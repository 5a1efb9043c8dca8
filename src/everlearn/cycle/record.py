"""One night, known by its key: what it starts from is frozen once, and a re-run goes on with exactly that.

    with Lease(store, line) as lease:                       # one run at a time; renewed in the background
        opened = open_cycle(store, line, inputs)            # `opened.resumed` if an earlier run was cut short
        work = Workspace(store, line, opened.key, token=lease.token)
        work.fence()                                        # from here on, older workers cannot write
        …                                                   # each step: `if not work.has("ladder"): work.put(…)`
        registry.publish(…) or registry.record(…)           # idempotent by opened.key
        close_cycle(store, opened, end=End.PUBLISHED)

    <line>/work/open.json   the newest cycle and whether it is open; conditional writes only

Look before opening: `state.cycles.get(cycle_key(inputs))` of the registry says that a key has ended already
(`End.SKIPPED`). After a crash between publish and close, the run that resumes finds the published event by its key.
Where publishing raises StaleParentError, `close_cycle(…, end=None)` abandons the night, and the next one starts from
the champion of that moment.

The watermark is not kept here. It is `state.claimed` of the registry: the data digests of all *published* nights,
which commit with the publishing event. A snapshot is thus claimed by an open cycle (its digest is in the inputs, which
a re-run takes up whatever arrived meanwhile), and free again once that cycle ends without a version.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from everlearn.canonical_json import canonical, digest_of, parse
from everlearn.cycle.lease import Holder, Lease
from everlearn.cycle.workspace import Workspace
from everlearn.errors import ConflictError, CycleBusyError, CycleError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from everlearn.storage.protocol import Blob, Store

__all__ = [
    "CycleInputs",
    "End",
    "Holder",
    "Lease",
    "OpenCycle",
    "Workspace",
    "abandon_cycle",
    "close_cycle",
    "current_cycle",
    "cycle_key",
    "open_cycle",
]


class End(StrEnum):
    """How a cycle can end. A run that fails has no end: it is resumed."""

    PUBLISHED = "PUBLISHED"
    REJECTED = "REJECTED"
    INSUFFICIENT = "INSUFFICIENT"
    NO_NEW_DATA = "NO_NEW_DATA"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleInputs:
    """Everything that decides which weights a night makes. `parent` is a version, or None for the base model.

    `config_digest` covers only what changes the weights, the seed included.
    """

    data_digest: str
    config_digest: str
    parent: str | None
    base_fingerprint: str
    code_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCycle:
    """A cycle's record. `notes` are what else the run has to find again, frozen with the inputs.

    `end` is None while it is open; an abandoned one ended as "ABANDONED". `resumed` is true where an earlier run had
    opened it.
    """

    line: str
    key: str
    inputs: CycleInputs
    opened: datetime
    notes: dict[str, str] = field(default_factory=dict)
    is_open: bool = True
    end: str | None = None
    resumed: bool = False

    def to_bytes(self) -> bytes:
        """Canonical JSON, without `resumed`."""
        record = asdict(self) | {"opened": self.opened.isoformat()}
        del record["resumed"]
        return canonical(record)

    @classmethod
    def from_bytes(cls, data: bytes) -> OpenCycle:
        """Inverse of `to_bytes`. CycleError if another version of Everlearn has written them."""
        record = parse(data, name="the record of the open cycle")
        try:
            known = {"inputs": CycleInputs(**record["inputs"]), "opened": datetime.fromisoformat(record["opened"])}
            return cls(**record | known)
        except (KeyError, TypeError, ValueError) as error:
            raise CycleError(
                f"the open cycle was begun by another version of Everlearn ({error}); end it there"
            ) from None


def _now() -> datetime:
    return datetime.now(tz=UTC)


def cycle_key(inputs: CycleInputs) -> str:
    """SHA-256 over the inputs: equal inputs are the same night."""
    return digest_of(canonical(asdict(inputs)))


def current_cycle(store: Store, line: str) -> OpenCycle | None:
    """The open cycle of a line, which the next run has to resume; None if the last one has ended."""
    record, _ = _read(store, line)
    return replace(record, resumed=True) if record and record.is_open else None


def open_cycle(
    store: Store,
    line: str,
    inputs: CycleInputs,
    *,
    notes: Mapping[str, str] | None = None,
    clock: Callable[[], datetime] = _now,
) -> OpenCycle:
    """Freeze the inputs of a night. Where a cycle is open already, that one is returned, whatever `inputs` say."""
    record, blob = _read(store, line)
    if record and record.is_open:
        return replace(record, resumed=True)
    fresh = OpenCycle(line=line, key=cycle_key(inputs), inputs=inputs, opened=clock(), notes=dict(notes or {}))
    try:
        _write(store, fresh, blob)
    except ConflictError:
        return open_cycle(store, line, inputs, notes=notes, clock=clock)  # somebody has just opened one
    return fresh


def close_cycle(store: Store, cycle: OpenCycle, *, end: End | None) -> None:
    """Let the next night begin. `end` None abandons this one; its data stays available. Repeating it changes nothing.

    Raises CycleError when another cycle has been opened since.
    """
    record, blob = _read(store, cycle.line)
    if record is None or record.key != cycle.key:
        raise CycleError(f"cycle {cycle.key[:12]} is not the open one of line {cycle.line}; nothing to close")
    if not record.is_open:
        return
    closed = replace(record, is_open=False, end=str(end) if end else "ABANDONED")
    try:
        _write(store, closed, blob)
    except ConflictError:
        raise CycleBusyError(f"cycle {cycle.key[:12]} was closed by another run") from None


def abandon_cycle(store: Store, line: str) -> OpenCycle | None:
    """Close the open cycle, if there is one, without an end; its data stays available. CycleBusyError while it runs."""
    with Lease(store, line):
        found = current_cycle(store, line)
        if found is not None:
            close_cycle(store, found, end=None)
        return found


def _key(line: str) -> str:
    return f"{line}/work/open.json"


def _read(store: Store, line: str) -> tuple[OpenCycle | None, Blob | None]:
    try:
        blob = store.get(_key(line))
    except NotFoundError:
        return None, None
    return OpenCycle.from_bytes(blob.data), blob


def _write(store: Store, record: OpenCycle, over: Blob | None) -> None:
    if over is None:
        store.create(_key(record.line), record.to_bytes())
    else:
        store.replace(_key(record.line), record.to_bytes(), etag=over.etag)
