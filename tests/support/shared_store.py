"""A store that processes share, so that one of them can be killed at any of its steps; and what kills it."""

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
OPERATIONS = WRITES | {"get", "read", "head", "list"}  # others are made of these


class SharedStore(MemoryStore):
    """A store in a file of its own. Each operation happens whole or not at all, whoever dies."""

    def __init__(self, path: Path, now: datetime) -> None:
        super().__init__(lambda: now)
        self._path = path

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if name not in OPERATIONS:
            return found

        def whole(*arguments: Any, **named: Any) -> Any:
            path: Path = object.__getattribute__(self, "_path")
            with path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._objects = pickle.loads(path.read_bytes()) if path.exists() else {}
                answer = found(*arguments, **named)
                if name in WRITES:
                    fresh = path.with_suffix(".new")
                    fresh.write_bytes(pickle.dumps(self._objects))
                    fresh.rename(path)
            return answer

        return whole

    def list(self, prefix: str = "") -> Iterator[Any]:
        """Everything whose key begins with `prefix`."""
        found = sorted(key for key in self._objects if key.startswith(prefix))
        return iter([MemoryStore.head(self, key) for key in found])


def load_store(path: Path, now: datetime) -> MemoryStore:
    """What those who worked on the store in that file have left, for this process alone."""
    found = MemoryStore(lambda: now)
    found._objects = pickle.loads(path.read_bytes())
    return found


class Steps:
    """A store whose operations are counted; the process dies right before number `at`, or right after it."""

    def __init__(self, inner: Store, *, at: int, after: bool) -> None:
        self._inner = inner
        self._at = at
        self._after = after
        self._count = itertools.count()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def step(*arguments: Any, **named: Any) -> Any:
            deadly = next(self._count) == self._at
            if deadly and not self._after:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return method(*arguments, **named)
            finally:
                if deadly:
                    os.kill(os.getpid(), signal.SIGKILL)

        return step


def killed_at(step: int, act: Callable[[Store], object], store: Callable[[], Store], *, after: bool) -> bool:
    """Let a process do it that is killed at that operation of the store; whether it had so many."""
    return not exits_normally(lambda: act(cast("Store", Steps(store(), at=step, after=after))))


def exits_normally(act: Callable[[], object]) -> bool:
    """Whether a process that does it ends by itself, and not by SIGKILL."""
    status = os.waitstatus_to_exitcode(os.waitpid(fork(act), 0)[1])
    assert status in {0, -signal.SIGKILL}
    return status == 0


def fork(act: Callable[[], object]) -> int:
    """The number of a process that does it and ends, with 1 after an error."""
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(0 if sys.exception() is None else 1)
    return child
