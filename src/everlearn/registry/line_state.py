"""State of a line: versions, champion and rules, as a pure fold over its events. No store, no clock.

A history that breaks one of these rules is damaged:

- versions are numbered without gaps;
- a version becomes champion only if it exists and is neither barred nor retired;
- a version that was ever champion is never retired;
- a cycle ends once;
- every event kind is known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from everlearn.errors import IntegrityError
from everlearn.registry.events import Event, EventKind
from everlearn.registry.guarded_suites import after_event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from everlearn.registry.guarded_suites import GuardedSuite

BASE = "base"  # reference to the base model without an adapter: no champion


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionEntry:
    """A published version. `sequence` is the number of its event; `retired` means that its files were removed.

    `leaked` means that it was trained on problems that a night measured: what it was found to improve proves nothing.
    It stays so where the bar is lifted.
    """

    version: str
    manifest: str
    cycle_key: str
    data_digest: str
    base_fingerprint: str
    parent: str | None
    sequence: int
    actor: str
    reason: str
    at: datetime
    barred: bool = False
    leaked: bool = False
    approved: bool = False
    retired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A line after `sequence` events. `champion` None is the base model without an adapter.

    tip            digest of the newest event
    champions      stack of champions that a rollback can return to, the current one last; starts with None
    ever_champion  versions that were champion at any time, in the order of their first time
    flagged        data digests of nights that were rolled back, for review; until their version is unbarred
    cycles         the event that ended each cycle, by cycle key
    suites         the guarded suites by name
    """

    sequence: int = 0
    tip: str | None = None
    versions: Mapping[str, VersionEntry] = field(default_factory=dict)
    champion: str | None = None
    champions: tuple[str | None, ...] = (None,)
    ever_champion: tuple[str, ...] = ()
    flagged: tuple[str, ...] = ()
    cycles: Mapping[str, Event] = field(default_factory=dict)
    suites: Mapping[str, GuardedSuite] = field(default_factory=dict)
    history: tuple[Event, ...] = ()

    @property
    def claimed(self) -> tuple[str, ...]:
        """Data digests of all published nights: the watermark.

        It advances only with a publishing event, so that the data of a rejected, insufficient or abandoned night stays
        available to the next.
        """
        return tuple(dict.fromkeys(entry.data_digest for entry in self.versions.values()))

    @property
    def barred(self) -> tuple[str, ...]:
        """Versions that must be neither champion nor parent."""
        return tuple(entry.version for entry in self.versions.values() if entry.barred)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Versions awaiting approval, oldest first: neither retired nor barred, and never champion.

        Includes a version whose approval was interrupted before it became champion.
        """
        passed = {*self.ever_champion, *self.barred}
        return tuple(each.version for each in self.versions.values() if not each.retired and each.version not in passed)

    @property
    def records(self) -> frozenset[str]:
        """The records of used problems that the events of nights name, as `measured/<digest>`."""
        return frozenset(name for event in self.cycles.values() for name in event.detail.get("records", ()))

    @property
    def next_version(self) -> str:
        """Name of the next version to be published."""
        return version_name(len(self.versions) + 1)

    @property
    def last_good(self) -> str | None:
        """The newest earlier champion that is not barred; None is the base model."""
        unfit = {self.champion, *self.barred}
        earlier = (each for each in reversed(self.champions) if each not in unfit)
        return next(earlier, None)

    def tip_at(self, sequence: int) -> str | None:
        """Return the digest of event number `sequence`; None for 0."""
        return self.history[sequence - 1].digest if sequence else None

    def version_of(self, cycle_key: str) -> VersionEntry | None:
        """Return the version that a cycle published; None if it published none."""
        event = self.cycles.get(cycle_key)
        return self.versions[event.detail["version"]] if event and event.kind is EventKind.PUBLISHED else None


def version_name(number: int) -> str:
    """Return the name of version `number`: 7 → "v0007"."""
    return f"v{number:04d}"


def version_number(name: str) -> int | None:
    """Return the number of a version, the inverse of `version_name`: "v0007" → 7. None for any other name."""
    return int(name[1:]) if re.fullmatch(r"v(\d{4}|[1-9]\d{4,})", name, re.ASCII) else None


def fold(events: Iterable[Event], *, start: State | None = None) -> State:
    """Return the state after `events`, beginning at `start` (default: the empty line).

    Raises:
        IntegrityError: The events do not follow from each other, or break a rule of the history.
    """
    folding = _Folding(start or State())
    for event in events:
        folding.add(event)
    return folding.state()


def champion_after_each(events: Iterable[Event]) -> Iterator[str | None]:
    """Yield the champion after each event of a history from its beginning. Raises IntegrityError as `fold` does."""
    folding = _Folding(State())
    for event in events:
        folding.add(event)
        yield folding.champions[-1]


class _Folding:
    """Mutable state while events are added."""

    def __init__(self, start: State) -> None:
        self._start = start
        self.versions = dict(start.versions)
        self.champions = list(start.champions)
        self.ever_champion = dict.fromkeys(start.ever_champion)  # dicts as ordered sets
        self.flagged = dict.fromkeys(start.flagged)
        self.cycles = dict(start.cycles)
        self.suites = start.suites
        self.added: list[Event] = []
        self.sequence, self.tip = start.sequence, start.tip

    def state(self) -> State:
        return State(
            sequence=self.sequence,
            tip=self.tip,
            versions=self.versions,
            champion=self.champions[-1],
            champions=tuple(self.champions),
            ever_champion=tuple(self.ever_champion),
            flagged=tuple(self.flagged),
            cycles=self.cycles,
            suites=self.suites,
            history=self._start.history + tuple(self.added),
        )

    def add(self, event: Event) -> None:
        _require(event.sequence == self.sequence + 1, event, f"expected number {self.sequence + 1}")
        _require(event.previous == self.tip, event, "it does not follow the event before it")
        try:
            self._apply(event)
        except (KeyError, TypeError) as error:
            raise IntegrityError(f"event {event.sequence} ({event.kind}) lacks {error}") from None
        self.added.append(event)
        self.sequence, self.tip = event.sequence, event.digest

    def _apply(self, event: Event) -> None:
        self._end_cycle(event)
        match event.kind:
            case EventKind.PUBLISHED:
                self._publish(event)
            case EventKind.PROMOTED:
                self._make_champion(event.detail["version"], event)
            case EventKind.ROLLED_BACK:
                self._roll_back(event)
            case EventKind.BARRED:
                entry = self._entry(event)
                self._put(replace(entry, barred=True, leaked=entry.leaked or event.detail.get("leaked", False)))
            case EventKind.UNBARRED:
                self._unbar(self._entry(event))
            case EventKind.APPROVED:
                self._put(replace(self._entry(event), approved=True))
            case EventKind.RETIRED:
                self._retire(event)
            case EventKind.SUITE_CHANGED:
                self.suites = after_event(self.suites, event)
            case EventKind.REJECTED | EventKind.INSUFFICIENT | EventKind.NO_NEW_DATA:
                pass  # recorded in the history, without effect on versions
            case _:
                raise IntegrityError(f"event {event.sequence} is of the unknown kind {event.kind!r}")

    def _end_cycle(self, event: Event) -> None:
        if event.cycle_key is not None:
            _require(event.cycle_key not in self.cycles, event, "its cycle ended before")
            self.cycles[event.cycle_key] = event

    def _publish(self, event: Event) -> None:
        detail = event.detail
        expected = version_name(len(self.versions) + 1)
        _require(detail["version"] == expected, event, f"expected version {expected}")
        _require(event.cycle_key is not None, event, "it names no cycle")
        parent = self.versions.get(detail["parent"])
        _require(parent is None or not parent.retired, event, f"its parent {detail['parent']} is retired")
        self.versions[expected] = VersionEntry(
            version=expected,
            manifest=detail["manifest"],
            cycle_key=str(event.cycle_key),
            data_digest=detail["data_digest"],
            base_fingerprint=detail["base_fingerprint"],
            parent=detail["parent"],
            sequence=event.sequence,
            actor=event.actor,
            reason=event.reason,
            at=event.at,
        )
        if detail["champion"]:
            self._make_champion(expected, event)

    def _roll_back(self, event: Event) -> None:
        left = event.detail["from"]
        _require(left is not None and left == self.champions[-1], event, f"{left} was not the champion")
        entry = self.versions[left]
        self._put(replace(entry, barred=entry.barred or event.detail["barred"]))
        del self.champions[-1]
        self._return_to(event.detail["to"], event)
        self.flagged[entry.data_digest] = None

    def _unbar(self, entry: VersionEntry) -> None:
        """Lift the bar, and the flag of the data, unless another barred version was trained on the same data."""
        self._put(replace(entry, barred=False))
        if not any(each.barred and each.data_digest == entry.data_digest for each in self.versions.values()):
            self.flagged.pop(entry.data_digest, None)

    def _retire(self, event: Event) -> None:
        for version in event.detail["versions"]:
            _require(version in self.versions, event, f"{version} does not exist")
            entry = self.versions[version]
            _require(not entry.retired, event, f"{version} was retired before")
            _require(version not in self.ever_champion, event, f"{version} was champion once, so it is kept")
            self._put(replace(entry, retired=True))

    def _make_champion(self, version: str | None, event: Event) -> None:
        if version is not None:
            _require(version in self.versions, event, f"{version} does not exist")
            _require(not self.versions[version].barred, event, f"{version} is barred")
            _require(not self.versions[version].retired, event, f"{version} is retired")
            self.ever_champion[version] = None
        self.champions.append(version)

    def _return_to(self, version: str | None, event: Event) -> None:
        """Pop the champions after `version`, so that the next rollback goes further back even if none was barred."""
        if version in self.champions:
            while self.champions[-1] != version:
                del self.champions[-1]
            del self.champions[-1]
        self._make_champion(version, event)

    def _entry(self, event: Event) -> VersionEntry:
        version = event.detail["version"]
        _require(version in self.versions, event, f"{version} does not exist")
        return self.versions[version]

    def _put(self, entry: VersionEntry) -> None:
        self.versions[entry.version] = entry


def _require(holds: bool, event: Event, why: str) -> None:  # noqa: FBT001 - the condition reads first
    if not holds:
        raise IntegrityError(f"event {event.sequence} ({event.kind}) breaks the history: {why}")
