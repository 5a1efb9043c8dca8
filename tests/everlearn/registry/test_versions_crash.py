"""A fault at any write: readers see the old or the new champion whole, and a repeated call completes."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

import pytest

from everlearn.errors import ConflictError, IntegrityError, RegistryError, StoreDownError
from everlearn.registry import event_log
from everlearn.registry.maintenance.fsck import fsck
from everlearn.registry.versions import EventKind, Registry
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import FAULTS, LINE, VERIFIER, Fault, Faulty, Killed, adapter, candidate, open_line, publish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


ENOUGH = 12  # more writes than any of these actions needs


@pytest.fixture(autouse=True)
def _snapshot_at_the_next_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "SNAPSHOT_EVERY", 3)


def line_of_two() -> MemoryStore:
    store = MemoryStore()
    line = open_line(store)
    publish(line, "one")
    publish(line, "two")
    return store


def publish_one(line: Registry) -> None:
    publish(line, "one")


def publish_three(line: Registry) -> None:
    manifest = candidate(line, "three", parent="v0002")
    line.publish(manifest, make_champion=True, actor="night", reason="better")


def promote_one(line: Registry) -> None:
    line.promote("v0001", reason="better", actor="ada")


def reject(line: Registry) -> None:
    line.record(EventKind.REJECTED, cycle_key="k", reason="worse", actor="night", detail={})


def roll_back_once(line: Registry) -> None:
    """Roll back as a user who repeats the command would: it is done once v0002 is left."""
    if line.state().champion == "v0002":
        line.rollback(reason="worse", actor="ada")


def run(action: Callable[[Registry], None], store: MemoryStore, *, at: int, fault: Fault) -> int:
    """Run an action with one fault; return the number of writes."""
    faulty = Faulty(store, at=at, fault=fault)
    with contextlib.suppress(Killed, StoreDownError):
        action(open_line(faulty))
    return faulty.writes


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("action", "champion"),
    [(publish_three, "v0003"), (promote_one, "v0001"), (roll_back_once, "v0001"), (reject, "v0002")],
)
def test_fault_at_any_write_leaves_one_whole_champion(
    action: Callable[[Registry], None], champion: str, fault: Fault, tmp_path: Path
) -> None:
    names = {"v0001": "one", "v0002": "two", "v0003": "three"}
    for at in itertools.count():
        store = line_of_two()
        writes = run(action, store, at=at, fault=fault)
        seen = open_line(store).state().champion
        assert seen in {"v0002", champion}
        assert fsck(store, LINE, verifier=VERIFIER).is_clean
        there = open_line(store).pull("champion", to=tmp_path / str(at))
        assert (there / "adapter_model.safetensors").read_bytes() == adapter(names[str(seen)])
        action(open_line(store))
        state = open_line(store).state()
        assert fsck(store, LINE, verifier=VERIFIER).is_clean
        assert (state.champion, state.sequence) == (champion, 3)
        if writes <= at:
            break
    assert 2 <= at < ENOUGH


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_in_the_first_night_leaves_no_partial_line(fault: Fault) -> None:
    for at in itertools.count():
        store = MemoryStore()
        writes = run(publish_one, store, at=at, fault=fault)
        assert open_line(store).state().champion in {None, "v0001"}
        manifest = candidate(open_line(store), "one")
        open_line(store).publish(manifest, make_champion=True, actor="night", reason="better")
        assert open_line(store).state().sequence == 1
        if writes <= at:
            break
    assert 4 <= at < ENOUGH


def test_lost_answer_does_not_cause_a_second_event() -> None:
    """Cut the connection after the server has committed HEAD: the same call continues and succeeds."""
    store = line_of_two()
    faulty = Faulty(store, at=2, fault="down after")  # write 2 is HEAD, after the snapshot and the event
    done = open_line(faulty).rollback(reason="worse", actor="ada")
    assert (done.left, done.to, done.barred) == ("v0002", "v0001", True)
    assert open_line(store).state().sequence == 3


def test_unmovable_head_raises_the_error_of_the_store() -> None:
    class NoHead(MemoryStore):
        def replace(self, key: str, data: bytes, *, etag: str) -> str:
            if key.endswith("HEAD"):
                raise StoreDownError("no answer")
            return super().replace(key, data, etag=etag)

    store = NoHead()
    line = open_line(store)
    publish(line, "one")
    with pytest.raises(StoreDownError, match="no answer"):
        publish_two(line)
    assert open_line(store).state().champion == "v0001"


def publish_two(line: Registry) -> None:
    manifest = candidate(line, "two", parent="v0001")
    line.publish(manifest, make_champion=True, actor="night", reason="better")


def test_endless_lost_races_end_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unlucky(MemoryStore):
        def create(self, key: str, data: bytes) -> str:
            if key.endswith("HEAD"):
                raise ConflictError("another writer")
            return super().create(key, data)

    monkeypatch.setattr(event_log, "ATTEMPTS", 3)
    with pytest.raises(ConflictError, match="lost 3 races in a row; run the same command again"):
        publish(open_line(Unlucky()), "one")


def test_wrong_bytes_under_a_digest_are_never_accepted() -> None:
    store = MemoryStore()
    line = open_line(store)
    ref = line.put_object(b"right")
    key = f"integration/objects/sha256/{ref.digest}"
    for wrong in (b"wrong", b"longer than right"):
        store.put(key, wrong)
        with pytest.raises(IntegrityError, match="is damaged"):
            line.put_object(b"right")


def test_rollback_of_another_process_is_not_taken_for_ours() -> None:
    store = line_of_two()
    line = open_line(store)
    done = line.rollback(reason="worse", actor="ada")
    assert done.event == line.state().history[-1]
    with pytest.raises(RegistryError, match="v0001 is the champion already"):
        open_line(store).rollback("v0001", reason="worse", actor="bob")
