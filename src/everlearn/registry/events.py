"""The history of a line: events, and the state as a pure fold over them. No store, no clock.

Rules that the fold keeps, so that a chain which breaks one is damaged: versions are numbered without a gap; only what
exists, is not barred and not retired becomes champion; what ever was champion is never retired; a cycle ends once; a
kind it does not know is refused.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from everlearn.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BASE = "base"  # what rollback calls the base model alone: no champion


class EventKind(StrEnum):
    """What can happen to a line."""

    PUBLISHED = "published"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    REJECTED = "rejected"
    INSUFFICIENT = "insufficient"
    NO_NEW_DATA = "no_new_data"
    BARRED = "barred"
    UNBARRED = "unbarred"
    APPROVED = "approved"
    SUITE_CHANGED = "suite_changed"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened: what, who, when, why, and the digest of the event before it.

    `digest` is that of the event's own bytes, known once they are sealed. `snapshot` names the history before this
    event in one object, every so often, so that readers need not walk to the beginning.
    """

    sequence: int
    previous: str | None
    kind: EventKind
    actor: str
    reason: str
    at: datetime
    cycle_key: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    snapshot: str | None = None
    digest: str = ""

    @property
    def sentence(self) -> str:
        """`published v0002 as champion: 12 of 200 more solved`."""
        detail, what = self.detail, str(self.kind).replace("_", " ")
        if "version" in detail:
            what += f" {detail['version']}" + (" as champion" if detail.get("champion") else "")
        elif "from" in detail:
            what += f" {detail['from']} to {detail['to'] or 'the base model'}"
        elif "versions" in detail:
            what += f" {', '.join(detail['versions'])}"
        return f"{what}: {self.reason}"

    def to_content(self) -> dict[str, Any]:
        """As JSON values, without the digest."""
        content = asdict(self) | {"at": self.at.isoformat(), "kind": str(self.kind)}
        del content["digest"]
        return content

    @classmethod
    def from_content(cls, content: dict[str, Any], *, digest: str) -> Self:
        """Inverse of `to_content`. IntegrityError for a kind or a field it does not know."""
        try:
            known = {"kind": EventKind(content["kind"]), "at": datetime.fromisoformat(content["at"])}
            return cls(**content | known, digest=digest)
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(
                f"event {digest[:12]} cannot be read by this version of Everlearn ({error}); install a newer one"
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionEntry:
    """A published version, as the history tells it. `sequence` is that of its event; `retired`, that its files are gone."""

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
    approved: bool = False
    retired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is true of a line after `sequence` events. `champion` None means the base model alone.

    champions      those a rollback can return to, the champion last; None (the base model) is always the first
    ever_champion  every version that was champion at any time, in the order in which they became it first
    flagged        data digests of nights that were rolled back, for review
    cycles         how each finished cycle ended, by its key
    """

    sequence: int = 0
    tip: str | None = None
    versions: Mapping[str, VersionEntry] = field(default_factory=dict)
    champion: str | None = None
    champions: tuple[str | None, ...] = (None,)
    ever_champion: tuple[str, ...] = ()
    flagged: tuple[str, ...] = ()
    cycles: Mapping[str, Event] = field(default_factory=dict)
    history: tuple[Event, ...] = ()

    @property
    def claimed(self) -> tuple[str, ...]:
        """Data digests of all published nights: the watermark.

        It moves with the publishing event or not at all, so that the data of a rejected, insufficient or abandoned
        night stays available to the next.
        """
        return tuple(dict.fromkeys(entry.data_digest for entry in self.versions.values()))

    @property
    def barred(self) -> tuple[str, ...]:
        """Versions that must not be champion nor parent."""
        return tuple(entry.version for entry in self.versions.values() if entry.barred)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Versions that may still become the champion for the first time: what an approval is asked for, the newest last.

        One whose approval was cut short, before it served, is among them.
        """
        passed = {*self.ever_champion, *self.barred}
        return tuple(each.version for each in self.versions.values() if not each.retired and each.version not in passed)

    @property
    def next_version(self) -> str:
        """The name of the version that would be published now."""
        return version_name(len(self.versions) + 1)

    @property
    def last_good(self) -> str | None:
        """The champion before this one that is not barred; None is the base model, which never is."""
        unfit = {self.champion, *self.barred}
        earlier = (each for each in reversed(self.champions) if each not in unfit)
        return next(earlier, None)

    def tip_at(self, sequence: int) -> str | None:
        """Digest of event number `sequence`."""
        return self.history[sequence - 1].digest if sequence else None

    def version_of(self, cycle_key: str) -> VersionEntry | None:
        """What a cycle published, if it did."""
        event = self.cycles.get(cycle_key)
        return self.versions[event.detail["version"]] if event and event.kind is EventKind.PUBLISHED else None


def version_name(number: int) -> str:
    """7 → "v0007"."""
    return f"v{number:04d}"


def fold(events: Iterable[Event], *, start: State | None = None) -> State:
    """The state after `events`. IntegrityError if they do not follow from each other, or break a rule."""
    folding = _Folding(start or State())
    for event in events:
        folding.add(event)
    return folding.state()


class _Folding:
    """The state while events are added: mutable, private, and frozen again by `state`."""

    def __init__(self, start: State) -> None:
        self._start = start
        self.versions = dict(start.versions)
        self.champions = list(start.champions)
        self.ever_champion = dict.fromkeys(start.ever_champion)
        self.flagged = dict.fromkeys(start.flagged)
        self.cycles = dict(start.cycles)
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
            history=self._start.history + tuple(self.added),
        )

    def add(self, event: Event) -> None:
        self._demand(event.sequence == self.sequence + 1, event, f"it should be number {self.sequence + 1}")
        self._demand(event.previous == self.tip, event, "it does not follow the event before it")
        try:
            self._apply(event)
        except (KeyError, TypeError) as error:
            raise IntegrityError(f"event {event.sequence} ({event.kind}) lacks {error}") from None
        self.added.append(event)
        self.sequence, self.tip = event.sequence, event.digest

    def _apply(self, event: Event) -> None:
        if event.cycle_key is not None:
            self._demand(event.cycle_key not in self.cycles, event, "its cycle had ended before")
            self.cycles[event.cycle_key] = event
        match event.kind:
            case EventKind.PUBLISHED:
                self._publish(event)
            case EventKind.PROMOTED:
                self._crown(event.detail["version"], event)
            case EventKind.ROLLED_BACK:
                self._roll_back(event)
            case EventKind.BARRED | EventKind.UNBARRED:
                self._put(replace(self._named(event), barred=event.kind is EventKind.BARRED))
            case EventKind.APPROVED:
                self._put(replace(self._named(event), approved=True))
            case EventKind.RETIRED:
                self._retire(event)
            case EventKind.REJECTED | EventKind.INSUFFICIENT | EventKind.NO_NEW_DATA | EventKind.SUITE_CHANGED:
                pass  # they are in the history, and change nothing else
            case _:
                raise IntegrityError(f"event {event.sequence} is of the unknown kind {event.kind!r}")

    def _publish(self, event: Event) -> None:
        detail = event.detail
        expected = version_name(len(self.versions) + 1)
        self._demand(detail["version"] == expected, event, f"it should publish {expected}")
        self._demand(event.cycle_key is not None, event, "it names no cycle")
        parent = self.versions.get(detail["parent"])
        self._demand(parent is None or not parent.retired, event, f"its parent {detail['parent']} is retired")
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
            self._crown(expected, event)

    def _roll_back(self, event: Event) -> None:
        left = event.detail["from"]
        self._demand(left is not None and left == self.champions[-1], event, f"{left} was not the champion")
        entry = self.versions[left]
        self._put(replace(entry, barred=entry.barred or event.detail["barred"]))
        del self.champions[-1]
        self._return_to(event.detail["to"], event)
        self.flagged[entry.data_digest] = None

    def _retire(self, event: Event) -> None:
        for version in event.detail["versions"]:
            self._demand(version in self.versions, event, f"{version} does not exist")
            entry = self.versions[version]
            self._demand(not entry.retired, event, f"{version} was retired before")
            self._demand(version not in self.ever_champion, event, f"{version} was champion once, and is kept")
            self._put(replace(entry, retired=True))

    def _crown(self, version: str | None, event: Event) -> None:
        if version is not None:
            self._demand(version in self.versions, event, f"{version} does not exist")
            self._demand(not self.versions[version].barred, event, f"{version} is barred")
            self._demand(not self.versions[version].retired, event, f"{version} is retired")
            self.ever_champion[version] = None
        self.champions.append(version)

    def _return_to(self, version: str | None, event: Event) -> None:
        """Crown `version` again, and forget the champions after it, so that the next rollback goes further back."""
        if version in self.champions:
            while self.champions[-1] != version:
                del self.champions[-1]
            del self.champions[-1]
        self._crown(version, event)

    def _named(self, event: Event) -> VersionEntry:
        version = event.detail["version"]
        self._demand(version in self.versions, event, f"{version} does not exist")
        return self.versions[version]

    def _put(self, entry: VersionEntry) -> None:
        self.versions[entry.version] = entry

    @staticmethod
    def _demand(holds: bool, event: Event, why: str) -> None:  # noqa: FBT001 - reads as a sentence
        if not holds:
            raise IntegrityError(f"event {event.sequence} ({event.kind}) breaks the history: {why}")
