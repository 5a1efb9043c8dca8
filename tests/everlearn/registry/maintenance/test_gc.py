"""A collection removes what is unreferenced, and nothing that a version or a running publication may need."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from everlearn.cycle.inputs import CycleInputs
from everlearn.cycle.lease import Lease
from everlearn.cycle.record import OpenCycle, close_cycle, open_cycle
from everlearn.cycle.workspace import Workspace
from everlearn.errors import IntegrityError, RegistryError, SettingsError, StaleParentError
from everlearn.registry import event_log
from everlearn.registry.maintenance.fsck import fsck
from everlearn.registry.maintenance.gc import Collected, collect
from everlearn.registry.maintenance.gc_plan import plan_collection
from everlearn.registry.publisher_heartbeat import CollectionMark, mark_key
from everlearn.registry.versions import EventKind
from everlearn.settings import RetentionSettings, Settings, load
from everlearn.storage.immutable_objects import object_key
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import LINE, VERIFIER, ManualClock, candidate, open_line, publish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from everlearn.registry.versions import Registry

RETENTION = RetentionSettings(versions=1, work_days=30)
DAY = timedelta(days=1)
INPUTS = CycleInputs(data_digest="d", config_digest="c", parent=None, base_fingerprint="b", code_version="1")


@pytest.fixture
def time() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(time: ManualClock) -> MemoryStore:
    return MemoryStore(time)


@pytest.fixture
def line(store: MemoryStore) -> Registry:
    return open_line(store)


def run(line: Registry, time: ManualClock, *, meanwhile: Callable[[], object] = lambda: None) -> Collected:
    def wait(seconds: float) -> None:
        time.wait(seconds)
        meanwhile()

    return collect(line, RETENTION, actor="ada", wait=wait)


def objects(store: MemoryStore) -> int:
    return len(list(store.list(f"{LINE}/objects/")))


def test_old_unreferenced_objects_are_removed(store: MemoryStore, line: Registry, time: ManualClock) -> None:
    publish(line, "one")
    line.put_object(b"forgotten")
    time.now += DAY / 2
    assert plan_collection(line, RETENTION).is_empty
    time.now += DAY
    planned = plan_collection(line, RETENTION)
    assert [item.why for item in planned.items if "/objects/" in item.key] == [
        "neither a version nor an event names it"
    ]
    assert planned.size == len(b"forgotten")
    done = run(line, time)
    assert (done.size, done.retired) == (len(b"forgotten"), ())
    assert objects(store) == 2
    assert plan_collection(line, RETENTION).is_empty


def test_old_versions_that_were_never_champion_are_retired(
    store: MemoryStore, line: Registry, time: ManualClock, tmp_path: Path
) -> None:
    publish(line, "one")
    for name in ("two", "three"):
        publish(line, name, champion=False)
    heir = candidate(line, "heir", parent="v0002")
    time.now += 2 * DAY
    assert plan_collection(line, RETENTION).retiring == ("v0002",)
    assert run(line, time).retired == ("v0002",)
    assert line.state().history[-1].kind is EventKind.RETIRED
    assert [name for name, entry in line.state().versions.items() if entry.retired] == ["v0002"]
    assert run(line, time).retired == ()
    with pytest.raises(RegistryError, match="v0002 is retired"):
        line.pull("v0002", to=tmp_path / "a")
    with pytest.raises(RegistryError, match="v0002 is retired"):
        line.promote("v0002", reason="r", actor="ada")
    with pytest.raises(StaleParentError, match="v0002, which was retired since"):
        line.publish(heir, make_champion=False, actor="night", reason="better")
    line.promote("v0003", reason="r", actor="ada")
    assert fsck(store, LINE, verifier=VERIFIER).is_clean


def test_nothing_is_removed_during_a_publication(store: MemoryStore, line: Registry, time: ManualClock) -> None:
    publish(line, "one")
    line.put_object(b"forgotten")
    time.now += 2 * DAY
    other = open_line(store)
    other.put_object(b"new")
    assert plan_collection(line, RETENTION).busy
    with pytest.raises(RegistryError, match="a publication is running"):
        run(line, time)
    time.now += DAY
    with pytest.raises(RegistryError, match="a publication is running"):
        run(line, time, meanwhile=lambda: open_line(store).put_object(b"newer"))
    assert objects(store) == 5
    assert not list(store.list(f"{LINE}/gc/")), "the mark is deleted with the refusal"


def test_object_used_again_during_a_collection_stays(store: MemoryStore, line: Registry, time: ManualClock) -> None:
    publish(line, "one")
    line.put_object(b"forgotten")
    time.now += 2 * DAY

    def use() -> None:
        other = open_line(store)
        other.put_object(b"forgotten")
        other._heartbeat.end()

    assert not [key for key in run(line, time, meanwhile=use).removed if "/objects/" in key]
    assert objects(store) == 3


def test_uploads_of_an_open_cycle_stay(store: MemoryStore, line: Registry, time: ManualClock) -> None:
    publish(line, "one")
    cycle = open_cycle(store, LINE, INPUTS)
    time.now += timedelta(hours=1)
    line.put_object(b"of the open cycle")
    time.now += 400 * DAY
    assert run(line, time).removed == ()
    close_cycle(store, cycle, end=None)
    assert len([key for key in run(line, time).removed if "/objects/" in key]) == 1


def work_of(store: MemoryStore, key: str) -> None:
    token = Lease(store, LINE).acquire()
    Workspace(store, LINE, key, token=token).put("ladder", key.encode())


def test_work_of_old_cycles_without_a_version_is_removed(store: MemoryStore, line: Registry, time: ManualClock) -> None:
    publish(line, "one")
    kept = line.state().versions["v0001"].cycle_key
    work_of(store, kept)
    work_of(store, "0" * 64)
    opened = open_cycle(store, LINE, INPUTS)
    work_of(store, opened.key)
    Lease(store, LINE).acquire()
    time.now += 40 * DAY
    assert run(line, time).removed == ()
    close_cycle(store, opened, end=None)
    removed = run(line, time).removed
    assert removed[0].endswith("/index.json")
    assert {key.split("/")[2] for key in removed} == {"0" * 64, opened.key}
    assert Workspace(store, LINE, kept).get("ladder") == kept.encode()


def test_work_stays_while_a_cycle_runs(store: MemoryStore, line: Registry, time: ManualClock) -> None:
    publish(line, "one")
    work_of(store, "0" * 64)
    lease = Lease(store, LINE)
    lease.acquire()
    data = store.get(f"{LINE}/work/lease.json").data.replace(b'"host":"', b'"host":"other-')
    store.put(f"{LINE}/work/lease.json", data)
    time.now += 40 * DAY
    assert run(line, time).removed == ()
    store.delete(f"{LINE}/work/lease.json")
    opened: list[OpenCycle] = []

    def begin() -> None:
        opened.append(open_cycle(store, LINE, INPUTS))

    assert run(line, time, meanwhile=begin).removed == ()
    close_cycle(store, opened[0], end=None)
    assert len(run(line, time).removed) == 2


def test_object_that_vanishes_during_planning_is_ignored(
    store: MemoryStore, line: Registry, time: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(line, "one")
    key = object_key(LINE, line.put_object(b"forgotten").digest)
    time.now += 2 * DAY
    read = store.read

    def too_late(wanted: str, *, start: int = 0) -> Iterator[bytes]:
        store.delete(key)
        return read(wanted, start=start)

    monkeypatch.setattr(store, "read", too_late)
    assert [item.key for item in plan_collection(line, RETENTION).items if "/objects/" in item.key] == []


def test_nothing_is_removed_with_an_older_head(store: MemoryStore, line: Registry, time: ManualClock) -> None:
    publish(line, "one")
    old = store.get(f"{LINE}/HEAD").data
    publish(line, "two")
    publish(line, "three")
    store.put(f"{LINE}/HEAD", old)
    time.now += 2 * DAY
    with pytest.raises(IntegrityError, match=r"HEAD is not the newest: event 2 was committed"):
        plan_collection(open_line(store), RETENTION)


def test_snapshot_of_a_pending_event_stays(
    store: MemoryStore, line: Registry, time: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "SNAPSHOT_EVERY", 2)
    publish(line, "one")
    monkeypatch.setattr(line._log, "_move", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        publish(line, "two")
    time.now += 2 * DAY
    before = objects(store)
    assert len([key for key in run(open_line(store), time).removed if "/objects/" in key]) == 1
    assert objects(store) == before - 1
    publish(open_line(store), "two")
    assert fsck(store, LINE, verifier=VERIFIER).is_clean


def test_one_collection_at_a_time(store: MemoryStore, line: Registry, time: ManualClock) -> None:
    publish(line, "one")
    line.put_object(b"forgotten")
    time.now += 2 * DAY
    with pytest.raises(RegistryError, match="another `everlearn gc` is running"):
        run(line, time, meanwhile=lambda: run(open_line(store), time))
    store.put(mark_key(LINE), CollectionMark(stage="marked", until=time.now, keys=()).to_bytes())
    with pytest.raises(RegistryError, match="another `everlearn gc` has taken over"):
        run(line, time, meanwhile=lambda: store.put(mark_key(LINE), b"{}"))
    assert objects(store) == 3
    with pytest.raises(IntegrityError, match="is not the mark of a collection"):
        run(line, time)


def test_file_and_bytes_give_the_same_reference(store: MemoryStore, line: Registry, tmp_path: Path) -> None:
    path = tmp_path / "adapter"
    path.write_bytes(b"large")
    sent: list[int] = []
    assert line.put_file(path, progress=sent.append) == line.put_file(path) == line.put_object(b"large")
    assert sent == [5]


def test_version_is_retired_once(store: MemoryStore, line: Registry) -> None:
    publish(line, "one")
    publish(line, "two", champion=False)
    answers = iter([("v0002",), ()])
    assert line.retire(lambda _: next(answers), reason="r", actor="ada") == ()
    assert line.state().sequence == 2


def test_retention_defaults_are_in_params_and_safe(tmp_path: Path) -> None:
    assert RetentionSettings() == Settings().retention == load(environ={}).retention
    with pytest.raises(SettingsError, match="at least twice lease_seconds"):
        load(tmp_path / "none", environ={"EVERLEARN_RETENTION__MINIMUM_AGE_HOURS": "0.1"})


def test_no_version_is_retired_while_a_night_is_open_that_may_compare_with_it(
    store: MemoryStore, line: Registry, time: ManualClock, tmp_path: Path
) -> None:
    publish(line, "one", champion=False)
    publish(line, "two")
    time.now += 2 * DAY
    cycle = open_cycle(store, LINE, INPUTS)
    assert run(line, time).retired == ()
    line.pull("v0001", to=tmp_path / "adapter")
    close_cycle(store, cycle, end=None)
    assert run(line, time).retired == ("v0001",)
