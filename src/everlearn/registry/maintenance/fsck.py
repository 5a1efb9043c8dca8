"""Consistency check of a line: every event, snapshot, manifest and byte, with the faults by name. Changes nothing.

    findings = fsck(store, "integration", verifier=verifier)

    damaged        bytes that differ from their digest, an untrusted signature, a history that breaks a rule, a HEAD that
                   is older than a committed event
    missing        referred to, but not there
    lost           the missing report or evidence of a night without a version; not a fault, no version depends on it
    unreferenced   referred to by nothing: left by a crash or a lost race; not a fault, `everlearn gc` removes it
    orphan tips    events after the history that no HEAD is known to have named: lost races, as far as is known

Where an event is missing, its copy in a later snapshot continues the walk, so that one loss does not hide the next.
`restore` repairs what this finds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from everlearn.canonical_json import canonical, parse
from everlearn.errors import IntegrityError, NotFoundError
from everlearn.registry.line_keys import event_key, is_digest, manifest_key
from everlearn.registry.line_state import fold
from everlearn.registry.maintenance.head_evidence import HeadEvidence, collect_evidence
from everlearn.registry.maintenance.inventory import Inventory
from everlearn.registry.maintenance.references import References, published_versions
from everlearn.storage.immutable_objects import object_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.registry.events import Event
    from everlearn.registry.sealed_document import Verifier
    from everlearn.storage.protocol import Store

WALKS = 3  # attempts, while other processes move HEAD
COMPARED = ("parent", "data_digest", "base_fingerprint", "cycle_key")  # stored in the manifest and in its event


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A fault of one key, and why it is one."""

    key: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Result of a check.

    unreferenced  empty while HEAD or the chain is broken: what is needed is unknown then
    named         digest of the event that HEAD names; None if it names no known one
    trail         the history, newest event first, as far as it could be followed: from `named`, or else from the newest
                  event that was certainly committed
    evidence      HEAD evidence for events that are there, newest event last
    """

    line: str
    checked: int
    size: int
    head: tuple[Damage, ...]
    damaged: tuple[Damage, ...]
    missing: tuple[Damage, ...]
    lost: tuple[Damage, ...]
    unreferenced: tuple[str, ...]
    orphan_tips: tuple[Event, ...]
    named: str | None
    trail: tuple[Event, ...]
    evidence: tuple[HeadEvidence, ...]

    @property
    def is_clean(self) -> bool:
        """Whether there is no fault. Lost reports, unreferenced objects and orphan tips are none."""
        return not (self.head or self.damaged or self.missing)


def fsck(
    store: Store, line: str, *, verifier: Verifier, progress: Callable[[int, int], None] | None = None
) -> Findings:
    """Check a whole line. `progress` gets the number of objects done and in total.

    Safe beside writers: if faults appear and HEAD has moved meanwhile, the check is repeated.
    """
    for _ in range(WALKS):
        walk = _Walk(store, line, verifier=verifier, progress=progress)
        findings = walk.run()
        if findings.is_clean or walk.head == read_head(store, line):
            break
    return findings


def read_head(store: Store, line: str) -> bytes | None:
    """Return the bytes of HEAD; None if there is none."""
    try:
        return store.get(f"{line}/HEAD").data
    except NotFoundError:
        return None


class _Walk:
    """One check. The inventory holds the fault of each key, `_needed` why a key is needed; both together are a finding."""

    def __init__(
        self, store: Store, line: str, *, verifier: Verifier, progress: Callable[[int, int], None] | None
    ) -> None:
        self._store = store
        self._line = line
        self.head = read_head(store, line)  # before the listing, which then has everything that HEAD refers to
        self._held = Inventory(store, line, verifier=verifier, progress=progress)
        self._log = self._held.log
        self._references = References(line)
        self._needed = self._references.needed
        self._head_faults: list[str] = []

    def run(self) -> Findings:
        self._held.read_events()
        evidence = collect_evidence(self._store, self._line, self._held.events.values())
        named = self._event_of_head()
        trail, is_whole = self._follow(named or self._newest_committed(evidence))
        self._check_head(trail, is_whole=is_whole)
        self._check_evidence(evidence, trail, is_whole=is_whole)
        for event in trail:
            self._references.add_documents(event)
        self._held.for_each(published_versions(trail), self._read_version)
        self._read_used_problems()
        self._held.read_rest()
        orphans = self._orphans(trail, {each.event for each in evidence})
        surplus = self._held.sizes.keys() - self._references.keys
        surplus -= {event_key(self._line, each.digest) for each in orphans}
        return Findings(
            line=self._line,
            checked=len(self._held.sizes),
            size=sum(self._held.sizes.values()),
            head=tuple(Damage(key=f"{self._line}/HEAD", why=why) for why in self._head_faults),
            damaged=tuple(
                Damage(key=key, why=why) for key, why in sorted(self._held.faults.items()) if self._matters(key)
            ),
            missing=self._absent(self._needed),
            lost=self._absent(self._references.reports),
            unreferenced=() if self._head_faults or not is_whole else tuple(sorted(surplus)),
            orphan_tips=orphans,
            named=named,
            trail=tuple(trail),
            evidence=tuple(each for each in evidence if each.event in self._held.events),
        )

    def _absent(self, named: dict[str, str]) -> tuple[Damage, ...]:
        """Return the keys that are not there, with what names them."""
        return tuple(Damage(key=key, why=why) for key, why in sorted(named.items()) if key not in self._held.sizes)

    def _event_of_head(self) -> str | None:
        """Return the event that HEAD names, if it or a copy of it is there."""
        if self.head is None:
            return None
        try:
            tip = parse(self.head, name=f"{self._line}/HEAD").get("event")
        except IntegrityError as error:
            self._head_faults.append(str(error))
            return None
        if isinstance(tip, str) and (tip in self._held.events or tip in self._held.copies):
            return tip
        if is_digest(tip):
            self._references.add_head(str(tip))
        self._head_faults.append(f"{self._line}/HEAD names an event that is missing or damaged: {str(tip)[:64]}")
        return None

    def _newest_committed(self, evidence: tuple[HeadEvidence, ...]) -> str | None:
        """Return the newest event that is there and was certainly committed."""
        return next((each.event for each in reversed(evidence) if each.event in self._held.events), None)

    def _follow(self, tip: str | None) -> tuple[list[Event], bool]:
        """Return the history back from `tip`, newest event first, and whether it reaches the first event."""
        trail: list[Event] = []
        if tip is not None:
            self._references.add_head(tip)
        while tip is not None:
            event = self._held.events.get(tip) or self._held.copies.get(tip)
            if event is None or (trail and event.sequence >= trail[-1].sequence):
                return trail, False
            trail.append(event)
            self._references.add_chain(event)
            tip = event.previous
        return trail, True

    def _check_head(self, trail: list[Event], *, is_whole: bool) -> None:
        """Compare HEAD with the fold of the history, then read the history as readers do, through the snapshots."""
        if not is_whole or not trail:
            return
        key = event_key(self._line, trail[0].digest)
        state = self._held.attempt(key, lambda: fold(reversed(trail)))
        if state is None or self.head is None or self._head_faults:
            return
        if self.head != canonical(self._log.head(state)):
            self._head_faults.append(f"{self._line}/HEAD contradicts its own history")
        if not self._has_faults():
            self._held.attempt(key, lambda: self._log.at(trail[0].digest))

    def _check_evidence(self, evidence: tuple[HeadEvidence, ...], trail: list[Event], *, is_whole: bool) -> None:
        """Report HEAD if there is evidence of a committed event that it does not include."""
        if self._head_faults:
            return
        on_trail = {event.digest for event in trail}
        newest = trail[0].sequence if self.head is not None and trail else 0
        oldest = 0 if is_whole else trail[-1].sequence if trail else 0
        off_trail = [each for each in evidence if self.head is None or each.event not in on_trail]
        against = [each for each in off_trail if each.sequence > newest or self._is_lost(each, since=oldest)]
        if not against:
            return
        last = against[-1]
        self._references.add_head(last.event, why=last.proof)
        what = "is missing" if self.head is None else f"is at event {newest}: an older or another HEAD was put there"
        self._head_faults.append(
            f"{self._line}/HEAD {what}; event {last.sequence} ({last.event[:12]}) was committed: {last.proof}"
        )

    def _is_lost(self, evidence: HeadEvidence, *, since: int) -> bool:
        return evidence.event in self._held.events and evidence.sequence >= since

    def _read_version(self, published: tuple[Event, bool]) -> None:
        """Check the manifest of a published event, and add what it needs: of a retired version nothing but the manifest."""
        event, is_retired = published
        version = event.detail["version"]
        key = manifest_key(self._line, event.detail["manifest"])
        self._references.add_version(version, manifest=event.detail["manifest"])
        if is_retired:
            return
        manifest = self._held.manifest(event.detail["manifest"])
        if manifest is None:
            return
        expected = event.detail | {"cycle_key": event.cycle_key}
        differs = [name for name in COMPARED if getattr(manifest, name) != expected.get(name)]
        if differs:
            self._held.faults[key] = f"{key} and the event that published {version} differ in {', '.join(differs)}"
        self._references.add_manifest(manifest, version=version)
        for ref in manifest.references():
            place = object_key(self._line, ref.digest)
            if self._held.sizes.get(place, ref.size) != ref.size:
                self._held.faults[place] = f"{place} differs in size from the manifest of {version}"

    def _read_used_problems(self) -> None:
        """Add all records of used problems to what is needed, and those that they name: each one keeps leaks out."""
        for key, record in self._held.used_problems():
            self._needed.setdefault(key, "it keeps what a night measured apart from what is trained on")
            for digest in record.before if record else ():
                folder = key.rpartition("/")[0]
                self._needed.setdefault(f"{folder}/{digest}", "the record of a later night follows it")

    def _has_faults(self) -> bool:
        return bool(self._needed.keys() - self._held.sizes.keys() or self._needed.keys() & self._held.faults.keys())

    def _matters(self, key: str) -> bool:
        """Whether a fault counts: the key is needed, or its bytes are wrong. An untrusted but intact document is neither."""
        return key in self._needed or self._held.has_wrong_bytes(key)

    def _orphans(self, trail: list[Event], committed: set[str]) -> tuple[Event, ...]:
        committed = committed | {event.digest for event in trail}
        off = [event for digest, event in self._held.events.items() if digest not in committed]
        tips = [event for event in off if event.previous is None or event.previous in committed]
        return tuple(sorted(tips, key=lambda event: (event.sequence, event.digest)))
