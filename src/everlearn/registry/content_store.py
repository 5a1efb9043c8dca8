"""Content-addressed store of a line: objects and the signed manifests that name them.

    <line>/objects/sha256/<digest>     adapter files, reports, provenance, bills of materials
    <line>/manifests/<digest>.json     one sealed manifest each

Writing is idempotent and refreshes the publisher's heartbeat first, so that no collection removes an object before a
version names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.canonical_json import digest_of
from everlearn.registry.line_keys import manifest_key
from everlearn.registry.manifest import Manifest, ObjectRef
from everlearn.registry.sealed_document import seal, unseal
from everlearn.storage.immutable_objects import (
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
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from everlearn.registry.publisher_heartbeat import PublisherHeartbeat
    from everlearn.registry.sealed_document import Signer, Verifier
    from everlearn.storage.protocol import Store


class ContentStore:
    """Reads, writes and verifies the objects and manifests of `line`. Manifests are cached: a digest fixes the content."""

    def __init__(
        self, store: Store, line: str, *, signer: Signer | None, verifier: Verifier, heartbeat: PublisherHeartbeat
    ) -> None:
        self._store = store
        self._line = line
        self._signer = signer
        self._verifier = verifier
        self._heartbeat = heartbeat
        self._manifests: dict[str, Manifest] = {}

    def put_object(self, data: bytes) -> ObjectRef:
        """Store `data` under its digest, unless it is there."""
        ref = ObjectRef(digest=digest_of(data), size=len(data))
        self._heartbeat.keep_alive()
        write_once(self._store, self._key(ref), data, fresh_after=self._heartbeat.fresh_after)
        return ref

    def put_objects(self, datas: Iterable[bytes]) -> None:
        """Store all of `datas` for an event that is about to name them.

        Raises:
            RegistryError: The heartbeat has expired, or a collection is removing one of the objects.
        """
        keys = [self._key(self.put_object(data)) for data in datas]
        self._heartbeat.keep_alive()
        self._heartbeat.confirm(keys)

    def put_file(self, path: Path, *, progress: Callable[[int], None]) -> ObjectRef:
        """Store a file's bytes as `put_object` does, large ones in parts. `progress` gets the bytes sent since its last call."""
        digest, size = digest_of_file(path), path.stat().st_size
        self._heartbeat.keep_alive()

        def on_sent(sent: int) -> None:
            self._heartbeat.keep_alive()
            progress(sent)

        key, fresh_after = object_key(self._line, digest), self._heartbeat.fresh_after
        composite = write_file_once(self._store, key, path, digest=digest, fresh_after=fresh_after, progress=on_sent)
        return ObjectRef(digest=digest, size=size, composite=composite)

    def get_object(self, ref: ObjectRef) -> bytes:
        """Return the bytes of `ref`, verified. Raises IntegrityError if they are missing or damaged."""
        return fetch(self._store, self._key(ref), digest=ref.digest)

    def download(self, ref: ObjectRef, path: Path, *, progress: Callable[[int], None] | None) -> None:
        """Complete the file at `path`, and verify it. Raises IntegrityError if the object is missing or damaged."""
        on_bytes = progress or (lambda _: None)
        fetch_to(self._store, self._key(ref), path, digest=ref.digest, size=ref.size, progress=on_bytes)

    def seal_manifest(self, manifest: Manifest) -> tuple[str, bytes]:
        """Return the digest and the signed bytes of a manifest. Nothing is written."""
        data = seal(manifest.to_content(), purpose="manifest", line=self._line, signer=self._signer)
        return digest_of(data), data

    def put_manifest(self, manifest: Manifest, *, digest: str, data: bytes) -> None:
        """Store a sealed manifest, after its objects.

        Raises:
            RegistryError: The heartbeat has expired, or a collection is removing one of the objects.
            IntegrityError: One of the objects is missing or different.
        """
        self._heartbeat.keep_alive()
        write_once(self._store, manifest_key(self._line, digest), data)
        self._heartbeat.confirm([self._key(ref) for ref in manifest.references()])
        self.check_objects(manifest, refresh=True)

    def manifest(self, digest: str) -> Manifest:
        """Return the manifest with that digest, verified. Raises IntegrityError if it is missing or damaged."""
        if digest not in self._manifests:
            name = manifest_key(self._line, digest)
            data = fetch(self._store, name, digest=digest)
            content = unseal(data, purpose="manifest", line=self._line, verifier=self._verifier, name=name)
            self._manifests[digest] = Manifest.from_content(content)
        return self._manifests[digest]

    def check_objects(self, manifest: Manifest, *, refresh: bool = False) -> None:
        """Compare size and checksum of every object of a manifest, without reading bytes.

        `refresh` touches objects that are old enough to be collected. Raises IntegrityError for a missing or different
        object.
        """
        fresh_after = self._heartbeat.fresh_after if refresh else None
        for ref in manifest.references():
            verify_metadata(
                self._store,
                self._key(ref),
                digest=ref.digest,
                size=ref.size,
                composite=ref.composite,
                fresh_after=fresh_after,
            )

    def check_bytes(self, manifest: Manifest) -> None:
        """Read and hash every object of a manifest. Raises IntegrityError for a missing or different one."""
        for ref in manifest.references():
            verify_bytes(self._store, self._key(ref), digest=ref.digest)

    def _key(self, ref: ObjectRef) -> str:
        return object_key(self._line, ref.digest)
