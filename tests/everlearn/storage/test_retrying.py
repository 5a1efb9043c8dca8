"""A store that is away for a while costs a night time, and nothing else."""

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

LOOKS: dict[str, Callable[[Any, Path], Any]] = {
    "get": lambda store, _: store.get("a").data,
    "read": lambda store, _: b"".join(store.read("a")),
    "head": lambda store, _: store.head("a").size,
    "list": lambda store, _: [each.key for each in store.list()],
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


class Away:
    """A store that does not answer the next `times` calls; `after` says that it did what it was told."""

    def __init__(self, inner: MemoryStore, *, times: int, after: bool = False) -> None:
        self._inner = inner
        self._after = after
        self.times = times

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)

        def call(*given: Any, **named: Any) -> Any:
            if name == "read":
                return reading(*given, **named)
            if self.times > 0:
                self.times -= 1
                if self._after:
                    found(*given, **named)
                raise StoreDownError("no answer")
            return found(*given, **named)

        def reading(*given: Any, **named: Any) -> Any:
            if self.times > 0:
                self.times -= 1
                raise StoreDownError("no answer")
            yield from found(*given, **named)

        return call


@pytest.fixture
def full() -> MemoryStore:
    store = MemoryStore()
    store.create("a", b"what is there")
    return store


@pytest.mark.parametrize("name", LOOKS)
def test_every_operation_waits_and_then_does_the_same(name: str, full: MemoryStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a file")
    other = MemoryStore()
    other.create("a", b"what is there")
    pauses: list[float] = []
    patient = RetryingStore(Away(full, times=3), sleep=pauses.append)
    assert LOOKS[name](patient, tmp_path / "file") == LOOKS[name](other, tmp_path / "file")
    assert pauses == [1.0, 2.0, 4.0]
    assert {each.key: each.etag for each in full.list()} == {each.key: each.etag for each in other.list()}


def test_patience_has_an_end(full: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    pauses: list[float] = []
    patient = RetryingStore(Away(full, times=10**9), timeout_s=600, sleep=pauses.append)
    with caplog.at_level("WARNING"), pytest.raises(StoreDownError):
        patient.get("a")
    assert 600 <= sum(pauses) < 631
    assert max(pauses) == 30
    assert "no answer; retry in 1 s, giving up after 10 min" in caplog.text


def test_what_is_answered_is_not_asked_again(full: MemoryStore) -> None:
    patient = RetryingStore(full, sleep=lambda _: pytest.fail("it waited"))
    with pytest.raises(NotFoundError):
        patient.get("b")
    with pytest.raises(ConflictError):
        patient.create("a", b"other")
    patient.require_conformance()
    assert set(patient.probe().values()) == {None}


def test_bytes_that_were_cut_short_are_read_on_from_there(full: MemoryStore) -> None:
    class CutShort(MemoryStore):
        asked: list[int] = []  # noqa: RUF012 - one test

        def read(self, key: str, *, start: int = 0) -> Iterator[bytes]:
            self.asked.append(start)
            yield full.get(key).data[start : start + 5]
            if len(self.asked) < 3:
                raise StoreDownError("cut short")
            yield full.get(key).data[start + 5 :]

    store = CutShort()
    assert b"".join(RetryingStore(store, sleep=lambda _: None).read("a")) == b"what is there"
    assert store.asked == [0, 5, 10]


def test_a_write_whose_answer_was_lost_is_done_once() -> None:
    inner = MemoryStore()
    store = RetryingStore(Away(inner, times=0), sleep=lambda _: None)
    registry = open_line(store)
    for times in range(1, 4):
        store._inner = Away(inner, times=times, after=True)
        publish(registry, f"night {times}")
        store._inner = Away(inner, times=times, after=True)
        Workspace(store, "integration", "0" * 64, token=1).put("ladder", b"%d" % times)
    state = open_line(inner).state()
    assert list(state.versions) == ["v0001", "v0002", "v0003"]
    assert len(state.history) == 3
    assert Workspace(inner, "integration", "0" * 64).get("ladder") == b"3"
