"""Walk a line from end to end, every event, snapshot, manifest and byte, and name what does not hold.

    findings = fsck(store, "integration", verifier=verifier)

    damaged        other bytes than the name says, a signature that does not count, a history that breaks a rule, a HEAD
                   that is older than what was once committed
    missing        needed by something that is there
    unreferenced   needed by nothing: left by a crash or a lost race; no fault, and for `everlearn gc` to remove
    orphan tips    events on top of the history that no HEAD is known to have named: lost races, unless somebody knows better

Where an event is gone, its copy in a later snapshot shows the way on, so that one loss does not hide the next. Nothing
is changed here: that is for restore.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from everlearn.canonical_json import canonical, parse
from everlearn.errors import IntegrityError, NotFoundError
from everlearn.registry.events import Event, EventKind, fold
from everlearn.registry.maintenance.head_evidence import Witness, witnesses
from everlearn.registry.maintenance.inventory import Inventory
from everlearn.storage.objects import object_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.registry.sealed_document import Verifier
    from everlearn.storage.protocol import Store

WALKS = 3
TOLD = ("parent", "data_digest", "base_fingerprint", "cycle_key")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """What does not hold, and why."""

    key: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a walk has found.

    `unreferenced` is empty while HEAD or the chain is broken: nobody knows then what is needed. `named` is the event
    that HEAD names, None where it names none that is known; `trail` the history from there, or else from the newest
    event that surely was committed, the newest first, as far as it could be followed. `witnesses` speak of events that
    are there, those for the newest last.
    """

    line: str
    checked: int
    size: int
    head: tuple[Damage, ...]
    damaged: tuple[Damage, ...]
    missing: tuple[Damage, ...]
    unreferenced: tuple[str, ...]
    orphan_tips: tuple[Event, ...]
    named: str | None
    trail: tuple[Event, ...]
    witnesses: tuple[Witness, ...]

    @property
    def is_clean(self) -> bool:
        """Whether everything holds. What is merely unreferenced is no fault."""
        return not (self.head or self.damaged or self.missing)


def fsck(
    store: Store, line: str, *, verifier: Verifier, progress: Callable[[int, int], None] | None = None
) -> Findings:
    """Walk the whole line. `progress` hears how many objects of how many are done.

    Others may work meanwhile: where something seems amiss and HEAD has moved, the walk is begun again.
    """
    for _ in range(WALKS):
        walk = _Walk(store, line, verifier=verifier, progress=progress)
        findings = walk.run()
        if findings.is_clean or walk.head == read_head(store, line):
            break
    return findings


def read_head(store: Store, line: str) -> bytes | None:
    """HEAD as it is, None where there is none."""
    try:
        return store.get(f"{line}/HEAD").data
    except NotFoundError:
        return None


