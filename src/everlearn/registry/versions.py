"""Versions of one line: publish them, take them back, deliver them. Git-like, over any `Store`.

    registry = Registry(store, "integration", clock=clock, signer=signer, verifier=verifier)
    ref = registry.put_object(adapter_bytes)                      # immutable, not referenced yet
    entry = registry.publish(manifest, make_champion=True, actor="night", reason="target suite +31 points")
    registry.pull("champion", to=Path("adapter"))                 # verified, swapped in whole
    registry.rollback(None, reason="answers got longer", actor="ada")

    <line>/objects/sha256/<digest>   <line>/manifests/<digest>.json   <line>/events/<digest>.json   <line>/HEAD

    <line>/publishers/<id>.json   who is about to publish (publishing.py)

One HEAD move makes a change visible, all of it at once; a crash at any point before leaves only bytes that nothing
refers to, and the same call again completes. Leaves out: walking everything (fsck), removing what nobody needs (gc).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from everlearn.canonical_json import digest_of
from everlearn.errors import IntegrityError, RegistryError
from everlearn.registry import delivery
from everlearn.registry.event_log import Chain, Draft
from everlearn.registry.events import BASE, Event, EventKind, State, VersionEntry
from everlearn.registry.manifest import Manifest, ObjectRef
from everlearn.registry.preconditions import check_candidate, check_kept, ended, resolve
from everlearn.registry.publisher_lease import LEASE, Publisher
from everlearn.registry.sealed_document import seal, unseal
from everlearn.storage.objects import (
    digest_of_file,
    fetch,
    fetch_to,
    object_key,
    verify_bytes,
    verify_metadata,
    write_file_once,
    write_once,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta
    from pathlib import Path

    from everlearn.registry.sealed_document import Signer, Verifier
    from everlearn.storage.protocol import Store

__all__ = ["BASE", "Event", "EventKind", "Manifest", "ObjectRef", "Registry", "Rollback", "State", "VersionEntry"]

Verify = Literal["quick", "full"]
ENDINGS = frozenset({EventKind.REJECTED, EventKind.INSUFFICIENT, EventKind.NO_NEW_DATA})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """What a rollback did. `to` None is the base model alone; `barred` is whether `left` can come back by itself."""

    left: str
    to: str | None
    barred: bool
    event: Event


class Registry:
    """The versions of `line` in `store`. `verifier` decides which signatures count; nothing is read past it.

    `lease` is for how long what is uploaded is safe from collection without a sign of life.
    """

    def __init__(
        self,
        store: Store,
        line: str,
        *,
        clock: Callable[[], datetime],
        signer: Signer | None,
        verifier: Verifier,
        lease: timedelta = LEASE,
    ) -> None:
        self.line = line
        self.store = store
        self._store = store
        self._signer = signer
        self._verifier = verifier
        self._chain = Chain(store, line, clock=clock, signer=signer, verifier=verifier)
        self._publisher = Publisher(store, line, lease=lease)
        self._manifests: dict[str, Manifest] = {}
        self.lease = lease

    def event(self, digest: str) -> Event:
        """The event with that digest, on the chain or beside it, verified."""
        return self._chain.event(digest)

    def state(self) -> State:
        """What is true now: versions, champion, history. Empty where nothing was published."""
        return self._chain.state()

    @property
    def known(self) -> State:
        """The state as last read or written, without asking the store."""
        return self._chain.known

    def resolve(self, ref: str) -> VersionEntry:
        """The version that "champion" or "v0007" names. RegistryError if there is none."""
        return resolve(ref, self.state(), line=self.line)

    def manifest(self, version: str) -> Manifest:
        """The manifest of a version ("champion", too), verified."""
        known = self.known.versions.get(version)  # a version's manifest is the same for ever
        return self._manifest((known or self.resolve(version)).manifest)

    def put_object(self, data: bytes) -> ObjectRef:
        """Keep bytes for ever, unreferenced until a manifest names them. The same bytes twice are stored once."""
        ref = ObjectRef(digest=digest_of(data), size=len(data))
        self._publisher.hold()
        write_once(self._store, object_key(self.line, ref.digest), data, fresh_after=self._publisher.fresh_after)
        return ref

    def put_file(self, path: Path, *, progress: Callable[[int], None] = lambda _: None) -> ObjectRef:
        """Keep a file's bytes as `put_object` does, a large one in parts; `progress` hears how many more are there."""
        digest, size = digest_of_file(path), path.stat().st_size
        self._publisher.hold()

        def told(sent: int) -> None:
            self._publisher.hold()
            progress(sent)

        key, fresh_after = object_key(self.line, digest), self._publisher.fresh_after
        composite = write_file_once(self._store, key, path, digest=digest, fresh_after=fresh_after, progress=told)
        return ObjectRef(digest=digest, size=size, composite=composite)

    def get_object(self, ref: ObjectRef) -> bytes:
        """The bytes of `ref`, verified. IntegrityError if they are missing or damaged."""
        return fetch(self._store, object_key(self.line, ref.digest), digest=ref.digest)

    def publish(self, manifest: Manifest, *, make_champion: bool, actor: str, reason: str) -> VersionEntry:
        """Make a candidate a version, and the champion if asked, by one HEAD move. Repeating it changes nothing.

        Raises StaleParentError when it should become champion but another one is champion than it was trained from
        and gated against, and RegistryError when its cycle ended otherwise before, its parent is barred, or its base
        is not that of the line. IntegrityError if an object that it names is not there.
        """
        data = seal(manifest.to_content(), purpose="manifest", line=self.line, signer=self._signer)
        digest = digest_of(data)

        def propose(state: State) -> Draft | Event:
            done = ended(state, manifest.cycle_key, EventKind.PUBLISHED)
            if done:
                return done
            check_candidate(manifest, state, make_champion=make_champion, line=self.line)
            self._publisher.hold()
            write_once(self._store, self._manifest_key(digest), data)
            self._publisher.confirm([object_key(self.line, ref.digest) for ref in manifest.references()])
            self._check_objects(manifest, fresh_after=self._publisher.fresh_after)
            detail = {"version": state.next_version, "manifest": digest, "champion": make_champion}
            origin = {name: getattr(manifest, name) for name in ("parent", "data_digest", "base_fingerprint")}
            return Draft(
                kind=EventKind.PUBLISHED,
                actor=actor,
                reason=reason,
                cycle_key=manifest.cycle_key,
                detail=detail | origin,
            )

        version: str = self._chain.append(propose).detail["version"]
        self._publisher.end()  # after an error it is left to run out: the same call may come again
        return self._chain.known.versions[version]

    def retire(self, versions: Callable[[State], tuple[str, ...]], *, reason: str, actor: str) -> tuple[str, ...]:
        """Say that the files of these versions are to go (gc.py removes them); nothing is removed here.

        `versions` chooses, given the state; it is asked again after a lost race. What was ever champion cannot be chosen.
        """
        chosen: tuple[str, ...] = ()

        def propose(state: State) -> Draft | Event:
            nonlocal chosen
            chosen = versions(state)
            if not chosen:
                return state.history[-1]
            return Draft(kind=EventKind.RETIRED, actor=actor, reason=reason, detail={"versions": list(chosen)})

        if versions(self.state()):
            self._chain.append(propose)
        return chosen

    def record(self, kind: EventKind, *, cycle_key: str, reason: str, actor: str, detail: dict[str, Any]) -> Event:
        """Put the end of a night that published nothing into the history, once a cycle."""
        if kind not in ENDINGS:
            raise RegistryError(f"{kind} is not how a night without a version ends ({', '.join(sorted(ENDINGS))})")
        draft = Draft(kind=kind, actor=actor, reason=reason, cycle_key=cycle_key, detail=detail)
        return self._chain.append(lambda state: ended(state, cycle_key, kind) or draft)

    def approve(self, version: str, *, reason: str, actor: str) -> VersionEntry:
        """Let a version that waited for it become the champion, with who said so and why. Repeating it changes nothing."""

        def propose(state: State) -> Draft | Event:
            entry = resolve(version, state, line=self.line)
            if entry.approved:
                return state.history[-1]
            self._preflight(entry, state, verify="quick")
            return Draft(kind=EventKind.APPROVED, actor=actor, reason=reason, detail={"version": entry.version})

        self._chain.append(propose)
        if version in self._chain.known.ever_champion:
            return self._chain.known.versions[version]
        return self.promote(version, reason=f"approved: {reason}", actor=actor)

    def refuse(self, version: str, *, reason: str, actor: str) -> VersionEntry:
        """Bar a version that waits for approval: it will be neither champion nor parent. Repeating it changes nothing."""

        def propose(state: State) -> Draft | Event:
            entry = resolve(version, state, line=self.line)
            if entry.barred:
                return state.history[-1]
            if entry.version not in state.waiting:
                raise RegistryError(
                    f"{entry.version} does not wait for approval; `everlearn rollback` takes a champion back"
                )
            return Draft(kind=EventKind.BARRED, actor=actor, reason=reason, detail={"version": entry.version})

        self._chain.append(propose)
        return self._chain.known.versions[version]

    def rollback(
        self, to: str | None = None, *, reason: str, actor: str, keep: bool = False, verify: Verify = "quick"
    ) -> Rollback:
        """Let consumers have an earlier champion again: `to`, or "base" for the base model alone.

        The default is the last good champion, which after the first version is the base. The version that is left is
        barred unless `keep`, and its night's data flagged for review. Before anything moves, the target's signature,
        base fingerprint and objects are checked: "quick" asks the store for presence, size and checksum, "full" reads
        and hashes every byte. The version to leave is the one that is champion when this is called: if somebody else
        changes that meanwhile, RegistryError, and nothing is rolled back twice.
        """
        left = self.state().champion

        def propose(state: State) -> Draft:
            target = self._rollback_target(to, state, left=left, verify=verify)
            detail = {"from": left, "to": target, "barred": not keep}
            return Draft(kind=EventKind.ROLLED_BACK, actor=actor, reason=reason, detail=detail)

        event = self._chain.append(propose)
        return Rollback(left=event.detail["from"], to=event.detail["to"], barred=event.detail["barred"], event=event)

    def promote(self, version: str, *, reason: str, actor: str, verify: Verify = "quick") -> VersionEntry:
        """Make a published version the champion, after the checks of a rollback. Repeating it changes nothing."""

        def propose(state: State) -> Draft | Event:
            entry = resolve(version, state, line=self.line)
            if state.champion == entry.version:
                return state.history[-1]
            self._preflight(entry, state, verify=verify)
            return Draft(kind=EventKind.PROMOTED, actor=actor, reason=reason, detail={"version": entry.version})

        self._chain.append(propose)
        return self._chain.known.versions[version]

    def pull(
        self, ref: str, *, to: Path, at_least: int | None = None, progress: Callable[[int], None] | None = None
    ) -> Path:
        """Deliver a version's files into directory `to`: every byte verified, all of them or none.

        What is in `to` already and right is left alone; what arrived before a delivery was cut short is not fetched
        again. Raises IntegrityError, with nothing changed, if anything that would be delivered is damaged or has no
        place in an adapter (adapter_files.py), or if HEAD shows an older history than `at_least` or than the last delivery into `to` has seen; RegistryError when the
        base model alone is champion. `progress` is told of every so many bytes that have arrived.
        """
        state = self.state()
        self._check_age(state, at_least=at_least or 0, seen=delivery.Receipt.of(to))
        entry = resolve(ref, state, line=self.line)
        check_kept(entry)
        manifest = self._manifest(entry.manifest)
        receipt = delivery.Receipt(
            line=self.line, version=entry.version, manifest=entry.manifest, sequence=state.sequence
        )
        from everlearn.registry.adapter_files import check_directory  # imports numpy, which a rollback does without

        return delivery.deliver(
            manifest.files, receipt=receipt, to=to, check=check_directory,
            fetch=lambda ref, path: self._fetch_to(ref, path, progress=progress),
        )  # fmt: skip

    def _check_age(self, state: State, *, at_least: int, seen: delivery.Receipt | None) -> None:
        """Whether HEAD is as new as what is known of it."""
        if seen is not None and seen.line == self.line:
            at_least = max(at_least, seen.sequence)
        if state.sequence < at_least:
            raise IntegrityError(
                f"{self.line}/HEAD is older than it must be: {state.sequence} events, but {at_least} were there before; "
                "somebody has put an old one back: run `everlearn fsck`"
            )

    def _fetch_to(self, ref: ObjectRef, path: Path, *, progress: Callable[[int], None] | None) -> None:
        told = progress or (lambda _: None)
        fetch_to(self._store, object_key(self.line, ref.digest), path, digest=ref.digest, size=ref.size, progress=told)

    def _rollback_target(self, to: str | None, state: State, *, left: str | None, verify: Verify) -> str | None:
        if left is None:
            raise RegistryError(f"line {self.line}: the base model alone is in use; there is nothing to roll back")
        if state.champion != left:
            now = state.champion or "the base model"
            raise RegistryError(f"{left} is no longer champion, {now} is: somebody else was faster; look again")
        if to == BASE or (to is None and state.last_good is None):
            return None
        entry = resolve(to or str(state.last_good), state, line=self.line)
        if entry.version == left:
            raise RegistryError(
                f"{left} is the champion already; name an earlier version, or none for the last good one"
            )
        self._preflight(entry, state, verify=verify)
        return entry.version

    def _preflight(self, entry: VersionEntry, state: State, *, verify: Verify) -> None:
        """Whether consumers could really load this version. "quick" downloads nothing but the manifest."""
        check_kept(entry)
        if entry.barred:
            good = [each for each in state.versions if not state.versions[each].barred]
            raise RegistryError(f"{entry.version} is barred; not barred: {', '.join(good) or 'none, but base'}")
        manifest = self._manifest(entry.manifest)
        lines_own = next(iter(state.versions.values())).base_fingerprint
        if not manifest.base_fingerprint == entry.base_fingerprint == lines_own:
            raise IntegrityError(f"{entry.version} was made for another base model than line {self.line} serves")
        self._check_objects(manifest)
        if verify == "full":
            for ref in manifest.references():
                verify_bytes(self._store, object_key(self.line, ref.digest), digest=ref.digest)

    def _check_objects(self, manifest: Manifest, *, fresh_after: datetime | None = None) -> None:
        for ref in manifest.references():
            key = object_key(self.line, ref.digest)
            verify_metadata(
                self._store, key, digest=ref.digest, size=ref.size, composite=ref.composite, fresh_after=fresh_after
            )

    def _manifest(self, digest: str) -> Manifest:
        """Read once: what a digest names does not change."""
        if digest not in self._manifests:
            name = self._manifest_key(digest)
            data = fetch(self._store, name, digest=digest)
            content = unseal(data, purpose="manifest", line=self.line, verifier=self._verifier, name=name)
            self._manifests[digest] = Manifest.from_content(content)
        return self._manifests[digest]

    def _manifest_key(self, digest: str) -> str:
        return f"{self.line}/manifests/{digest}.json"
