"""The health of a line, read from durable state only: its history, the work of its last night, its lease.

    reader = HealthReader(open_registry(settings))
    health = reader.read(now=datetime.now(tz=UTC))

Ages are in seconds, shares lie in 0..1, and a missing value is None.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from everlearn.cycle.lease import last_renewal
from everlearn.cycle.record import End, current_cycle
from everlearn.cycle.workspace import Workspace
from everlearn.registry.events import EventKind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from everlearn.registry.events import Event
    from everlearn.registry.line_state import State
    from everlearn.registry.versions import Registry

VERDICTS = {
    EventKind.PUBLISHED: End.PUBLISHED,
    EventKind.REJECTED: End.REJECTED,
    EventKind.INSUFFICIENT: End.INSUFFICIENT,
    EventKind.NO_NEW_DATA: End.NO_NEW_DATA,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepUsage:
    """Time and work of one step of the last night."""

    name: str
    seconds: float
    cpu_seconds: float
    rollouts: int
    verdicts: int
    tokens: int = 0
    gpu_seconds: float = 0.0
    peak_bytes: int = 0
    joules: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRate:
    """Share of a suite's items answered correctly, before the night and after it."""

    suite: str
    kind: str
    against: str
    before: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedNight:
    """The newest night that reached the gate. `steps` is empty once `everlearn gc` has removed its work."""

    end: End
    steps: tuple[StepUsage, ...] = ()
    rates: tuple[SuiteRate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LineHealth:
    """State of a line at one moment. `champion` is the number of the champion version, 0 for the base model."""

    champion: int
    versions: int
    barred: int
    verdicts: Mapping[End, int]
    rollbacks: int
    since_verdict: float | None
    last_night: GatedNight | None
    open_age: float | None
    lease_age: float | None


class HealthReader:
    """Reads the health of one line repeatedly, and the last night only when it has changed."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._last: tuple[str, GatedNight] | None = None

    def read(self, *, now: datetime) -> LineHealth:
        """Return the current health.

        Raises:
            StoreDownError: the store does not respond.
            IntegrityError: the history is damaged.
        """
        state, store, line = self._registry.state(), self._registry.store, self._registry.line
        ended = [event for event in state.history if event.kind in VERDICTS]
        kinds = Counter(event.kind for event in state.history)
        cycle, renewed = current_cycle(store, line), last_renewal(store, line)
        return LineHealth(
            champion=int(state.champion[1:]) if state.champion else 0,
            versions=len(state.versions),
            barred=len(state.barred),
            verdicts={end: kinds[kind] for kind, end in VERDICTS.items()},
            rollbacks=kinds[EventKind.ROLLED_BACK],
            since_verdict=(now - ended[-1].at).total_seconds() if ended else None,
            last_night=self._last_night(state, ended),
            open_age=(now - cycle.opened).total_seconds() if cycle else None,
            lease_age=(now - renewed).total_seconds() if renewed else None,
        )

    def _last_night(self, state: State, ended: list[Event]) -> GatedNight | None:
        """Return the newest of `ended` that reached the gate, cached because it is immutable."""
        event = next((event for event in reversed(ended) if event.kind is not EventKind.NO_NEW_DATA), None)
        if event is None or event.cycle_key is None:
            return None
        if self._last is None or self._last[0] != event.cycle_key:
            entry = state.version_of(event.cycle_key)
            decision = self._registry.manifest(entry.version).decision if entry else event.detail.get("decision", {})
            night = GatedNight(end=VERDICTS[event.kind], steps=self._steps(event.cycle_key), rates=_rates(decision))
            self._last = (event.cycle_key, night)
        return self._last[1]

    def _steps(self, key: str) -> tuple[StepUsage, ...]:
        work = Workspace(self._registry.store, self._registry.line, key)
        steps = [json.loads(work.get(name)) for name in work.names() if name.startswith("time/")]
        return tuple(
            StepUsage(
                name=step["name"],
                seconds=step["seconds"],
                cpu_seconds=step["cpu_seconds"],
                rollouts=step.get("rollouts", 0),  # earlier releases did not record it
                verdicts=step.get("verdicts", 0),
                tokens=step.get("tokens", 0),
                gpu_seconds=step.get("gpu_seconds", 0.0),
                peak_bytes=step.get("peak_bytes", 0),
                joules=step.get("joules", 0.0),
            )
            for step in sorted(steps, key=lambda step: float(step["ended"]))
        )


def _rates(decision: Mapping[str, Any]) -> tuple[SuiteRate, ...]:
    names = ("suite", "kind", "against", "before", "after")
    return tuple(SuiteRate(**{name: row[name] for name in names}) for row in decision.get("rows", ()))
