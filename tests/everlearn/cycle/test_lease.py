from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.canonical_json import canonical
from everlearn.cycle.lease import Holder, Lease, is_held, last_renewal
from everlearn.errors import CycleBusyError, IntegrityError, StoreDownError
from everlearn.local.process import wait_until
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import LINE, WHEN

if TYPE_CHECKING:
    from everlearn.storage.protocol import Blob

HERE = Holder.this_process()
ELSEWHERE = replace(HERE, host="another-machine")
GONE = replace(HERE, began=0)  # a process id that another process has now


class Watch:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now: datetime = WHEN

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def lease(store: MemoryStore, watch: Watch, *, holder: Holder = HERE) -> Lease:
    return Lease(store, LINE, holder=holder, ttl_s=60, clock=watch)


def test_a_second_holder_is_refused_with_the_first_ones_name(store: MemoryStore, watch: Watch) -> None:
    assert lease(store, watch).acquire() == 1
    with pytest.raises(CycleBusyError, match=rf"process {HERE.pid} on {HERE.host} is at work.*expires in 60 s"):
        lease(store, watch, holder=ELSEWHERE).acquire()


def test_every_new_holder_gets_a_greater_token(store: MemoryStore, watch: Watch) -> None:
    first = lease(store, watch)
    first.acquire()
    first.release()
    assert lease(store, watch, holder=ELSEWHERE).acquire() == 2


def test_an_expired_lease_is_taken_over(store: MemoryStore, watch: Watch) -> None:
    late = lease(store, watch, holder=ELSEWHERE)
    late.acquire()
    watch.now += timedelta(seconds=61)
    assert lease(store, watch).acquire() == 2
    with pytest.raises(CycleBusyError, match="another run has taken over; this one must not write"):
        late.renew()
    late.release()
    with pytest.raises(CycleBusyError):
        lease(store, watch, holder=ELSEWHERE).acquire()


def test_a_renewed_lease_does_not_expire(store: MemoryStore, watch: Watch) -> None:
    held = lease(store, watch, holder=ELSEWHERE)
    held.acquire()
    watch.now += timedelta(seconds=50)
    held.renew()
    watch.now += timedelta(seconds=50)
    with pytest.raises(CycleBusyError):
        lease(store, watch).acquire()


def test_the_lease_of_a_dead_local_process_is_free(store: MemoryStore, watch: Watch) -> None:
    code = "from everlearn.cycle.lease import Holder; h = Holder.this_process(); print(h.pid, h.began)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    pid, began = map(int, done.stdout.split())
    dead = replace(HERE, pid=pid, began=began)
    lease(store, watch, holder=dead).acquire()
    assert lease(store, watch).acquire() == 2


def test_a_lease_counts_as_held_only_while_its_holder_may_live(store: MemoryStore, watch: Watch) -> None:
    assert not is_held(store, LINE, at=watch())
    held = lease(store, watch, holder=ELSEWHERE)
    held.acquire()
    assert is_held(store, LINE, at=watch())
    assert not is_held(store, LINE, at=watch() + timedelta(seconds=61))
    held.release()
    assert not is_held(store, LINE, at=watch())
    lease(store, watch, holder=GONE).acquire()
    assert not is_held(store, LINE, at=watch())


def test_only_a_process_that_this_one_could_see_is_known_dead() -> None:
    assert GONE.is_known_dead()
    assert not HERE.is_known_dead()
    assert not replace(GONE, host="another-machine").is_known_dead()
    assert not replace(GONE, boot="another machine of this name").is_known_dead()


def test_a_machine_of_the_same_name_does_not_take_the_lease(store: MemoryStore, watch: Watch) -> None:
    lease(store, watch, holder=replace(HERE, boot="another machine of this name")).acquire()
    with pytest.raises(CycleBusyError, match="expires in 60 s"):
        lease(store, watch).acquire()


def test_one_of_two_simultaneous_holders_is_refused(watch: Watch) -> None:
    class Slow(MemoryStore):
        def get(self, key: str) -> Blob:
            try:
                return super().get(key)
            finally:
                if first.token == 0:
                    first.token = -1
                    first.acquire()

    store = Slow()
    first = lease(store, watch, holder=ELSEWHERE)
    with pytest.raises(CycleBusyError, match="another run has just started"):
        lease(store, watch).acquire()
    assert first.token == 1


