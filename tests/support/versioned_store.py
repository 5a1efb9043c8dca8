"""A store in memory with versioning, and the damage that tests do to its objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.storage.in_memory import MemoryStore
from everlearn.storage.protocol import Blob

if TYPE_CHECKING:
    from collections.abc import Iterator


class VersionedStore(MemoryStore):
    """A store in memory that keeps the noncurrent contents of every key."""

    def __init__(self) -> None:
        super().__init__()
        self.older: dict[str, list[bytes]] = {}

    def _write(self, key: str, data: bytes) -> str:
        self._archive(key)
        return super()._write(key, data)

    def delete(self, key: str) -> None:
        """Delete the object; its bytes become a noncurrent content."""
        self._archive(key)
        super().delete(key)

    def versions(self, key: str) -> Iterator[Blob]:
        """Yield noncurrent contents, newest first."""
        return (Blob(data=data, etag="") for data in reversed(self.older.get(key, [])))

    def _archive(self, key: str) -> None:
        if key in self._objects:
            self.older.setdefault(key, []).append(self._objects[key][0])


def flip_bit(store: MemoryStore, key: str, *, at: int) -> None:
    """Flip one bit of byte `at`, without a noncurrent content."""
    data, modified = store._objects[key]
    damaged = bytearray(data)
    damaged[at] ^= 1
    store._objects[key] = (bytes(damaged), modified)


def erase(store: MemoryStore, key: str) -> None:
    """Delete without a noncurrent content."""
    del store._objects[key]


def list_keys(store: MemoryStore, part: str = "") -> list[str]:
    """Return all keys that contain `part`."""
    return [info.key for info in store.list() if part in info.key]
