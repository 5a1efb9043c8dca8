"""How a line is doing, read from nothing but what is durable: its history, the work of its last night, its lease.

    observer = Observer(open_registry(settings))
    seen = observer.look(now=datetime.now(tz=UTC))      # StoreDownError, IntegrityError: nothing is made up

Ages are in seconds, shares are of 1. What there is none of is None, or left out.
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
class Step:
    """What one step of the last night took and did."""

    name: str
    seconds: float
    cpu_seconds: float
    rollouts: int
    verdicts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRate:
    """Share of a suite's items answered correctly, before the night and after it."""

    suite: str
    kind: str
    against: str
    before: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LastNight:
    """The newest night that reached the gate. Its steps are forgotten when `everlearn gc` removes its work."""

    end: End
    steps: tuple[Step, ...] = ()
    rates: tuple[SuiteRate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One look. `champion` is the number of the version that serves, 0 for the base model alone."""

    champion: int
    versions: int
    barred: int
    verdicts: Mapping[End, int]
    rollbacks: int
    since_verdict: float | None
    last: LastNight | None
    open_age: float | None
    lease_age: float | None


class Observer:
    """Looks at one line again and again, and reads only what is new."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._last: tuple[str, LastNight] | None = None

    def look(self, *, now: datetime) -> Seen:
        """How the line is doing. StoreDownError where S3 does not answer."""
        state, store, line = self._registry.state(), self._registry.store, self._registry.line
        ended = [event for event in state.history if event.kind in VERDICTS]
        kinds = Counter(event.kind for event in state.history)
        cycle, sign = current_cycle(store, line), last_renewal(store, line)
        return Seen(
            champion=int(state.champion[1:]) if state.champion else 0,
            versions=len(state.versions),
            barred=len(state.barred),
            verdicts={end: kinds[kind] for kind, end in VERDICTS.items()},
            rollbacks=kinds[EventKind.ROLLED_BACK],
            since_verdict=(now - ended[-1].at).total_seconds() if ended else None,
            last=self._night(state, ended),
            open_age=(now - cycle.opened).total_seconds() if cycle else None,
            lease_age=(now - sign).total_seconds() if sign else None,
        )

    def _night(self, state: State, ended: list[Event]) -> LastNight | None:
        """The last of `ended` that went through the gate; read once, since it does not change any more."""
        event = next((event for event in reversed(ended) if event.kind is not EventKind.NO_NEW_DATA), None)
        if event is None or event.cycle_key is None:
            return None
        if self._last is None or self._last[0] != event.cycle_key:
            entry = state.version_of(event.cycle_key)
            decision = self._registry.manifest(entry.version).decision if entry else event.detail.get("decision", {})
            night = LastNight(end=VERDICTS[event.kind], steps=self._steps(event.cycle_key), rates=_rates(decision))
            self._last = (event.cycle_key, night)
        return self._last[1]

    def _steps(self, key: str) -> tuple[Step, ...]:
        work = Workspace(self._registry.store, self._registry.line, key)
        told = [json.loads(work.get(name)) for name in work.names() if name.startswith("time/")]
        return tuple(
            Step(
                name=each["name"],
                seconds=each["seconds"],
                cpu_seconds=each["cpu_seconds"],
                rollouts=each.get("rollouts", 0),  # nights of earlier versions counted none
                verdicts=each.get("verdicts", 0),
            )
            for each in sorted(told, key=lambda each: float(each["ended"]))
        )


def _rates(decision: Mapping[str, Any]) -> tuple[SuiteRate, ...]:
    names = ("suite", "kind", "against", "before", "after")
    return tuple(SuiteRate(**{name: row[name] for name in names}) for row in decision.get("rows", ()))
