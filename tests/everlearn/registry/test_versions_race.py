"""Concurrent publishers: one winner a round, one chain, nothing lost or repeated."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from everlearn.errors import StaleParentError
from everlearn.registry.versions import EventKind
from everlearn.storage.in_memory import MemoryStore
from everlearn.storage.s3 import S3Store
from tests.support.line import candidate, open_line, publish

if TYPE_CHECKING:
    from everlearn.storage.protocol import Store
    from tests.conftest import S3Server

WRITERS = 6


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest) -> Store:
    opened: Store = MemoryStore() if request.param == "memory" else request.getfixturevalue("s3_store")
    return opened


def test_one_of_many_publishers_becomes_champion_each_round(store: Store) -> None:
    rounds = 4
    for number in range(rounds):
        parent = open_line(store).state().champion
        start = threading.Barrier(WRITERS)

        def compete(
            writer: int, number: int = number, parent: str | None = parent, start: threading.Barrier = start
        ) -> str | None:
            line = open_line(store)
            manifest = candidate(line, f"{number} by {writer}", parent=parent)
            start.wait()
            try:
                return line.publish(manifest, make_champion=True, actor=str(writer), reason="better").version
            except StaleParentError:
                return None

        with ThreadPoolExecutor(WRITERS) as pool:
            won = [version for version in pool.map(compete, range(WRITERS)) if version]
        assert won == [open_line(store).state().champion]
    state = open_line(store).state()
    assert [event.kind for event in state.history] == [EventKind.PUBLISHED] * rounds


def test_concurrent_publishers_get_distinct_versions(store: Store) -> None:
    start = threading.Barrier(WRITERS)

    def compete(writer: int) -> list[str]:
        start.wait()
        line = open_line(store)
        return [publish(line, f"{writer}-{number}", champion=False) for number in range(3)]

    with ThreadPoolExecutor(WRITERS) as pool:
        versions = [version for got in pool.map(compete, range(WRITERS)) for version in got]
    state = open_line(store).state()
    assert sorted(versions) == list(state.versions)
    assert state.sequence == WRITERS * 3


def publish_some(endpoint_url: str, bucket: str, keys: tuple[str, str], writer: int) -> None:
    line = open_line(S3Store(bucket, endpoint_url=endpoint_url, keys=keys))
    for number in range(3):
        publish(line, f"{writer}-{number}", champion=False)


def test_processes_share_one_line_on_a_real_server(s3_server: S3Server, bucket: str) -> None:
    keys = (s3_server.access_key, s3_server.secret_key)
    spawn = multiprocessing.get_context("spawn")
    writers = [
        spawn.Process(target=publish_some, args=(s3_server.endpoint_url, bucket, keys, writer)) for writer in range(3)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    state = open_line(s3_server.store(bucket)).state()
    assert len(state.cycles) == len(state.versions) == state.sequence == 9
