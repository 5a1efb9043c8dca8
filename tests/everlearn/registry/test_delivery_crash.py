"""SIGKILL at every step of a delivery and of a watch: at system calls that name a file, and at store reads."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import tracemalloc
from functools import partial
from typing import TYPE_CHECKING

import pytest

from everlearn.canonical_json import digest_of
from everlearn.registry.delivery import RECEIPT, Receipt
from everlearn.serving.follow import CURRENT, Follower
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import WHEN, adapter, candidate, open_line, publish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from everlearn.storage.s3 import S3Store

NAMES = {"open", "fcntl.flock", "ctypes.call_function", "ctypes.dlsym", "shutil.rmtree"}


def dies(act: Callable[[], object], *, step: int, within: Path) -> bool:
    """Run `act` in a process that is killed before step number `step`; return whether it reached that step."""
    child = os.fork()
    if child == 0:
        _kill_at(step, within=str(within))
        try:
            act()
        finally:
            os._exit(0 if sys.exception() is None else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, -signal.SIGKILL}
    return status != 0


def _kill_at(step: int, *, within: str) -> None:
    steps = itertools.count()

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        touches = event.startswith("os.") or event in NAMES
        if touches and (event.startswith(("ctypes", "fcntl")) or within in str(arguments)) and next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)


def whole(directory: Path) -> str | None:
    """Return the version in `directory` after checking all its files; None if there is no directory."""
    if not directory.exists():
        return None
    held = Receipt.of(directory)
    assert held is not None
    assert {path.name for path in directory.iterdir()} == {"adapter_model.safetensors", "adapter_config.json", RECEIPT}
    name = {"v0001": "one", "v0002": "two"}[held.version]
    assert (directory / "adapter_model.safetensors").read_bytes() == adapter(name)
    return held.version


def line_of(*names: str) -> MemoryStore:
    store = MemoryStore()
    for name in names:
        publish(open_line(store), name)
    return store


@pytest.mark.parametrize("before", [None, "v0001"])
def test_killed_pull_leaves_one_whole_version(tmp_path: Path, before: str | None) -> None:
    store = line_of("one", "two")
    seen: list[str | None] = []
    for step in itertools.count():
        to = tmp_path / str(step) / "adapter"
        if before:
            open_line(store).pull(before, to=to)
        killed = dies(partial(open_line(store).pull, "champion", to=to), step=step, within=tmp_path)
        seen.append(whole(to))
        open_line(store).pull("champion", to=to)
        assert whole(to) == "v0002"
        assert [path.name for path in to.parent.iterdir()] == ["adapter"]
        if not killed:
            break
    assert len(seen) > 20
    assert seen == sorted(seen, key=lambda version: version == "v0002"), "it changes once"
    assert set(seen) == {before, "v0002"}


def test_killed_watch_leaves_a_link_to_a_whole_version(tmp_path: Path) -> None:
    seen: list[str | None] = []
    for step in itertools.count():
        to = tmp_path / str(step)
        store = line_of("one")
        follow(store, to)
        publish(open_line(store), "two")
        killed = dies(partial(follow, store, to), step=step, within=tmp_path)
        seen.append(whole((to / CURRENT).resolve()))
        follow(store, to)
        assert whole((to / CURRENT).resolve()) == "v0002"
        assert whole(to / "v0001") == "v0001"
        assert {path.name for path in to.iterdir()} == {"v0001", "v0002", CURRENT, ".followed.json"}
        if not killed:
            break
    assert len(seen) > 20
    assert set(seen) == {"v0001", "v0002"}


def follow(store: MemoryStore, to: Path) -> None:
    Follower(open_line(store), to, now=lambda: WHEN).step()


def test_large_version_is_streamed(s3_store: S3Store, tmp_path: Path) -> None:
    line = open_line(s3_store)
    large = adapter("large", width=6 << 20)
    manifest = candidate(line, "large")
    manifest.files["adapter_model.safetensors"] = line.put_object(large)
    line.publish(manifest, make_champion=True, actor="night", reason="larger")
    tracemalloc.start()
    to = open_line(s3_store).pull("champion", to=tmp_path / "adapter")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(large) / 4
    assert digest_of((to / "adapter_model.safetensors").read_bytes()) == digest_of(large)
