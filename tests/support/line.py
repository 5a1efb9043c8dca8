"""A line for tests: a ticking clock, candidates, keys, and a store that fails at a chosen write."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.numpy import save

from everlearn.canonical_json import digest_of
from everlearn.errors import StoreDownError
from everlearn.registry.signing import Ed25519Signer, Ed25519Verifier
from everlearn.registry.versions import EventKind, Manifest, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from everlearn.storage.protocol import Blob, ObjectInfo, Store

LINE = "integration"
BASE_MODEL = "b" * 64
SIGNER = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
VERIFIER = Ed25519Verifier([SIGNER.key])
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

T = TypeVar("T")
Fault = Literal["killed before", "killed after", "down before", "down after", "SIGKILL before", "SIGKILL after"]
FAULTS: tuple[Fault, ...] = ("killed before", "killed after", "down before", "down after")


class Clock:
    """A clock that advances one second with each reading."""

    def __init__(self) -> None:
        self._ticks = itertools.count()

    def __call__(self) -> datetime:
        return WHEN + timedelta(seconds=next(self._ticks))


class ManualClock:
    """A clock that advances only when a test moves it."""

    def __init__(self) -> None:
        self.now = WHEN

    def __call__(self) -> datetime:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def open_line(store: Store) -> Registry:
    """Return a registry as a new process would open it."""
    return Registry(store, LINE, clock=Clock(), signer=SIGNER, verifier=VERIFIER)


CONFIG = b'{"lora_alpha": 1, "peft_type": "LORA", "r": 1}'


def adapter(name: str, *, width: int = 32) -> bytes:
    """Return a valid adapter that depends on `name`: 8 bytes for each unit of width, and a short header."""
    numbers = np.frombuffer(hashlib.shake_256(name.encode()).digest(2 * width), dtype=np.uint8).astype(np.float32)
    pair = {"A": numbers[:width].reshape(1, width), "B": numbers[width:].reshape(width, 1)}
    return save({f"base_model.model.m.lora_{side}.weight": half for side, half in pair.items()})


def candidate(
    registry: Registry, name: str, *, parent: str | None = None, base: str = BASE_MODEL, report: bool = False
) -> Manifest:
    """Upload the objects of a candidate, and return its manifest."""
    files = {"adapter_model.safetensors": adapter(name), "adapter_config.json": CONFIG}
    return Manifest(
        files={each: registry.put_object(data) for each, data in files.items()},
        base_fingerprint=base,
        parent=parent,
        cycle_key=digest_of(f"cycle {name}".encode()),
        data_digest=digest_of(f"data {name}".encode()),
        config={"seed": 7},
        code_version="0.1.0",
        created=WHEN,
        metrics={"target_after": 0.8},
        decision={"outcome": "PASS"},
        report=registry.put_object(b"<html>") if report else None,
    )


def publish(registry: Registry, name: str, *, champion: bool = True, base: str = BASE_MODEL) -> str:
    """Publish a candidate whose parent is the champion, and return its version."""
    manifest = candidate(registry, name, parent=registry.state().champion, base=base)
    return registry.publish(manifest, make_champion=champion, actor="night", reason=f"{name} is better").version


def ends_of(registry: Registry) -> list[EventKind]:
    """Return how the nights of a line ended, in order: its history without what they changed about its suites."""
    return [event.kind for event in registry.state().history if event.kind is not EventKind.SUITE_CHANGED]


class Killed(BaseException):
    """Stands for the death of the process: no code catches it."""


class Faulty:
    """A store whose write number `at` (from 0) fails with `fault`; all others reach `inner`."""

    def __init__(self, inner: Store, *, at: int, fault: Fault) -> None:
        self.inner = inner
        self.writes = 0
        self._at = at
        self._fault = fault

    def get(self, key: str) -> Blob:
        return self.inner.get(key)

    def read(self, key: str, *, start: int = 0) -> Iterator[bytes]:
        return self.inner.read(key, start=start)

    def head(self, key: str) -> ObjectInfo:
        return self.inner.head(key)

    def create(self, key: str, data: bytes) -> str:
        return self._write(lambda: self.inner.create(key, data))

    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        return self._write(lambda: self.inner.replace(key, data, etag=etag))

    def put(self, key: str, data: bytes) -> str:
        return self._write(lambda: self.inner.put(key, data))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self.inner.list(prefix)

    def versions(self, key: str) -> Iterator[Blob]:
        return self.inner.versions(key)

    def delete(self, key: str) -> None:
        self.inner.delete(key)

    def upload(self, key: str, path: Path, *, progress: Callable[[int], None] = lambda _: None) -> str | None:
        return self._write(lambda: self.inner.upload(key, path, progress=progress))

    def now(self) -> datetime:
        return self.inner.now()

    def touch(self, key: str) -> None:
        self.inner.touch(key)

    def abort_uploads(self, prefix: str = "", *, before: datetime) -> int:
        return self.inner.abort_uploads(prefix, before=before)

    def probe(self) -> dict[str, str | None]:
        return self.inner.probe()

    def require_conformance(self) -> None:
        self.inner.require_conformance()

    def _write(self, write: Callable[[], T]) -> T:
        number, self.writes = self.writes, self.writes + 1
        if number != self._at:
            return write()
        if self._fault.endswith("after"):
            write()
        if self._fault.startswith("SIGKILL"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._fault.startswith("killed"):
            raise Killed
        raise StoreDownError("no answer")