def test_a_lease_is_renewed_in_the_background(store: MemoryStore) -> None:
    with Lease(store, LINE, ttl_s=0.06) as held:
        begun = store.get(f"{LINE}/work/lease.json").etag
        assert wait_until(lambda: store.get(f"{LINE}/work/lease.json").etag != begun, timeout_s=10)
    assert threading.active_count() < 50
    assert Lease(store, LINE, holder=ELSEWHERE).acquire() == held.token + 1


def test_renewal_survives_a_short_store_outage() -> None:
    class Away(MemoryStore):
        failures = 0

        def replace(self, key: str, data: bytes, *, etag: str) -> str:
            if self.failures < 2:
                self.failures += 1
                raise StoreDownError("no answer")
            return super().replace(key, data, etag=etag)

    store = Away()
    with Lease(store, LINE, ttl_s=0.06):
        begun = store.get(f"{LINE}/work/lease.json").etag
        assert wait_until(lambda: store.get(f"{LINE}/work/lease.json").etag != begun, timeout_s=10)


def test_a_renewal_with_a_lost_response_keeps_the_lease(watch: Watch) -> None:
    class Cut(MemoryStore):
        cut = False

        def replace(self, key: str, data: bytes, *, etag: str) -> str:
            written = super().replace(key, data, etag=etag)
            if self.cut:
                self.cut = False
                raise StoreDownError("connection cut after the write")
            return written

    store = Cut()
    held = lease(store, watch)
    held.acquire()
    watch.now += timedelta(seconds=1)
    store.cut = True
    with pytest.raises(StoreDownError):
        held.renew()
    watch.now += timedelta(seconds=1)
    held.renew()
    with pytest.raises(CycleBusyError):
        lease(store, watch, holder=ELSEWHERE).acquire()


def test_a_failed_release_does_not_hide_the_error_of_the_block() -> None:
    class Gone(MemoryStore):
        def replace(self, key: str, data: bytes, *, etag: str) -> str:
            raise StoreDownError("no answer")

    with pytest.raises(ZeroDivisionError), Lease(Gone(), LINE):
        raise ZeroDivisionError


def test_a_lost_lease_is_no_longer_renewed(store: MemoryStore) -> None:
    with Lease(store, LINE, ttl_s=0.06) as held:
        other = Lease(store, LINE, holder=ELSEWHERE)
        assert wait_until(lambda: overwrite(other, store), timeout_s=10)
        assert wait_until(lambda: not held._thread.is_alive(), timeout_s=10)
    other.renew()


def overwrite(other: Lease, store: MemoryStore) -> bool:
    """Overwrite the lease as if it had expired."""
    key = f"{LINE}/work/lease.json"
    try:
        other._take(7, lambda data: store.replace(key, data, etag=store.get(key).etag))
    except CycleBusyError:
        return False
    return True


def test_a_damaged_lease_is_an_integrity_error(store: MemoryStore) -> None:
    store.put(f"{LINE}/work/lease.json", b"{")
    with pytest.raises(IntegrityError, match="the lease of the line is damaged"):
        Lease(store, LINE).acquire()


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"holder": None, "token": "x", "expires": "2026-01-01"},
        {"holder": {"pid": 1}, "token": 1, "expires": "never"},
    ],
)
def test_a_lease_with_other_fields_is_damaged_and_says_what_to_do(store: MemoryStore, record: dict[str, Any]) -> None:
    store.put(f"{LINE}/work/lease.json", canonical(record))
    with pytest.raises(IntegrityError, match=r"is damaged .*delete it while no night runs"), Lease(store, LINE):
        pass


def test_an_unattended_run_waits_for_a_lease_to_expire(store: MemoryStore) -> None:
    Lease(store, LINE, holder=ELSEWHERE, ttl_s=0.4).acquire()
    with Lease(store, LINE, holder=HERE, ttl_s=0.4, waits=True) as taken:
        assert taken.token == 2


def test_a_holder_that_renews_is_not_waited_for(store: MemoryStore) -> None:
    with Lease(store, LINE, holder=ELSEWHERE, ttl_s=0.6):
        late = Lease(store, LINE, holder=HERE, ttl_s=0.6, waits=True)
        with pytest.raises(CycleBusyError), late:
            pass


def test_a_free_lease_is_taken_at_once(store: MemoryStore) -> None:
    with Lease(store, LINE, holder=HERE, waits=True) as taken:
        assert taken.token == 1


def test_the_last_renewal_is_known_while_the_lease_is_held(store: MemoryStore, watch: Watch) -> None:
    assert last_renewal(store, LINE) is None
    held = lease(store, watch)
    held.acquire()
    assert last_renewal(store, LINE) == WHEN
    held.release()
    assert last_renewal(store, LINE) is None
