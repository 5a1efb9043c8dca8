"""A store shared by processes, and SIGKILL at a chosen operation of a store."""

from __future__ import annotations

import fcntl
import itertools
import os
import pickle
import signal
import sys
from typing import TYPE_CHECKING, Any, cast

from everlearn.storage.in_memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from everlearn.storage.protocol import Store


WRITES = {"create", "replace", "put", "touch", "delete"}
OPERATIONS = WRITES | {"get", "read", "head", "list"}  # the other methods call these


class SharedStore(MemoryStore):
    """A store in a file. Each operation is atomic, even if the process is killed within it."""

    def __init__(self, path: Path, now: datetime) -> None:
        super().__init__(lambda: now)
        self._path = path

    def __getattribute__(self, name: str) -> Any:
        attribute = object.__getattribute__(self, name)
        if name not in OPERATIONS:
            return attribute

        def locked(*arguments: Any, **named: Any) -> Any:
            path: Path = object.__getattribute__(self, "_path")
            with path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._objects = pickle.loads(path.read_bytes()) if path.exists() else {}
                result = attribute(*arguments, **named)
                if name in WRITES:
                    fresh = path.with_suffix(".new")
                    fresh.write_bytes(pickle.dumps(self._objects))
                    fresh.rename(path)  # atomic: a killed process leaves the old file or the new one
                return result

        return locked

    def list(self, prefix: str = "") -> Iterator[Any]:
        """Yield the objects whose keys begin with `prefix`, read under the lock."""
        keys = sorted(key for key in self._objects if key.startswith(prefix))
        return iter([MemoryStore.head(self, key) for key in keys])


def load_store(path: Path, now: datetime) -> MemoryStore:
    """Return a copy, for this process alone, of the store in that file."""
    store = MemoryStore(lambda: now)
    store._objects = pickle.loads(path.read_bytes())
    return store


class KillingStore:
    """A store that kills the process right before operation number `at` (from 0), or right after it."""

    def __init__(self, inner: Store, *, at: int, after: bool) -> None:
        self._inner = inner
        self._at = at
        self._after = after
        self._count = itertools.count()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def operation(*arguments: Any, **named: Any) -> Any:
            kills = next(self._count) == self._at
            if kills and not self._after:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return method(*arguments, **named)
            finally:
                if kills:
                    os.kill(os.getpid(), signal.SIGKILL)

        return operation


def killed_at(step: int, act: Callable[[Store], object], store: Callable[[], Store], *, after: bool) -> bool:
    """Run `act` in a process that is killed at operation `step`; return whether it had that many operations."""
    return not exits_normally(lambda: act(cast("Store", KillingStore(store(), at=step, after=after))))


def exits_normally(act: Callable[[], object]) -> bool:
    """Run `act` in a process; return whether it ended without SIGKILL. Fails if it ended with an error."""
    status = os.waitstatus_to_exitcode(os.waitpid(fork(act), 0)[1])
    assert status in {0, -signal.SIGKILL}
    return status == 0


def fork(act: Callable[[], object]) -> int:
    """Run `act` in a new process; return its id. It exits with 1 after an error."""
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(0 if sys.exception() is None else 1)
    return child
