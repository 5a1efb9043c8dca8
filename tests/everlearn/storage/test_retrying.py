"""RetryingStore: operations succeed once an unreachable store answers again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from everlearn.cycle.workspace import Workspace
from everlearn.errors import ConflictError, NotFoundError, StoreDownError
from everlearn.storage.in_memory import MemoryStore
from everlearn.storage.retrying import RetryingStore
from tests.support.line import open_line, publish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OPERATIONS: dict[str, Callable[[Any, Path], Any]] = {
    "get": lambda store, _: store.get("a").data,
    "read": lambda store, _: b"".join(store.read("a")),
    "head": lambda store, _: store.head("a").size,
    "list": lambda store, _: [info.key for info in store.list()],
    "versions": lambda store, _: list(store.versions("a")),
    "now": lambda store, _: store.now() is not None,
    "create": lambda store, _: store.create("b", b"new"),
    "replace": lambda store, _: store.replace("a", b"new", etag=store.get("a").etag),
    "put": lambda store, _: store.put("a", b"new"),
    "upload": lambda store, path: store.upload("b", path),
    "touch": lambda store, _: store.touch("a"),
    "delete": lambda store, _: store.delete("a"),
    "abort_uploads": lambda store, _: store.abort_uploads("a", before=store.now()),
}


class UnreachableStore:
    """Fail the next `failures` calls, `after` the operation was carried out or instead of it."""

    def __init__(self, inner: MemoryStore, *, failures: int, after: bool = False) -> None:
        self._inner = inner
        self._after = after
        self.failures = failures

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(*given: Any, **named: Any) -> Any:
            if name == "read":
                return reading(*given, **named)
            if self.failures > 0:
                self.failures -= 1
                if self._after:
                    method(*given, **named)
                raise StoreDownError("no answer")
            return method(*given, **named)

        def reading(*given: Any, **named: Any) -> Any:
            if self.failures > 0:
                self.failures -= 1
                raise StoreDownError("no answer")
            yield from method(*given, **named)

        return call


@pytest.fixture
def filled() -> MemoryStore:
    store = MemoryStore()
    store.create("a", b"stored bytes")
    return store


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_retried_until_it_succeeds(name: str, filled: MemoryStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a file")
    other = MemoryStore()
    other.create("a", b"stored bytes")
    pauses: list[float] = []
    retrying = RetryingStore(UnreachableStore(filled, failures=3), sleep=pauses.append)
    assert OPERATIONS[name](retrying, tmp_path / "file") == OPERATIONS[name](other, tmp_path / "file")
    assert pauses == [1.0, 2.0, 4.0]
    assert {info.key: info.etag for info in filled.list()} == {info.key: info.etag for info in other.list()}


def test_retries_end_after_the_timeout(filled: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    pauses: list[float] = []
    retrying = RetryingStore(UnreachableStore(filled, failures=10**9), timeout_s=600, sleep=pauses.append)
    with caplog.at_level("WARNING"), pytest.raises(StoreDownError):
        retrying.get("a")
    assert 600 <= sum(pauses) < 631
    assert max(pauses) == 30
    assert "no answer; retry in 1 s, giving up after 10 min" in caplog.text


def test_an_answered_request_is_not_retried(filled: MemoryStore) -> None:
    retrying = RetryingStore(filled, sleep=lambda _: pytest.fail("slept"))
    with pytest.raises(NotFoundError):
        retrying.get("b")
    with pytest.raises(ConflictError):
        retrying.create("a", b"other")
    retrying.require_conformance()
    assert set(retrying.probe().values()) == {None}


def test_an_interrupted_read_resumes_at_its_offset(filled: MemoryStore) -> None:
    class InterruptedStore(MemoryStore):
        offsets: list[int] = []  # noqa: RUF012 - one test

        def read(self, key: str, *, start: int = 0) -> Iterator[bytes]:
            self.offsets.append(start)
            yield filled.get(key).data[start : start + 5]
            if len(self.offsets) < 3:
                raise StoreDownError("cut short")
            yield filled.get(key).data[start + 5 :]

    store = InterruptedStore()
    assert b"".join(RetryingStore(store, sleep=lambda _: None).read("a")) == b"stored bytes"
    assert store.offsets == [0, 5, 10]


def test_a_write_with_a_lost_response_happens_once() -> None:
    inner = MemoryStore()
    store = RetryingStore(UnreachableStore(inner, failures=0), sleep=lambda _: None)
    registry = open_line(store)
    for failures in range(1, 4):
        store._inner = UnreachableStore(inner, failures=failures, after=True)
        publish(registry, f"night {failures}")
        store._inner = UnreachableStore(inner, failures=failures, after=True)
        Workspace(store, "integration", "0" * 64, token=1).put("ladder", b"%d" % failures)
    state = open_line(inner).state()
    assert list(state.versions) == ["v0001", "v0002", "v0003"]
    assert len(state.history) == 3
    assert Workspace(inner, "integration", "0" * 64).get("ladder") == b"3"
