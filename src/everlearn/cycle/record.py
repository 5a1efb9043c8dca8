"""Open-cycle record: the inputs of one night (cycle), frozen once, so that a later run resumes with exactly them.

    with Lease(store, line) as lease:                       # one run at a time; renewed in the background
        opened = open_cycle(store, line, inputs)            # the open one, where an earlier run was interrupted
        work = Workspace(store, line, opened.key, token=lease.token)
        work.fence()                                        # from here on, older workers cannot write
        …                                                   # each step: `if not work.has("ladder"): work.put(…)`
        registry.publish(…) or registry.record(…)           # idempotent by opened.key
        close_cycle(store, opened, end=End.PUBLISHED)

    <line>/work/open.json   the newest cycle and whether it is open; conditional writes only

Before a cycle is opened, `state.cycles.get(cycle_key(inputs))` of the registry shows whether that key has already ended
(`End.SKIPPED`). After a crash between publishing and closing, the run that resumes finds the published event by its
key. Where publishing raises StaleParentError, `close_cycle(…, end=None)` abandons the cycle, and the next one starts
from the current champion. If its candidate was measured, an event says so before (`gate.abandonment`).

The watermark is not kept here. It is `state.claimed` of the registry: the data digests of all *published* nights,
which commit with the publishing event. A snapshot is thus claimed by an open cycle (its digest is in the inputs), and
free again once that cycle ends without a version.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from everlearn.canonical_json import canonical, parse
from everlearn.cycle.inputs import CycleInputs, cycle_key
from everlearn.cycle.lease import Lease
from everlearn.errors import ConflictError, CycleBusyError, CycleError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from everlearn.storage.protocol import Blob, Store


class End(StrEnum):
    """How a cycle can end. A run that fails has no end: it can be resumed."""

    PUBLISHED = "PUBLISHED"
    REJECTED = "REJECTED"
    INSUFFICIENT = "INSUFFICIENT"
    NO_NEW_DATA = "NO_NEW_DATA"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCycle:
    """Record of a cycle. `notes` holds further values that are frozen with the inputs, such as the settings.

    `end` is None while the cycle is open, and "ABANDONED" after it was abandoned.
    """

    line: str
    key: str
    inputs: CycleInputs
    opened: datetime
    notes: dict[str, str] = field(default_factory=dict)
    is_open: bool = True
    end: str | None = None

    def to_bytes(self) -> bytes:
        """Return canonical JSON."""
        return canonical(asdict(self) | {"opened": self.opened.isoformat()})

    @classmethod
    def from_bytes(cls, data: bytes) -> OpenCycle:
        """Return the record. CycleError if it has fields that this release does not know."""
        record = parse(data, name="the record of the open cycle")
        try:
            known = {"inputs": CycleInputs(**record["inputs"]), "opened": datetime.fromisoformat(record["opened"])}
            return cls(**record | known)
        except (KeyError, TypeError, ValueError) as error:
            raise CycleError(
                f"the open cycle was started by another version of Everlearn ({error}); finish it with that version"
            ) from None


def _now() -> datetime:
    return datetime.now(tz=UTC)


def current_cycle(store: Store, line: str) -> OpenCycle | None:
    """Return the open cycle of a line, which the next run has to resume; None if the last one has ended."""
    record, _ = _read(store, line)
    return record if record and record.is_open else None


def open_cycle(
    store: Store,
    line: str,
    inputs: CycleInputs,
    *,
    notes: Mapping[str, str] | None = None,
    clock: Callable[[], datetime] = _now,
) -> OpenCycle:
    """Open a cycle with frozen inputs. If one is open already, return that one and ignore `inputs`."""
    record, blob = _read(store, line)
    if record and record.is_open:
        return record
    fresh = OpenCycle(line=line, key=cycle_key(inputs), inputs=inputs, opened=clock(), notes=dict(notes or {}))
    try:
        _write(store, fresh, blob)
    except ConflictError:
        return open_cycle(store, line, inputs, notes=notes, clock=clock)  # another run was first: return its cycle
    return fresh


def close_cycle(store: Store, cycle: OpenCycle, *, end: End | None) -> None:
    """Close a cycle, so that the next one can start. `end` None abandons it; its data stays available. Idempotent.

    Raises:
        CycleError: another cycle has been opened since.
        CycleBusyError: another run has just closed it.
    """
    record, blob = _read(store, cycle.line)
    if record is None or record.key != cycle.key:
        raise CycleError(f"cycle {cycle.key[:12]} is not the open one of line {cycle.line}; nothing was closed")
    if not record.is_open:
        return
    closed = replace(record, is_open=False, end=str(end) if end else "ABANDONED")
    try:
        _write(store, closed, blob)
    except ConflictError:
        if _read(store, cycle.line)[0] != closed:  # as it is where the write was carried out and its answer lost
            raise CycleBusyError(f"cycle {cycle.key[:12]} was closed by another run") from None


def abandon_cycle(
    store: Store, line: str, *, before_closing: Callable[[OpenCycle], None] = lambda _: None
) -> OpenCycle | None:
    """Abandon the open cycle and return it; None if there is none. CycleBusyError while a run holds the lease.

    `before_closing` can record that it is given up, while no other run can continue it.
    """
    with Lease(store, line):
        opened = current_cycle(store, line)
        if opened is not None:
            before_closing(opened)
            close_cycle(store, opened, end=None)
        return opened


def _key(line: str) -> str:
    return f"{line}/work/open.json"


def _read(store: Store, line: str) -> tuple[OpenCycle | None, Blob | None]:
    try:
        blob = store.get(_key(line))
    except NotFoundError:
        return None, None
    return OpenCycle.from_bytes(blob.data), blob


def _write(store: Store, record: OpenCycle, current: Blob | None) -> None:
    """Write the record over `current`. ConflictError if that is no longer the stored one."""
    if current is None:
        store.create(_key(record.line), record.to_bytes())
    else:
        store.replace(_key(record.line), record.to_bytes(), etag=current.etag)
