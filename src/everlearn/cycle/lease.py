"""Lease of a line: one run works on it at a time, and every new holder gets a greater fencing token.

    <line>/work/lease.json   holder, token, expiry time; moved by conditional writes only

The holder renews the lease while it is alive. Another run takes over when the lease was released or has expired, or at
once when its holder was a process of the same machine that has ended: after kill -9 no run has to wait. An unattended
run waits for the lease of an unresponsive machine, or of one that was restarted, to expire (`waits`). Every write to
the workspace carries the token (workspace.py), where an older one is refused: a late worker cannot write.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

from everlearn.canonical_json import canonical, parse
from everlearn.errors import ConflictError, CycleBusyError, IntegrityError, LineBusyError, NotFoundError, StoreError
from everlearn.process_identity import start_ticks

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.storage.protocol import Store

TTL_S = 60.0


def _now() -> datetime:
    return datetime.now(tz=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process, identified across machines, reboots and containers. The fields are stored in the lease.

    Host names are not unique, so `boot` is the kernel's id of the boot and the namespace in which `pid` means a process.
    """

    host: str
    boot: str
    pid: int
    began: int

    @classmethod
    def this_process(cls) -> Self:
        """Return the holder for the current process."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        namespace = Path("/proc/self/ns/pid").readlink()
        return cls(
            host=socket.gethostname(), boot=f"{boot} {namespace}", pid=os.getpid(), began=start_ticks(os.getpid()) or 0
        )

    def is_known_dead(self) -> bool:
        """Return whether it has ended; known only of processes that this one could see."""
        here = Holder.this_process()
        return (self.host, self.boot) == (here.host, here.boot) and start_ticks(self.pid) != self.began


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    holder: Holder | None
    token: int
    expires: datetime

    def to_bytes(self) -> bytes:
        return canonical(asdict(self) | {"expires": self.expires.isoformat()})

    @classmethod
    def from_bytes(cls, data: bytes) -> _Record:
        record = parse(data, name="the lease of the line")
        try:
            holder = Holder(**record["holder"]) if record["holder"] else None
            return cls(holder=holder, token=int(record["token"]), expires=datetime.fromisoformat(record["expires"]))
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(
                f"the lease of the line, work/lease.json, is damaged ({error}); delete it while no night runs"
            ) from None


def is_held(store: Store, line: str, *, at: datetime) -> bool:
    """Return whether a run that may be alive holds the lease of a line."""
    record = _read(store, line)
    if record is None or record.holder is None:
        return False
    return not record.holder.is_known_dead() and record.expires > at


def last_renewal(store: Store, line: str, *, ttl_s: float = TTL_S) -> datetime | None:
    """Return when the holder last renewed the lease of a line; None where it is not held."""
    record = _read(store, line)
    return record.expires - timedelta(seconds=ttl_s) if record and record.holder else None


def _read(store: Store, line: str) -> _Record | None:
    """Return the record of the lease; None where the line never had one."""
    try:
        return _Record.from_bytes(store.get(_key(line)).data)
    except NotFoundError:
        return None


def _key(line: str) -> str:
    return f"{line}/work/lease.json"


class Lease:
    """Lease of `line`, valid for `ttl_s` seconds. As a context manager it is renewed in the background until released.

    With `waits`, entering the context first waits for another holder to show that it is alive, or to expire.
    """

    def __init__(
        self,
        store: Store,
        line: str,
        *,
        holder: Holder | None = None,
        ttl_s: float = TTL_S,
        clock: Callable[[], datetime] = _now,
        waits: bool = False,
    ) -> None:
        self.line = line
        self.holder = holder or Holder.this_process()
        self.token = 0
        self._waits = waits
        self._store = store
        self._key = _key(line)
        self._ttl_s = ttl_s
        self._clock = clock
        self._etag = ""
        self._mutex = threading.Lock()  # the renewing thread and `release` both use the ETag
        self._done = threading.Event()

    def acquire(self) -> int:
        """Take the lease and return the fencing token. LineBusyError while another run holds it."""
        try:
            held = self._store.get(self._key)
        except NotFoundError:
            return self._take(1, lambda data: self._store.create(self._key, data))
        record = _Record.from_bytes(held.data)
        self._refuse_if_busy(record)
        # Both writes are conditional: of two runs that read the same record, one fails.
        return self._take(record.token + 1, lambda data: self._store.replace(self._key, data, etag=held.etag))

    def await_renewal(self) -> None:
        """Wait until the other holder renews the lease, which shows that it is alive, or until the lease expires."""
        held = self._held_by_other()
        # A renewal moves the expiry time, a takeover the token: any change shows a live process.
        while held is not None and held == (latest := self._held_by_other()) and latest[0] > self._clock():
            self._done.wait(min(1.0, self._ttl_s / 20))

    def renew(self) -> None:
        """Extend the lease by `ttl_s` seconds. CycleBusyError if another run has taken it over."""
        with self._mutex:
            self._move(self.holder)

    def release(self) -> None:
        """Free the lease for the next run. Does nothing if it was lost before."""
        with self._mutex:
            try:
                self._move(None)
            except CycleBusyError:
                return

    def __enter__(self) -> Self:
        self._done.clear()
        if self._waits:
            self.await_renewal()
        self.acquire()
        self._thread = threading.Thread(target=self._renew_periodically, name="lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        with contextlib.suppress(StoreError):  # the lease expires within `ttl_s` anyway; keep the error of the block
            self.release()

    def _renew_periodically(self) -> None:
        while not self._done.wait(self._ttl_s / 3):
            try:
                self.renew()
            except (CycleBusyError, IntegrityError):
                return  # lost: the next write to the workspace is refused with the reason
            except StoreError:
                continue  # the store may be back before the lease expires

    def _held_by_other(self) -> tuple[datetime, int] | None:
        """Return the expiry time and token of another holder that may be alive; None where there is none."""
        record = _read(self._store, self.line)
        return None if record is None or self._is_free(record) else (record.expires, record.token)

    def _take(self, token: int, write: Callable[[bytes], str]) -> int:
        record = _Record(holder=self.holder, token=token, expires=self._expiry())
        try:
            self._etag = write(record.to_bytes())
        except ConflictError:
            raise LineBusyError(f"line {self.line}: another run has just started; wait until it ends") from None
        self.token = token
        return token

    def _move(self, holder: Holder | None) -> None:
        record = _Record(holder=holder, token=self.token, expires=self._expiry())
        try:
            self._etag = self._store.replace(self._key, record.to_bytes(), etag=self._etag)
        except ConflictError:
            self._move_again(record)

    def _move_again(self, record: _Record) -> None:
        """Write again if the lease is still ours: the response to an earlier write was lost, so its ETag is unknown."""
        held = self._store.get(self._key)
        current = _Record.from_bytes(held.data)
        if (current.holder, current.token) != (self.holder, self.token):
            raise CycleBusyError(f"line {self.line}: another run has taken over; this one must not write")
        self._etag = self._store.replace(self._key, record.to_bytes(), etag=held.etag)

    def _expiry(self) -> datetime:
        return self._clock() + timedelta(seconds=self._ttl_s)

    def _refuse_if_busy(self, record: _Record) -> None:
        if record.holder is None or self._is_free(record):
            return
        left = (record.expires - self._clock()).total_seconds()
        if left > 0:
            raise LineBusyError(
                f"line {self.line}: process {record.holder.pid} on {record.holder.host} is at work; wait until it ends, "
                f"or stop it (its lease expires in {left:.0f} s unless it renews it)"
            )

    def _is_free(self, record: _Record) -> bool:
        return record.holder is None or record.holder == self.holder or record.holder.is_known_dead()