class _Walk:
    """One walk. The inventory says of a key why it does not hold, `_needed` who needs it; both together make a fault."""

    def __init__(
        self, store: Store, line: str, *, verifier: Verifier, progress: Callable[[int, int], None] | None
    ) -> None:
        self._store = store
        self._line = line
        self.head = read_head(store, line)  # before the listing: what it names is listed then
        self._held = Inventory(store, line, verifier=verifier, progress=progress)
        self._chain = self._held.chain
        self._needed: dict[str, str] = {}
        self._spared: set[str] = set()
        self._head_faults: list[str] = []

    def run(self) -> Findings:
        self._held.read_events()
        said = witnesses(self._store, self._line, self._held.events.values())
        named = self._tip()
        trail, is_whole = self._follow(named or self._presumed(said))
        self._compare(trail, is_whole=is_whole)
        self._listen(said, trail, is_whole=is_whole)
        self._held.each(_published(trail), self._read_version)
        self._held.read_rest()
        orphans = self._orphans(trail, {each.event for each in said})
        surplus = self._held.sizes.keys() - self._needed.keys() - self._spared
        surplus -= {self._chain.event_key(each.digest) for each in orphans}
        return Findings(
            line=self._line,
            checked=len(self._held.sizes),
            size=sum(self._held.sizes.values()),
            head=tuple(Damage(key=f"{self._line}/HEAD", why=why) for why in self._head_faults),
            damaged=tuple(
                Damage(key=key, why=why) for key, why in sorted(self._held.wrong.items()) if self._counts(key)
            ),
            missing=tuple(
                Damage(key=key, why=why) for key, why in sorted(self._needed.items()) if key not in self._held.sizes
            ),
            unreferenced=() if self._head_faults or not is_whole else tuple(sorted(surplus)),
            orphan_tips=orphans,
            named=named,
            trail=tuple(trail),
            witnesses=tuple(each for each in said if each.event in self._held.events),
        )

    def _tip(self) -> str | None:
        """The event that HEAD names, if anything is known of it."""
        if self.head is None:
            return None
        try:
            tip = parse(self.head, name=f"{self._line}/HEAD").get("event")
        except IntegrityError as error:
            self._head_faults.append(str(error))
            return None
        if isinstance(tip, str) and (tip in self._held.events or tip in self._held.copies):
            return tip
        if _DIGEST.fullmatch(str(tip)):
            self._needed[self._chain.event_key(str(tip))] = "HEAD names it"
        self._head_faults.append(f"{self._line}/HEAD names an event that is missing or damaged: {str(tip)[:64]}")
        return None

    def _presumed(self, said: tuple[Witness, ...]) -> str | None:
        """Where HEAD tells nothing: the newest event that surely was committed."""
        return next((each.event for each in reversed(said) if each.event in self._held.events), None)

    def _follow(self, tip: str | None) -> tuple[list[Event], bool]:
        """The history back from `tip`, the newest first, and whether it reaches the beginning."""
        trail: list[Event] = []
        by = "HEAD names it"
        while tip is not None:
            self._needed.setdefault(self._chain.event_key(tip), by)
            event = self._held.events.get(tip) or self._held.copies.get(tip)
            if event is None or (trail and event.sequence >= trail[-1].sequence):
                return trail, False
            trail.append(event)
            if event.snapshot is not None:
                by = f"event {event.sequence} names it as the history before it"
                self._needed.setdefault(object_key(self._line, event.snapshot), by)
            tip, by = event.previous, f"event {event.sequence} follows on it"
        return trail, True

    def _compare(self, trail: list[Event], *, is_whole: bool) -> None:
        """What HEAD says with the fold; and whether a reader, who takes the way over the snapshots, gets there, too."""
        if not is_whole or not trail:
            return
        key = self._chain.event_key(trail[0].digest)
        state = self._held.attempt(key, lambda: fold(reversed(trail)))
        if state is None or self.head is None or self._head_faults:
            return
        if self.head != canonical(self._chain.head(state)):
            self._head_faults.append(f"{self._line}/HEAD contradicts its own history")
        if not self._faulty():
            self._held.attempt(key, lambda: self._chain.at(trail[0].digest))

    def _listen(self, said: tuple[Witness, ...], trail: list[Event], *, is_whole: bool) -> None:
        """Whether HEAD has all that was ever committed, as far as anybody can tell."""
        if self._head_faults:
            return
        on_it = {event.digest for event in trail}
        newest = trail[0].sequence if self.head is not None and trail else 0
        oldest = 0 if is_whole else trail[-1].sequence if trail else 0
        off_it = [each for each in said if self.head is None or each.event not in on_it]
        against = [each for each in off_it if each.sequence > newest or self._is_lost(each, since=oldest)]
        if not against:
            return
        last = against[-1]
        self._needed.setdefault(self._chain.event_key(last.event), last.says)
        what = "is missing" if self.head is None else f"is at event {newest}: an older or another one was put there"
        self._head_faults.append(
            f"{self._line}/HEAD {what}; event {last.sequence} ({last.event[:12]}) was committed: {last.says}"
        )

    def _is_lost(self, witness: Witness, *, since: int) -> bool:
        return witness.event in self._held.events and witness.sequence >= since

    def _read_version(self, published: tuple[Event, bool]) -> None:
        """The manifest of a published event, and what it needs; of a retired version nothing is needed any more."""
        event, is_retired = published
        version = event.detail["version"]
        key = self._held.manifest_key(event.detail["manifest"])
        if is_retired:
            self._spared.add(key)
            return
        self._needed[key] = f"{version} rests on it"
        manifest = self._held.manifest(event.detail["manifest"])
        if manifest is None:
            return
        told = event.detail | {"cycle_key": event.cycle_key}
        differs = [name for name in TOLD if getattr(manifest, name) != told.get(name)]
        if differs:
            self._held.wrong[key] = f"{key} and the event that published {version} differ in {', '.join(differs)}"
        named = [*manifest.files.items(), *((f"its {name}", ref) for name, ref in manifest.documents().items())]
        for name, ref in named:
            place = object_key(self._line, ref.digest)
            self._needed[place] = f"{version} needs it ({name})"
            if self._held.sizes.get(place, ref.size) != ref.size:
                self._held.wrong[place] = f"{place} has another size than {version} says"

    def _faulty(self) -> bool:
        return bool(self._needed.keys() - self._held.sizes.keys() or self._needed.keys() & self._held.wrong.keys())

    def _counts(self, key: str) -> bool:
        """Whether it matters: what nobody needs may be a stranger's, unless it lies where other bytes belong."""
        return key in self._needed or self._held.is_torn(key)

    def _orphans(self, trail: list[Event], committed: set[str]) -> tuple[Event, ...]:
        committed = committed | {event.digest for event in trail}
        off = [event for digest, event in self._held.events.items() if digest not in committed]
        tips = [event for event in off if event.previous is None or event.previous in committed]
        return tuple(sorted(tips, key=lambda event: (event.sequence, event.digest)))


def _published(trail: list[Event]) -> list[tuple[Event, bool]]:
    """The events that published a version, and whether that was retired since."""
    retired = {name for event in trail if event.kind is EventKind.RETIRED for name in event.detail.get("versions", ())}
    published = [
        event for event in trail if event.kind is EventKind.PUBLISHED and {"version", "manifest"} <= event.detail.keys()
    ]
    return [(event, event.detail["version"] in retired) for event in published]
