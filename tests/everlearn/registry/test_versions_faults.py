"""Random network faults: a reported success took effect once, and a repeated call completes."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from everlearn.errors import ConflictError, RegistryError, StoreDownError, StoreError
from everlearn.registry.maintenance.fsck import fsck
from everlearn.registry.versions import EventKind
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import LINE, VERIFIER, adapter, candidate, open_line
from tests.support.s3_fault_proxy import IMMEDIATE_FAULTS, Fault, Proxy, Request, disable_retry_backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from everlearn.registry.versions import Registry
    from everlearn.storage.s3 import S3Store
    from tests.conftest import S3Server

RATE = 0.12  # share of requests that fail
ATTEMPTS = 60
AT_HEAD = (
    Fault.CONFLICT,
    Fault.PRECONDITION,
    Fault.RESET_BEFORE,
    Fault.RESET_AFTER,
    Fault.CUT_HEADERS,
    Fault.GATEWAY,
    Fault.TWICE,
)
SEEDS = [pytest.param(seed, marks=() if seed < 1 else pytest.mark.slow) for seed in range(20)]


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    disable_retry_backoff(monkeypatch)


@pytest.fixture
def direct(s3_server: S3Server, bucket: str) -> S3Store:
    return s3_server.store(bucket)


@pytest.fixture(params=SEEDS)
def weather(request: pytest.FixtureRequest, proxy: Proxy) -> Iterator[random.Random]:
    """Inject random faults, reproducible by seed."""
    chance = random.Random(request.param)

    def choose(_: Request) -> Fault | None:
        return chance.choice(IMMEDIATE_FAULTS) if chance.random() < RATE else None

    proxy.choose = choose
    yield chance
    proxy.choose = lambda _: None
    proxy.requests.clear()


def until_done(store: S3Store, act: Callable[[Registry], None]) -> int:
    """Repeat an action after store errors as a user would; return the number of failures."""
    line = open_line(store)
    for failed in range(ATTEMPTS):
        try:
            act(line)
        except StoreError:
            if failed % 2:
                line = open_line(store)  # as a new process, every other time
        else:
            return failed
    raise AssertionError(f"not done after {ATTEMPTS} attempts")


def publishing(name: str, *, parent: str | None) -> Callable[[Registry], None]:
    def act(line: Registry) -> None:
        manifest = candidate(line, name, parent=parent)
        line.publish(manifest, make_champion=True, actor="night", reason="better")

    return act


def rolling_back(to: str, *, left: str) -> Callable[[Registry], None]:
    """After an error, check the history before repeating, as the message advises."""

    def act(line: Registry) -> None:
        if line.state().champion == left:
            line.rollback(to, reason="worse", actor="ada", keep=True)

    return act


def promoting(version: str) -> Callable[[Registry], None]:
    return lambda line: void(line.promote(version, reason="after all", actor="ada"))


def void(_: object) -> None:
    """Lose the response of a committed write."""


def test_operations_take_effect_once_despite_faults(
    weather: random.Random, proxied_store: S3Store, direct: S3Store, tmp_path: Path
) -> None:
    steps: list[tuple[EventKind, Callable[[Registry], None]]] = [
        (EventKind.PUBLISHED, publishing("one", parent=None)),
        (EventKind.PUBLISHED, publishing("two", parent="v0001")),
        (EventKind.ROLLED_BACK, rolling_back("v0001", left="v0002")),
        (EventKind.PROMOTED, promoting("v0002")),
        (EventKind.PUBLISHED, publishing("three", parent="v0002")),
        (EventKind.ROLLED_BACK, rolling_back("v0002", left="v0003")),
    ]
    for number, (kind, act) in enumerate(steps, start=1):
        until_done(proxied_store, act)
        history = open_line(direct).state().history
        assert [event.kind for event in history] == [kind for kind, _ in steps[:number]], kind
    to = tmp_path / "adapter"
    until_done(proxied_store, lambda line: void(line.pull("champion", to=to)))
    assert (to / "adapter_model.safetensors").read_bytes() == adapter("two")
    findings = fsck(direct, LINE, verifier=VERIFIER)
    assert findings.is_clean
    assert len(findings.trail) == len(steps)


def test_fault_at_the_move_of_head_never_publishes_twice(proxy: Proxy, proxied_store: S3Store, direct: S3Store) -> None:
    line = open_line(proxied_store)
    publishing("one", parent=None)(line)
    for number, fault in enumerate(AT_HEAD, start=2):
        with proxy.faults(fault, on=lambda request: request.method == "PUT" and request.path.endswith("/HEAD")):
            publishing(fault.name, parent=f"v{number - 1:04d}")(line)
        state = open_line(direct).state()
        assert state.champion == f"v{number:04d}"
        assert [event.sequence for event in state.history] == [*range(1, number + 1)]
    assert fsck(direct, LINE, verifier=VERIFIER).is_clean


@pytest.mark.parametrize("fault", [pytest.param(Fault.SILENT, marks=pytest.mark.slow), Fault.LATE])
def test_late_move_of_head_counts_once(fault: Fault, proxy: Proxy, bucket: str, direct: S3Store) -> None:
    publishing("one", parent=None)(open_line(direct))
    hasty = proxy.store(bucket, timeout_s=1.0)
    with proxy.faults(fault, on=lambda request: request.method == "PUT" and request.path.endswith("/HEAD")) as seen:
        until_done(hasty, publishing("two", parent="v0001"))
    assert sum(request.method == "PUT" and request.path.endswith("/HEAD") for request in seen) >= 1
    assert [event.sequence for event in open_line(direct).state().history] == [1, 2]
    assert fsck(direct, LINE, verifier=VERIFIER).is_clean


def test_two_concurrent_writers_succeed_despite_faults(
    proxy: Proxy, proxied_store: S3Store, direct: S3Store, bucket: str
) -> None:
    publishing("one", parent=None)(open_line(direct))
    manifest = candidate(open_line(direct), "two", parent="v0001")
    seen: list[str] = []

    def meanwhile(request: Request) -> bool:
        """Let another writer move HEAD first."""
        if request.method == "PUT" and request.path.endswith("/HEAD") and not seen:
            seen.append("moved")
            open_line(direct).rollback(reason="worse", actor="ada", keep=True)
            return True
        return False

    with proxy.faults(Fault.RESET_AFTER, on=meanwhile):
        open_line(proxied_store).publish(manifest, make_champion=False, actor="night", reason="better")
    state = open_line(direct).state()
    assert [event.kind for event in state.history] == [EventKind.PUBLISHED, EventKind.ROLLED_BACK, EventKind.PUBLISHED]
    assert state.champion is None
    with pytest.raises(RegistryError, match="nothing to roll back"):
        open_line(proxied_store).rollback(reason="again", actor="ada")


class Vanishing(MemoryStore):
    """Report a conflict for an object that is then removed, a given number of times."""

    times = 1

    def create(self, key: str, data: bytes) -> str:
        if self.times:
            self.times -= 1
            raise ConflictError(f"{key} exists already")
        return super().create(key, data)


def test_object_removed_during_an_upload_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"weights")
    line = open_line(Vanishing())
    assert line.get_object(line.put_object(b"weights")) == b"weights"
    line = open_line(Vanishing())
    assert line.get_object(line.put_file(path)) == b"weights"


def test_inconsistent_store_is_not_reported_as_damage() -> None:
    store = Vanishing()
    store.times = 3
    with pytest.raises(StoreDownError, match="is reported as existing, and cannot be read"):
        open_line(store).put_object(b"weights")
