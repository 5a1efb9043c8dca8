"""SIGKILL around every store operation and at random moments: one whole champion, nothing lost or repeated."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import time
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest

from everlearn.registry import event_log
from everlearn.registry.maintenance.fsck import fsck
from everlearn.registry.maintenance.gc import collect
from everlearn.registry.maintenance.gc_plan import plan_collection
from everlearn.settings import RetentionSettings
from tests.support.line import LINE, VERIFIER, WHEN, adapter, candidate, open_line, publish
from tests.support.shared_store import SharedStore, exits_normally, fork, killed_at, load_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from everlearn.storage.protocol import Store
    from tests.conftest import S3Server

LATER = timedelta(days=90)  # later than every heartbeat and retention age
RETENTION = RetentionSettings(versions=0)
NAMES = {"v0001": "one", "v0002": "two", "v0003": "unwanted", "v0004": "four"}


@pytest.fixture(autouse=True)
def _snapshot_at_every_third_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "SNAPSHOT_EVERY", 3)


def fill(store: Store) -> None:
    """Publish two champions and a version that never was one, and leave an unpublished upload."""
    line = open_line(store)
    publish(line, "one")
    publish(line, "two")
    publish(line, "unwanted", champion=False)
    line.put_object(b"forgotten")


def publish_four(store: Store) -> None:
    line = open_line(store)
    manifest = candidate(line, "four", parent="v0002", report=True)
    line.publish(manifest, make_champion=True, actor="night", reason="better")


def promote_one(store: Store) -> None:
    open_line(store).promote("v0001", reason="better", actor="ada")


def roll_back(store: Store) -> None:
    line = open_line(store)
    if line.state().champion == "v0002":
        line.rollback(reason="worse", actor="ada")


def pull(store: Store, to: Path) -> None:
    open_line(store).pull("champion", to=to)


def gather(store: Store) -> None:
    collect(open_line(store), RETENTION, actor="ada", wait=lambda _: None)


def sound(store: Store, *, champions: set[str], to: Path) -> None:
    """Assert that a reader gets one of these champions whole, and that fsck is clean."""
    champion = open_line(store).state().champion
    assert champion in champions
    pulled = open_line(store).pull("champion", to=to)
    assert (pulled / "adapter_model.safetensors").read_bytes() == adapter(NAMES[str(champion)])
    assert fsck(store, LINE, verifier=VERIFIER).is_clean


ACTIONS = [
    (publish_four, "v0004", 4),
    (promote_one, "v0001", 4),
    (roll_back, "v0001", 4),
    pytest.param(gather, "v0002", 4, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("action", "champion", "events"), ACTIONS)
def test_killed_at_any_operation_a_rerun_completes(
    action: Callable[[Store], None], champion: str, events: int, tmp_path: Path, *, after: bool
) -> None:
    fill(SharedStore(tmp_path / "begin", WHEN))
    for step in itertools.count():
        path = tmp_path / "now"
        shutil.copy(tmp_path / "begin", path)
        killed = killed_at(step, action, partial(SharedStore, path, WHEN + LATER), after=after)
        store = load_store(path, WHEN + 2 * LATER)
        sound(store, champions={"v0002", champion}, to=tmp_path / "adapter")
        action(store)
        sound(store, champions={champion}, to=tmp_path / "adapter")
        assert open_line(store).state().sequence == events
        assert not list(store.list(f"{LINE}/gc/"))
        assert action is not gather or plan_collection(open_line(store), RETENTION).is_empty
        if not killed:
            break
        shutil.rmtree(tmp_path / "adapter")
    assert step >= 5


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_pull_delivers_all_or_nothing(tmp_path: Path, *, after: bool) -> None:
    fill(SharedStore(tmp_path / "line", WHEN))
    for step in itertools.count():
        to = tmp_path / f"adapter{step}"
        killed = killed_at(step, partial(pull, to=to), partial(SharedStore, tmp_path / "line", WHEN), after=after)
        assert to.exists() != killed
        sound(SharedStore(tmp_path / "line", WHEN), champions={"v0002"}, to=to)
        if not killed:
            break
    assert step >= 5


def test_only_leftovers_of_killed_publishers_are_collected(tmp_path: Path) -> None:
    store = SharedStore(tmp_path / "line", WHEN)
    fill(store)
    assert killed_at(8, publish_four, lambda: store, after=True)
    kept = {
        f"{LINE}/objects/sha256/{ref.digest}"
        for v in ("v0001", "v0002")
        for ref in open_line(store).manifest(v).references()
    }
    late = SharedStore(tmp_path / "line", WHEN + LATER)
    gather(late)
    kept |= {f"{LINE}/objects/sha256/{event.snapshot}" for event in open_line(late).state().history if event.snapshot}
    assert {info.key for info in late.list(f"{LINE}/objects/")} == kept
    assert not list(late.list(f"{LINE}/publishers/"))


def test_killed_around_publishing_on_a_real_server(s3_server: S3Server, bucket: str, tmp_path: Path) -> None:
    fill(s3_server.store(bucket))
    chosen = [(13, True), (22, False), (31, True)]
    open_bucket = partial(s3_server.store, bucket)
    assert [True for step, after in chosen if killed_at(step, publish_four, open_bucket, after=after)]
    sound(s3_server.store(bucket), champions={"v0002", "v0004"}, to=tmp_path / "adapter")
    publish_four(s3_server.store(bucket))
    sound(s3_server.store(bucket), champions={"v0004"}, to=tmp_path / "adapter")
    assert open_line(s3_server.store(bucket)).state().sequence == 4


@pytest.mark.slow
@pytest.mark.parametrize("action", [publish_four, promote_one, roll_back])
def test_killed_at_any_operation_on_a_real_server(
    s3_server: S3Server, tmp_path: Path, action: Callable[[Store], None]
) -> None:
    for step in itertools.count():
        bucket = s3_server.create_bucket()
        fill(s3_server.store(bucket))
        killed = killed_at(step, action, partial(s3_server.store, bucket), after=True)
        sound(s3_server.store(bucket), champions={"v0001", "v0002", "v0004"}, to=tmp_path / str(step))
        action(s3_server.store(bucket))
        assert open_line(s3_server.store(bucket)).state().sequence == 4
        if not killed:
            break


@pytest.mark.slow
def test_killed_at_200_random_moments_on_a_real_server(s3_server: S3Server, tmp_path: Path) -> None:
    bucket = s3_server.create_bucket()
    chance = random.Random(7)
    fill(s3_server.store(bucket))

    def work(number: int) -> None:
        line = open_line(s3_server.store(bucket))
        publish(line, f"random {number}")
        line.rollback(reason="worse", actor="ada", keep=True)
        line.promote("v0001" if number % 2 else "v0002", reason="better", actor="ada")

    begun = time.monotonic()
    assert exits_normally(partial(work, 0))
    whole = time.monotonic() - begun
    for number in range(1, 201):
        before = [event.digest for event in open_line(s3_server.store(bucket)).state().history]
        child = fork(partial(work, number))
        time.sleep(chance.uniform(0, whole))  # the random moment is under test
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        line = open_line(s3_server.store(bucket))
        assert [event.digest for event in line.state().history][: len(before)] == before
        assert line.state().sequence - len(before) <= 3
        if line.state().champion:
            line.pull("champion", to=tmp_path / "adapter")
    assert fsck(s3_server.store(bucket), LINE, verifier=VERIFIER).is_clean
    state = open_line(s3_server.store(bucket)).state()
    assert len(state.cycles) == len(state.versions), "no cycle twice"
