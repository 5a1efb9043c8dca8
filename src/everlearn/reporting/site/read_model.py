"""What is true of a line now, and what each of its nights left behind, as far as it is kept.

A night that has ended never changes, so it is read once. What is gone (a retired version, work that `everlearn gc`
has removed) is said in words, not raised.
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
from everlearn.gate.decision import Decision
from everlearn.registry.events import Event, EventKind
from everlearn.registry.manifest import ObjectRef
from everlearn.reporting.night_record import NightRecord, StepTime
from everlearn.storage.objects import object_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from everlearn.registry.line_state import State
    from everlearn.registry.versions import Registry

READERS = 8
NIGHT_EVENTS = frozenset({EventKind.PUBLISHED, EventKind.REJECTED, EventKind.INSUFFICIENT, EventKind.NO_NEW_DATA})
CPU, WALL = "cpu_seconds/", "seconds/"


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSnapshot:
    """A line at one moment. `done` names the finished steps of the night that is open, if one is."""

    line: str
    state: State
    open: OpenCycle | None
    done: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Equal for looks that show the same."""
        return digest_of(repr((self.state.tip, self.open and self.open.key, self.done)).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class NightView:
    """How one night ended. `missing` says what is kept no longer; `steps` may lack the wall clock (0 seconds)."""

    event: Event
    name: str
    version: str | None = None
    parent: str | None = None
    decision: Decision | None = None
    steps: tuple[StepTime, ...] = ()
    report: str | None = None
    missing: tuple[str, ...] = ()

    @property
    def cpu_seconds(self) -> float:
        """CPU time of all steps that are known."""
        return sum(step.cpu_seconds for step in self.steps)

    @property
    def seconds(self) -> float:
        """Wall clock of all steps that are known."""
        return sum(step.seconds for step in self.steps)


def page_name(event: Event) -> str:
    """What a night's pages are called: the beginning of its cycle key, or of another digest where that is none."""
    key = event.cycle_key or event.digest
    return key[:12] if re.fullmatch(r"[0-9a-f]{12,}", key) else digest_of(key.encode())[:12]


@dataclass(slots=True)
class LineReader:
    """Reads one line, and remembers the nights that it has read."""

    registry: Registry
    _nights: dict[str, NightView] = field(default_factory=dict)

    def snapshot(self) -> LineSnapshot:
        """The line now: two or three small reads where nothing has changed."""
        store, line = self.registry.store, self.registry.line
        state, found = self.registry.state(), current_cycle(self.registry.store, line)
        done = Workspace(store, line, found.key).names() if found else ()
        steps = tuple(name.removeprefix("time/") for name in done if name.startswith("time/"))
        return LineSnapshot(line=line, state=state, open=found, done=steps)

    def nights(self, events: Iterable[Event]) -> list[NightView]:
        """The nights that ended with these events, several read at a time."""
        wanted = list(events)
        fresh = [event for event in wanted if event.digest not in self._nights]
        with ThreadPoolExecutor(READERS) as pool:
            self._nights |= {
                event.digest: night for event, night in zip(fresh, pool.map(self._read, fresh), strict=True)
            }
        return [self._nights[event.digest] for event in wanted]

    def record(self, night: NightView) -> tuple[NightRecord, tuple[str, ...]]:
        """Everything that is known of a night, and what is missing of it."""
        try:
            kept = NightRecord.from_json(self._work(night.event).get("record"))
        except (NotFoundError, IntegrityError, BadInputError) as error:
            gone = (
                () if night.decision is None else (f"ladder, learning curves and what arrived are not here: {error}",)
            )
            return self.known(night), (*night.missing, *gone)
        return replace(kept, version=night.version), night.missing

    def known(self, night: NightView) -> NightRecord:
        """What a night's record says as far as the history and its manifest tell it: no ladder, no curves."""
        return NightRecord(
            line=self.registry.line,
            end=night.event.kind.upper(),
            started=night.event.at,
            cycle_key=night.event.cycle_key or "",
            version=night.version,
            parent=night.parent,
            decision=night.decision,
            steps=night.steps,
        )

    def has_report(self, night: NightView) -> bool:
        """Whether the page that the night itself wrote is still kept."""
        if night.report is None:
            return False
        try:
            self.registry.store.head(object_key(self.registry.line, night.report))
        except NotFoundError:
            return False
        return True

    def report(self, night: NightView) -> bytes:
        """The page that the night itself wrote, verified. NotFoundError if it wrote none, IntegrityError if it is gone."""
        if night.report is None:
            raise NotFoundError(f"night {night.name} has left no report")
        return self.registry.get_object(ObjectRef(digest=night.report, size=0))

    def _read(self, event: Event) -> NightView:
        return self._published(event) if event.kind is EventKind.PUBLISHED else self._ended(event)

    def _published(self, event: Event) -> NightView:
        version, parent = str(event.detail["version"]), event.detail["parent"]
        told: dict[str, Any] = {"event": event, "name": page_name(event), "version": version, "parent": parent}
        try:
            manifest = self.registry.manifest(version)
        except (NotFoundError, IntegrityError) as error:
            return NightView(**told, missing=(f"the manifest of {version} cannot be read: {error}",))
        decision, missing = _decision(manifest.decision)
        report = manifest.report.digest if manifest.report else None
        return NightView(**told, decision=decision, steps=steps_of(manifest.metrics), report=report, missing=missing)

    def _ended(self, event: Event) -> NightView:
        decision, missing = _decision(event.detail.get("decision"))
        steps = steps_of(event.detail.get("metrics", {}))
        report = event.detail.get("report")
        return NightView(
            event=event, name=page_name(event), decision=decision, steps=steps, report=report, missing=missing
        )

    def _work(self, event: Event) -> Workspace:
        return Workspace(self.registry.store, self.registry.line, event.cycle_key or event.digest)


def steps_of(metrics: Mapping[str, float]) -> tuple[StepTime, ...]:
    """What each step took, from a version's metrics, which tell it as `cpu_seconds/<step>` and `seconds/<step>`."""
    names = [name.removeprefix(CPU) for name in metrics if name.startswith(CPU)]
    return tuple(
        StepTime(name=name, seconds=metrics.get(WALL + name, 0.0), cpu_seconds=metrics[CPU + name]) for name in names
    )


def _decision(plain: dict[str, Any] | None) -> tuple[Decision | None, tuple[str, ...]]:
    if not plain:
        return None, ()
    try:
        return Decision.from_dict(plain), ()
    except BadInputError as error:
        return None, (f"what the gate said cannot be read: {error}",)
