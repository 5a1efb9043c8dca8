"""Versions of a line: publish, roll back, promote, approve and pull them, over any `Store`.

    registry = Registry(store, "integration", clock=clock, signer=signer, verifier=verifier)
    ref = registry.put_object(adapter_bytes)                      # immutable, not referenced yet
    entry = registry.publish(manifest, make_champion=True, actor="night", reason="target suite +31 points")
    registry.pull("champion", to=Path("adapter"))                 # verified, swapped in as a whole
    registry.rollback(None, reason="answers got longer", actor="ada")

    <line>/objects/sha256/<digest>   <line>/manifests/<digest>.json   <line>/events/<digest>.json   <line>/HEAD
    <line>/publishers/<id>.json      heartbeats of running publications

Each operation becomes visible with one move of HEAD. A crash before it leaves only objects that nothing refers to, and
repeating the call completes it. Verifying a whole line (fsck) and removing unreferenced objects (gc) are in
`maintenance`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from everlearn.errors import IntegrityError, RegistryError
from everlearn.registry import delivery
from everlearn.registry.base_identity import is_same_base
from everlearn.registry.content_store import ContentStore
from everlearn.registry.eligibility import (
    ended,
    is_flagged,
    require_age,
    require_candidate,
    require_files,
    require_not_champion,
    require_parent,
    require_promotable,
    require_waiting,
    resolve,
    rollback_target,
)
from everlearn.registry.event_log import EventLog
from everlearn.registry.events import Draft, Event, EventKind
from everlearn.registry.guarded_suites import describe_change, detail_of
from everlearn.registry.line_state import BASE, State, VersionEntry
from everlearn.registry.manifest import Manifest, ObjectRef
from everlearn.registry.publisher_heartbeat import LIFETIME, PublisherHeartbeat

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime, timedelta
    from pathlib import Path

    from everlearn.registry.guarded_suites import SuiteContent
    from everlearn.registry.sealed_document import Signer, Verifier
    from everlearn.storage.protocol import Store

    _Check = Callable[[VersionEntry, State], None]

__all__ = ["BASE", "Event", "EventKind", "Manifest", "ObjectRef", "Registry", "Rollback", "State", "VersionEntry"]

Verify = Literal["quick", "full"]
ENDINGS = frozenset({EventKind.REJECTED, EventKind.INSUFFICIENT, EventKind.NO_NEW_DATA})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """Result of a rollback from `left` to `to` (None: the base model). `barred` applies to `left`."""

    left: str
    to: str | None
    barred: bool
    event: Event


class Registry:
    """The versions of `line` in `store`.

    `verifier` decides which signatures are trusted. Without a `signer` documents are written unsigned.
    `heartbeat_lifetime` is how long uploaded objects are safe from collection without another request of this process.
    """

    def __init__(
        self,
        store: Store,
        line: str,
        *,
        clock: Callable[[], datetime],
        signer: Signer | None,
        verifier: Verifier,
        heartbeat_lifetime: timedelta = LIFETIME,
    ) -> None:
        self.store = store
        self.line = line
        self.heartbeat_lifetime = heartbeat_lifetime
        self._heartbeat = PublisherHeartbeat(store, line, lifetime=heartbeat_lifetime)
        self._log = EventLog(store, line, clock=clock, signer=signer, verifier=verifier)
        self._content = ContentStore(store, line, signer=signer, verifier=verifier, heartbeat=self._heartbeat)

    def event(self, digest: str) -> Event:
        """Return the event with that digest, verified, even if it is not part of the history."""
        return self._log.event(digest)

    def state(self) -> State:
        """Read the current state: versions, champion, history. Empty for a line without events."""
        return self._log.state()

    @property
    def cached_state(self) -> State:
        """The state as last read or written; no request is made."""
        return self._log.cached_state

    def resolve(self, ref: str) -> VersionEntry:
        """Return the version that "champion" or "v0007" names. Raises RegistryError if there is none."""
        return resolve(ref, self.state(), line=self.line)

    def manifest(self, version: str) -> Manifest:
        """Return the verified manifest of a version or of "champion"."""
        cached = self.cached_state.versions.get(version)  # the manifest of a version never changes
        return self._content.manifest((cached or self.resolve(version)).manifest)

    def put_object(self, data: bytes) -> ObjectRef:
        """Store immutable bytes, unreferenced until a manifest names them. Equal bytes are stored once."""
        return self._content.put_object(data)

    def put_file(self, path: Path, *, progress: Callable[[int], None] = lambda _: None) -> ObjectRef:
        """Store a file's bytes, large files in parts. `progress` gets the number of bytes sent since its last call."""
        return self._content.put_file(path, progress=progress)

    def get_object(self, ref: ObjectRef) -> bytes:
        """Return the bytes of `ref`, verified. Raises IntegrityError if they are missing or damaged."""
        return self._content.get_object(ref)

    def require_parent(self, parent: str | None, *, cycle_key: str, make_champion: bool) -> None:
        """Check that a night in progress can still publish. Does nothing for a cycle that has ended.

        Raises:
            StaleParentError: The parent was barred or retired since, or, with `make_champion`, is no longer champion.
        """
        state = self.state()
        if cycle_key not in state.cycles:
            require_parent(parent, state, make_champion=make_champion, line=self.line)

    def publish(
        self, manifest: Manifest, *, make_champion: bool, actor: str, reason: str, records: Sequence[str] = ()
    ) -> VersionEntry:
        """Publish a candidate as a version, and as champion if requested, with one move of HEAD. Idempotent by cycle.

        `records` are the records of used problems that its night wrote, as `measured/<digest>` or `trained/<digest>`.

        Raises:
            StaleParentError: The parent was barred or retired since, or, with `make_champion`, is no longer champion.
            RegistryError: The cycle ended otherwise, the decision is not PASS, or the candidate's base model is not that of the line.
            IntegrityError: An object of the manifest is missing or different.
        """
        digest, data = self._content.seal_manifest(manifest)

        def propose(state: State) -> Draft | Event:
            done = ended(state, manifest.cycle_key, EventKind.PUBLISHED)
            if done:
                return done
            require_candidate(manifest, state, make_champion=make_champion, line=self.line)
            self._content.put_manifest(manifest, digest=digest, data=data)
            detail = {"version": state.next_version, "manifest": digest, "champion": make_champion}
            detail |= {"records": list(records)} if records else {}
            origin = {name: getattr(manifest, name) for name in ("parent", "data_digest", "base_fingerprint")}
            return Draft(
                kind=EventKind.PUBLISHED,
                actor=actor,
                reason=reason,
                cycle_key=manifest.cycle_key,
                detail=detail | origin,
            )

        version: str = self._log.append(propose).detail["version"]
        self._heartbeat.end()  # after an error it is left to expire: the call may be repeated
        return self.cached_state.versions[version]

    def retire(self, versions: Callable[[State], tuple[str, ...]], *, reason: str, actor: str) -> tuple[str, ...]:
        """Record that the files of the versions chosen by `versions` may be removed, and return these versions.

        Nothing is removed here. `versions` is called again after a lost race; a version that was ever champion cannot
        be retired.
        """
        chosen: tuple[str, ...] = ()

        def propose(state: State) -> Draft | Event:
            nonlocal chosen
            chosen = versions(state)
            if not chosen:
                return state.history[-1]
            return Draft(kind=EventKind.RETIRED, actor=actor, reason=reason, detail={"versions": list(chosen)})

        if versions(self.state()):
            self._log.append(propose)
        return chosen

    def record(self, kind: EventKind, *, cycle_key: str, reason: str, actor: str, detail: dict[str, Any]) -> Event:
        """Record that a cycle ended without a version. Idempotent by cycle."""
        if kind not in ENDINGS:
            raise RegistryError(
                f"a night without a version cannot end as {kind}; use one of {', '.join(sorted(ENDINGS))}"
            )
        draft = Draft(kind=kind, actor=actor, reason=reason, cycle_key=cycle_key, detail=detail)
        event = self._log.append(lambda state: ended(state, cycle_key, kind) or draft)
        self._heartbeat.end()
        return event

    def guard_suites(self, suites: Mapping[str, SuiteContent], *, actor: str) -> None:
        """Record which suites the line guards from now on, and store their items. No event if it guards just these."""
        guarded = {name: content.describe() for name, content in suites.items()}

        def propose(state: State) -> Draft | Event:
            if state.suites == guarded:  # another run of this night was faster
                return state.history[-1]
            detail = detail_of(state.suites, guarded)
            self._content.put_objects([suites[name].data for name in detail["suites"]])
            reason = describe_change(state.suites, guarded)
            return Draft(kind=EventKind.SUITE_CHANGED, actor=actor, reason=reason, detail=detail)

        if guarded != self.state().suites:
            self._log.append(propose)
            self._heartbeat.end()

    def approve(self, version: str, *, reason: str, actor: str) -> VersionEntry:
        """Approve a version that waits, and promote it. Idempotent. RegistryError if it does not wait or its parent was barred."""

        def propose(state: State) -> Draft | Event:
            entry = resolve(version, state, line=self.line)
            if entry.approved:
                return state.history[-1]
            self._preflight(entry, state, verify="quick")
            require_waiting(entry, state)
            return Draft(kind=EventKind.APPROVED, actor=actor, reason=reason, detail={"version": entry.version})

        self._log.append(propose)
        entry = resolve(version, self.cached_state, line=self.line)
        if entry.version in self.cached_state.ever_champion:
            return entry
        return self.promote(version, reason=f"approved: {reason}", actor=actor)

    def refuse(self, version: str, *, reason: str, actor: str) -> VersionEntry:
        """Bar a version that awaits approval: it becomes neither champion nor parent. Idempotent."""
        return self._set_bar(version, to=True, reason=reason, actor=actor, check=require_waiting)

    def bar(self, version: str, *, reason: str, actor: str, leaked: bool = False) -> VersionEntry:
        """Bar a version, as one that `leaked` if it did: neither champion nor parent. Idempotent. RegistryError for the champion."""
        return self._set_bar(version, to=True, reason=reason, actor=actor, check=require_not_champion, leaked=leaked)

    def unbar(self, version: str, *, reason: str, actor: str) -> VersionEntry:
        """Let a barred version be champion and parent again, and lift the flag of its data. The champion stays. Idempotent."""
        return self._set_bar(version, to=False, reason=reason, actor=actor, check=lambda entry, _: require_files(entry))

    def rollback(
        self, to: str | None = None, *, reason: str, actor: str, keep: bool = False, verify: Verify = "quick"
    ) -> Rollback:
        """Make an earlier version the champion again: `to`, or "base" for the base model without an adapter.

        The default is the last good champion, or the base model if there is none. The version that is left is barred
        unless `keep`, and its data is flagged for review. The target's signature, base fingerprint and objects are
        checked before HEAD moves: "quick" compares presence, size and checksum, "full" reads and hashes every byte.

        Raises:
            RegistryError: The target is unknown or `require_promotable` refuses it, or the champion changed during this call.
            IntegrityError: The target could not be loaded.
        """
        left = self.state().champion  # fixed before any retry: a lost race must not roll back a second version

        def propose(state: State) -> Draft:
            target = self._rollback_target(to, state, left=left, verify=verify)
            detail = {"from": left, "to": target, "barred": not keep}
            return Draft(kind=EventKind.ROLLED_BACK, actor=actor, reason=reason, detail=detail)

        event = self._log.append(propose)
        return Rollback(left=event.detail["from"], to=event.detail["to"], barred=event.detail["barred"], event=event)

    def promote(self, version: str, *, reason: str, actor: str, verify: Verify = "quick") -> VersionEntry:
        """Make a published version the champion, after the checks of a rollback, and with its errors. Idempotent."""

        def propose(state: State) -> Draft | Event:
            entry = resolve(version, state, line=self.line)
            if state.champion == entry.version:
                return state.history[-1]
            self._preflight(entry, state, verify=verify)
            return Draft(kind=EventKind.PROMOTED, actor=actor, reason=reason, detail={"version": entry.version})

        self._log.append(propose)
        return resolve(version, self.cached_state, line=self.line)

    def pull(
        self, ref: str, *, to: Path, at_least: int | None = None, progress: Callable[[int], None] | None = None
    ) -> Path:
        """Deliver a version's files into directory `to`: all of them, every byte verified, or none.

        Files that are already right are not touched, and an interrupted download is continued. `progress` gets the
        number of bytes that arrived since its last call.

        Raises:
            IntegrityError: A file is damaged or not part of a valid adapter, or HEAD is older than `at_least` events or
                than at the last delivery into `to`. Nothing was changed.
            RegistryError: The version is unknown or retired, or there is no champion.
        """
        state = self.state()
        require_age(state, at_least=at_least or 0, seen=delivery.Receipt.of(to), line=self.line)
        entry = resolve(ref, state, line=self.line)
        require_files(entry)
        manifest = self._content.manifest(entry.manifest)
        receipt = delivery.Receipt(
            line=self.line, version=entry.version, manifest=entry.manifest, sequence=state.sequence
        )
        from everlearn.registry.adapter_validation import check_directory  # imports numpy; rollback does not need it

        def fetch(ref: ObjectRef, path: Path) -> None:
            self._content.download(ref, path, progress=progress)

        return delivery.deliver(manifest.files, receipt=receipt, to=to, fetch=fetch, check=check_directory)

    def _set_bar(
        self, version: str, *, to: bool, reason: str, actor: str, check: _Check, leaked: bool = False
    ) -> VersionEntry:
        """Bar a version or lift its bar, unless that is done or `check` raises."""

        def propose(state: State) -> Draft | Event:
            entry = resolve(version, state, line=self.line)
            if entry.barred == to and entry.leaked >= leaked and (to or not is_flagged(entry, state)):
                return state.history[-1]
            check(entry, state)
            kind = EventKind.BARRED if to else EventKind.UNBARRED
            detail = {"version": entry.version} | ({"leaked": True} if leaked else {})
            return Draft(kind=kind, actor=actor, reason=reason, detail=detail)

        self._log.append(propose)
        return resolve(version, self.cached_state, line=self.line)

    def _rollback_target(self, to: str | None, state: State, *, left: str | None, verify: Verify) -> str | None:
        entry = rollback_target(to, state, left=left, line=self.line)
        if entry is None:
            return None
        self._preflight(entry, state, verify=verify)
        return entry.version

    def _preflight(self, entry: VersionEntry, state: State, *, verify: Verify) -> None:
        """Check that consumers could load a version. "quick" downloads nothing but the manifest."""
        require_promotable(entry, state)
        manifest = self._content.manifest(entry.manifest)
        of_line = next(iter(state.versions.values())).base_fingerprint
        stated = entry.base_fingerprint
        if manifest.base_fingerprint != stated or not is_same_base(stated, of_line):
            raise IntegrityError(f"{entry.version} was made for another base model than that of line {self.line}")
        self._content.check_objects(manifest)
        if verify == "full":
            self._content.check_bytes(manifest)
