"""Workspace of a cycle: the results of its steps, kept in the store so that any worker can resume from them.

    <line>/work/<cycle key>/index.json        token, and the files of each name by digest; moved by conditional writes
    <line>/work/<cycle key>/sha256/<digest>   the bytes

A name holds bytes or a whole directory, replaced atomically, or a sequence of bytes that grows. The index carries the
fencing token of the lease: a worker whose token is older than that of the index is refused, even if it still believes
to hold the lease.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from everlearn.canonical_json import canonical, digest_of, parse
from everlearn.errors import BadInputError, ConflictError, CycleBusyError, IntegrityError, NotFoundError
from everlearn.storage.immutable_objects import digest_of_file, fetch, fetch_to, write_file_once, write_once

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from everlearn.storage.protocol import Store

MAX_ATTEMPTS = 50
MAX_BYTES = 2**50
"""Upper limit of the size of a file, which the index does not state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    """`names` maps each result to the digests of its files by relative path; plain bytes have the path ""."""

    token: int = 0
    names: dict[str, dict[str, str]] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        return canonical({"token": self.token, "names": self.names})

    def digests(self) -> set[str]:
        return {digest for files in self.names.values() for digest in files.values()}


class Workspace:
    """Results of one cycle. `token` is the fencing token of the lease; without one the workspace is read-only."""

    def __init__(self, store: Store, line: str, key: str, *, token: int | None = None) -> None:
        self.key = key
        self._store = store
        self._root = f"{line}/work/{key}"
        self._token = token

    def fence(self) -> None:
        """Refuse writes with older tokens from now on. Called once after the lease was taken, before anything is read."""
        self._change(lambda names: names)

    def has(self, name: str) -> bool:
        """Return whether the result exists."""
        return name in self.names()

    def names(self) -> tuple[str, ...]:
        """Return the names of all results, sorted."""
        return tuple(sorted(self._read()[0].names))

    def progress(self, *, without: Collection[str]) -> str:
        """Return a digest of all results except `without`. It is unchanged where no result was added or replaced."""
        names = self._read()[0].names
        return digest_of(canonical({name: files for name, files in names.items() if name not in without}))

    def put(self, name: str, data: bytes) -> None:
        """Keep bytes under `name`, replacing an earlier result. CycleBusyError if another run has taken over."""
        self._set(name, {"": self._keep(data)})

    def get(self, name: str) -> bytes:
        """Return the bytes under `name`, verified by digest. NotFoundError if there are none."""
        return self._fetch(self._files(name)[""])

    def put_tree(self, name: str, directory: Path) -> None:
        """Keep all files below `directory` under `name`. Readers see all of them or none."""
        known = set(self._read()[0].names.get(name, {}).values())
        paths = sorted(path for path in directory.rglob("*") if path.is_file())
        self._set(name, {path.relative_to(directory).as_posix(): self._keep_file(path, known) for path in paths})

    def get_tree(self, name: str, directory: Path) -> Path:
        """Write the files under `name` below `directory`, verified by digest. NotFoundError if there are none."""
        for relative, digest in self._files(name).items():
            path = directory / _safe(relative)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                fetch_to(self._store, self._key(digest), path, digest=digest, size=MAX_BYTES)
            except OSError as error:
                raise BadInputError(
                    f"{path} cannot be written ({error.strerror}); free space or fix its permissions"
                ) from None
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def append(self, name: str, data: bytes) -> None:
        """Add bytes to the sequence under `name`. The earlier ones are not written again."""
        digest = self._keep(data)
        self._change(lambda names: names | {name: _with_part(names.get(name, {}), digest)})

    def parts(self, name: str) -> list[bytes]:
        """Return the sequence under `name`, verified by digest; empty if there is none."""
        return [self._fetch(digest) for _, digest in sorted(self._read()[0].names.get(name, {}).items())]

    def drop(self, name: str) -> None:
        """Remove a result and its bytes. Does nothing if it does not exist."""
        self._change(lambda names: {other: files for other, files in names.items() if other != name})

    def clear(self) -> None:
        """Remove all results and their bytes."""
        self._change(lambda _: {})

    def _set(self, name: str, files: dict[str, str]) -> None:
        self._change(lambda names: names | {name: files})

    def _change(self, change: Callable[[dict[str, dict[str, str]]], dict[str, dict[str, str]]]) -> None:
        """Replace the index, then delete the bytes that only the old index named: checkpoints would fill the bucket."""
        if self._token is None:
            raise CycleBusyError(f"the workspace of cycle {self.key[:12]} was opened for reading only")
        for _ in range(MAX_ATTEMPTS):
            index, etag = self._read()
            # The token is compared and written in the same conditional write, so no older worker slips in between.
            if index.token > self._token:
                raise CycleBusyError(f"cycle {self.key[:12]} was taken over by another run; this one must not write")
            after = _Index(token=self._token, names=change(index.names))
            try:
                self._write(after, etag)
            except ConflictError:
                if self._read()[0] != after:  # as it is where the write was carried out and its answer lost
                    continue  # another step of this run was first: apply the change to its index
            for digest in index.digests() - after.digests():
                self._store.delete(self._key(digest))
            return
        raise ConflictError(
            f"the workspace of cycle {self.key[:12]} was changed {MAX_ATTEMPTS} times meanwhile; run the same command again"
        )

    def _write(self, index: _Index, etag: str | None) -> None:
        key = f"{self._root}/index.json"
        if etag is None:
            self._store.create(key, index.to_bytes())
        else:
            self._store.replace(key, index.to_bytes(), etag=etag)

    def _read(self) -> tuple[_Index, str | None]:
        try:
            blob = self._store.get(f"{self._root}/index.json")
        except NotFoundError:
            return _Index(), None
        return _Index(**parse(blob.data, name=f"{self._root}/index.json")), blob.etag

    def _files(self, name: str) -> dict[str, str]:
        names = self._read()[0].names
        if name not in names:
            raise NotFoundError(f"cycle {self.key[:12]} has no result {name!r} yet")
        return names[name]

    def _keep(self, data: bytes) -> str:
        digest = digest_of(data)
        write_once(self._store, self._key(digest), data)
        return digest

    def _keep_file(self, path: Path, known: Collection[str]) -> str:
        """Keep the bytes of a file, unless they are those of an unchanged file of the tree that is replaced."""
        digest = digest_of_file(path)
        if digest not in known:
            write_file_once(self._store, self._key(digest), path, digest=digest)
        return digest

    def _fetch(self, digest: str) -> bytes:
        return fetch(self._store, self._key(digest), digest=digest)

    def _key(self, digest: str) -> str:
        return f"{self._root}/sha256/{digest}"


def _with_part(files: Mapping[str, str], digest: str) -> dict[str, str]:
    """Return the files of a sequence with one more, which is named by its number."""
    return {**files, f"{len(files):06d}": digest}


def _safe(relative: str) -> Path:
    """Return the path of a file inside a directory. IntegrityError for one that leads outside."""
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise IntegrityError(
            f"{relative!r} would be written outside its directory; the index of the workspace is damaged"
        )
    return Path(path)
