"""The results of a cycle's steps, kept in the store so that any worker can go on from them.

    <line>/work/<cycle key>/index.json        token, and the files of each name by digest; moved by conditional writes
    <line>/work/<cycle key>/sha256/<digest>   the bytes

A name holds one piece of bytes or a whole directory, and changes all at once. The index carries the fencing token of
the lease: a worker whose token is older than the index's is refused, whatever it believes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from everlearn.canonical_json import canonical, digest_of, parse
from everlearn.errors import BadInputError, ConflictError, CycleBusyError, IntegrityError, NotFoundError
from everlearn.storage.objects import fetch, write_once

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from everlearn.storage.protocol import Store

ATTEMPTS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    """`names` maps a step's result to the digests of its files; single bytes are a file named ""."""

    token: int = 0
    names: dict[str, dict[str, str]] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        return canonical({"token": self.token, "names": self.names})

    def digests(self) -> set[str]:
        return {digest for files in self.names.values() for digest in files.values()}


class Workspace:
    """The work of one cycle. `token` is that of the lease; without one it can only be read."""

    def __init__(self, store: Store, line: str, key: str, *, token: int | None = None) -> None:
        self.key = key
        self._store = store
        self._root = f"{line}/work/{key}"
        self._token = token

    def fence(self) -> None:
        """Shut out every older token, before anything is read. Called once by whoever took the lease."""
        self._change(lambda names: names)

    def has(self, name: str) -> bool:
        """Whether that result is there."""
        return name in self.names()

    def names(self) -> tuple[str, ...]:
        """The results that are there."""
        return tuple(sorted(self._read()[0].names))

    def progress(self, *, without: Collection[str]) -> str:
        """A digest of all results but those: the same as before where nothing has come since."""
        names = self._read()[0].names
        return digest_of(canonical({name: files for name, files in names.items() if name not in without}))

    def put(self, name: str, data: bytes) -> None:
        """Keep bytes under `name`, in place of what was there. CycleBusyError for a worker that came too late."""
        self._set(name, {"": self._keep(data)})

    def get(self, name: str) -> bytes:
        """The bytes under `name`, verified. NotFoundError if there are none."""
        return self._fetch(self._files(name)[""])

    def put_tree(self, name: str, directory: Path) -> None:
        """Keep all files below `directory` under `name`; readers see all of them or none."""
        paths = sorted(path for path in directory.rglob("*") if path.is_file())
        self._set(name, {path.relative_to(directory).as_posix(): self._keep(path.read_bytes()) for path in paths})

    def get_tree(self, name: str, directory: Path) -> Path:
        """Write the files under `name` below `directory`, verified. NotFoundError if there are none."""
        for relative, digest in self._files(name).items():
            path = directory / _safe(relative)
            path.parent.mkdir(parents=True, exist_ok=True)
            data = self._fetch(digest)
            try:
                path.write_bytes(data)
            except OSError as error:
                raise BadInputError(f"{path} cannot be written ({error.strerror}); make room there") from None
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def drop(self, name: str) -> None:
        """Forget a result, if it is there, and its bytes."""
        self._change(lambda names: {each: files for each, files in names.items() if each != name})

    def _set(self, name: str, files: dict[str, str]) -> None:
        self._change(lambda names: names | {name: files})

    def _change(self, change: Callable[[dict[str, dict[str, str]]], dict[str, dict[str, str]]]) -> None:
        """Move the index, then remove the bytes that it named before and names no longer: a checkpoint a step is much."""
        if self._token is None:
            raise CycleBusyError(f"the work of cycle {self.key[:12]} was opened for reading only")
        for _ in range(ATTEMPTS):
            index, etag = self._read()
            if index.token > self._token:
                raise CycleBusyError(f"cycle {self.key[:12]} was taken over by another run; this one must not write")
            after = _Index(token=self._token, names=change(index.names))
            try:
                self._write(after, etag)
            except ConflictError:
                continue
            for digest in index.digests() - after.digests():
                self._store.delete(f"{self._root}/sha256/{digest}")
            return
        raise ConflictError(f"the work of cycle {self.key[:12]} changes all the time; run the same command again")

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
        write_once(self._store, f"{self._root}/sha256/{digest}", data)
        return digest

    def _fetch(self, digest: str) -> bytes:
        return fetch(self._store, f"{self._root}/sha256/{digest}", digest=digest)


def _safe(relative: str) -> Path:
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise IntegrityError(f"{relative!r} would be written outside its directory; the index of the work is damaged")
    return Path(path)
