"""A bucket that keeps older contents, as one with versioning does, and what tests do to it behind its back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.storage.in_memory import MemoryStore
from everlearn.storage.protocol import Blob

if TYPE_CHECKING:
    from collections.abc import Iterator


class VersionedStore(MemoryStore):
    """A store in memory with the older contents of every key."""

    def __init__(self) -> None:
        super().__init__()
        self.older: dict[str, list[bytes]] = {}

    def _write(self, key: str, data: bytes) -> str:
        if key in self._objects:
            self.older.setdefault(key, []).append(self._objects[key][0])
        return super()._write(key, data)

    def delete(self, key: str) -> None:
        """Remove; the contents stay among the older ones."""
        if key in self._objects:
            self.older.setdefault(key, []).append(self._objects[key][0])
        super().delete(key)

    def versions(self, key: str) -> Iterator[Blob]:
        """Older contents, newest first."""
        return (Blob(data=data, etag="") for data in reversed(self.older.get(key, [])))


def flip_bit(store: MemoryStore, key: str, *, at: int) -> None:
    """Change one bit, and leave no older content behind."""
    data, modified = store._objects[key]
    bad = bytearray(data)
    bad[at] ^= 1
    store._objects[key] = (bytes(bad), modified)


def erase(store: MemoryStore, key: str) -> None:
    """Remove for ever."""
    del store._objects[key]


def list_keys(store: MemoryStore, part: str = "") -> list[str]:
    """All keys with `part` in them."""
    return [info.key for info in store.list() if part in info.key]
