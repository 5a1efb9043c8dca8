"""Read model of the site: the current state of a line and the stored data of its nights.

A finished night is immutable and therefore read once. Data that is no longer stored (a retired version, work removed by
`everlearn gc`) is reported in `missing` instead of raising an error.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from everlearn.canonical_json import digest_of
from everlearn.cycle.record import OpenCycle, current_cycle
from everlearn.cycle.workspace import Workspace
from everlearn.errors import BadInputError, IntegrityError, NotFoundError
from everlearn.gate.decision_record import Decision
from everlearn.registry.events import Event, EventKind
from everlearn.registry.manifest import ObjectRef
from everlearn.reporting.night_record import NightRecord, StepTime, steps_from_metrics
from everlearn.reporting.own_items import own_items
from everlearn.reporting.transfer import MeasuredNight, shares_in, transfer_in
from everlearn.storage.immutable_objects import object_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from everlearn.registry.line_state import State
    from everlearn.registry.versions import Registry
    from everlearn.reporting.transfer import MemoryShares, Transfer

READ_THREADS = 8
NIGHT_EVENTS = frozenset({EventKind.PUBLISHED, EventKind.REJECTED, EventKind.INSUFFICIENT, EventKind.NO_NEW_DATA})


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSnapshot:
    """A line at one moment. `finished_steps` belong to the open night, if there is one."""

    line: str
    state: State
    open_cycle: OpenCycle | None
    finished_steps: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Digest that is equal for snapshots with equal content."""
        return digest_of(repr((self.state.tip, self.open_cycle and self.open_cycle.key, self.finished_steps)).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class NightView:
    """The result of one night. `missing` describes data no longer stored; `steps` may lack the wall clock (0 seconds)."""

    event: Event
    name: str
    version: str | None = None
    parent: str | None = None
    decision: Decision | None = None
    steps: tuple[StepTime, ...] = ()
    report: str | None = None
    own_items: tuple[int, int] | None = None
    transfer: Transfer | None = None
    memory: MemoryShares = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def measured(self) -> MeasuredNight:
        """What the night measured, for the metrics of the nights after it."""
        return MeasuredNight(rows=self.decision.rows if self.decision else (), memory=self.memory)

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of all known steps."""
        return sum(step.cpu_seconds for step in self.steps)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of all known steps."""
        return sum(step.seconds for step in self.steps)


def page_name(event: Event) -> str:
    """Return the name of a night's pages: the start of its cycle key, hashed if the key is not a hexadecimal digest."""
    key = event.cycle_key or event.digest
    return key[:12] if re.fullmatch(r"[0-9a-f]{12,}", key) else digest_of(key.encode())[:12]


@dataclass(slots=True)
class LineReader:
    """Reads one line and caches its finished nights."""

    registry: Registry
    _nights: dict[str, NightView] = field(default_factory=dict)

    def snapshot(self) -> LineSnapshot:
        """Read the current state: two or three small reads if nothing has changed."""
        store, line = self.registry.store, self.registry.line
        state, cycle = self.registry.state(), current_cycle(self.registry.store, line)
        names = Workspace(store, line, cycle.key).names() if cycle else ()
        steps = tuple(name.removeprefix("time/") for name in names if name.startswith("time/"))
        return LineSnapshot(line=line, state=state, open_cycle=cycle, finished_steps=steps)

    def nights(self, events: Iterable[Event]) -> list[NightView]:
        """Return the nights that ended with these events, read in parallel."""
        wanted = list(events)
        fresh = [event for event in wanted if event.digest not in self._nights]
        with ThreadPoolExecutor(READ_THREADS) as pool:
            self._nights |= {
                event.digest: night for event, night in zip(fresh, pool.map(self._read, fresh), strict=True)
            }
        return [self._nights[event.digest] for event in wanted]

    def record(self, night: NightView) -> tuple[NightRecord, tuple[str, ...]]:
        """Return the full record of a night, or as much as is stored, and a description of what is missing."""
        try:
            record = NightRecord.from_json(self._work(night.event).get("record"))
        except (NotFoundError, IntegrityError, BadInputError) as error:
            if night.decision is None:
                return self.summary(night), night.missing
            missing = f"ladder, learning curves and ingest counts are not available: {error}"
            return self.summary(night), (*night.missing, missing)
        return replace(record, version=night.version), night.missing

    def summary(self, night: NightView) -> NightRecord:
        """Return the record of a night from the history and its manifest only: no ladder, no curves."""
        return NightRecord(
            line=self.registry.line,
            end=night.event.kind.upper(),
            started=night.event.at,
            cycle_key=night.event.cycle_key or "",
            version=night.version,
            parent=night.parent,
            decision=night.decision,
            steps=night.steps,
            own_items=night.own_items,
            transfer=night.transfer,
        )

    def has_report(self, night: NightView) -> bool:
        """Return whether the report stored with the night still exists."""
        if night.report is None:
            return False
        try:
            self.registry.store.head(object_key(self.registry.line, night.report))
        except NotFoundError:
            return False
        return True

    def report(self, night: NightView) -> bytes:
        """Return the report stored with the night, verified.

        Raises:
            NotFoundError: the night stored no report.
            IntegrityError: the report is gone or damaged.
        """
        if night.report is None:
            raise NotFoundError(f"night {night.name} stored no report")
        return self.registry.get_object(ObjectRef(digest=night.report, size=0))

    def _read(self, event: Event) -> NightView:
        return self._published(event) if event.kind is EventKind.PUBLISHED else self._ended(event)

    def _published(self, event: Event) -> NightView:
        version, parent = str(event.detail["version"]), event.detail["parent"]
        common: dict[str, Any] = {"event": event, "name": page_name(event), "version": version, "parent": parent}
        try:
            manifest = self.registry.manifest(version)
        except (NotFoundError, IntegrityError) as error:
            return NightView(**common, missing=(f"the manifest of {version} cannot be read: {error}",))
        decision, missing = _decision(manifest.decision)
        report = manifest.report.digest if manifest.report else None
        return NightView(
            **common,
            decision=decision,
            steps=steps_from_metrics(manifest.metrics),
            report=report,
            own_items=own_items(manifest.metrics),
            transfer=transfer_in(manifest.metrics),
            memory=shares_in(manifest.metrics),
            missing=missing,
        )

    def _ended(self, event: Event) -> NightView:
        decision, missing = _decision(event.detail.get("decision"))
        metrics = event.detail.get("metrics", {})
        return NightView(
            event=event,
            name=page_name(event),
            parent=event.detail.get("parent"),
            decision=decision,
            steps=steps_from_metrics(metrics),
            report=event.detail.get("report"),
            own_items=own_items(metrics),
            transfer=transfer_in(metrics),
            memory=shares_in(metrics),
            missing=missing,
        )

    def _work(self, event: Event) -> Workspace:
        return Workspace(self.registry.store, self.registry.line, event.cycle_key or event.digest)


def _decision(plain: dict[str, Any] | None) -> tuple[Decision | None, tuple[str, ...]]:
    if not plain:
        return None, ()
    try:
        return Decision.from_dict(plain), ()
    except BadInputError as error:
        return None, (f"the gate decision cannot be read: {error}",)
