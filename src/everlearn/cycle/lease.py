"""Who may work on a line: one holder at a time, and a fencing token that grows with every new one.

    <line>/work/lease.json   holder, token, when it expires; moved only by conditional writes

A holder renews while it lives. A new one takes over when the lease was released or has expired, or at once when its
holder was a process of this very machine that lives no longer: after kill -9 nobody waits. What runs unattended waits
for the claim of a machine that went silent to end (`waits`). The token goes with every write of the work
(workspace.py), where an older one is refused: a late worker cannot write.
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
from everlearn.errors import ConflictError, CycleBusyError, IntegrityError, NotFoundError, StoreError
from everlearn.process_identity import start_ticks

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.storage.protocol import Store

TTL_S = 60.0


def _now() -> datetime:
    return datetime.now(tz=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process, told apart from every other on every machine and at every boot."""

    host: str
    boot: str
    pid: int
    began: int

    @classmethod
    def this_process(cls) -> Self:
        """The one that runs this line."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return cls(host=socket.gethostname(), boot=boot, pid=os.getpid(), began=start_ticks(os.getpid()) or 0)

    def is_surely_dead(self) -> bool:
        """Whether it ran on this machine and does not any more. Of other machines nothing is known."""
        here = Holder.this_process()
        if self.host != here.host:
            return False
        return self.boot != here.boot or start_ticks(self.pid) != self.began


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
        holder = Holder(**record["holder"]) if record["holder"] else None
        return cls(holder=holder, token=record["token"], expires=datetime.fromisoformat(record["expires"]))


def renewed(store: Store, line: str, *, ttl_s: float = TTL_S) -> datetime | None:
    """When the holder of a line's lease last gave a sign of life; None where nobody holds it."""
    try:
        record = _Record.from_bytes(store.get(f"{line}/work/lease.json").data)
    except NotFoundError:
        return None
    return record.expires - timedelta(seconds=ttl_s) if record.holder else None


class Lease:
    """The right to work on `line`. As a context manager it is acquired, renewed in the background, and released."""

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
        self._key = f"{line}/work/lease.json"
        self._ttl_s = ttl_s
        self._clock = clock
        self._etag = ""
        self._mutex = threading.Lock()
        self._done = threading.Event()

    def acquire(self) -> int:
        """Take the lease; the fencing token. CycleBusyError while another holder has it."""
        try:
            held = self._store.get(self._key)
        except NotFoundError:
            return self._take(1, lambda data: self._store.create(self._key, data))
        record = _Record.from_bytes(held.data)
        self._refuse_if_busy(record)
        return self._take(record.token + 1, lambda data: self._store.replace(self._key, data, etag=held.etag))

    def await_sign(self) -> None:
        """Wait until the holder renews its claim, and so is alive, or until the claim has ended, because it is not."""
        claim = self._claim()
        while claim is not None and claim == (latest := self._claim()) and latest[0] > self._clock():
            self._done.wait(min(1.0, self._ttl_s / 20))

    def renew(self) -> None:
        """Hold it for another `ttl_s`. CycleBusyError if somebody else has taken it over."""
        with self._mutex:
            self._move(self.holder)

    def release(self) -> None:
        """Let the next one have it at once. No error if it was lost before."""
        with self._mutex:
            try:
                self._move(None)
            except CycleBusyError:
                return

    def __enter__(self) -> Self:
        self._done.clear()
        if self._waits:
            self.await_sign()
        self.acquire()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        with contextlib.suppress(StoreError):  # nobody waits for a dead process, nor for longer than `ttl_s`
            self.release()

    def _beat(self) -> None:
        while not self._done.wait(self._ttl_s / 3):
            try:
                self.renew()
            except (CycleBusyError, IntegrityError):
                return  # the next write of the work is refused, and says so
            except StoreError:
                continue  # it may be back before the lease expires

    def _claim(self) -> tuple[datetime, int] | None:
        """When the claim of another, perhaps living holder ends, and its token; None where there is none."""
        try:
            record = _Record.from_bytes(self._store.get(self._key).data)
        except NotFoundError:
            return None
        return None if self._is_free(record) else (record.expires, record.token)

    def _take(self, token: int, write: Callable[[bytes], str]) -> int:
        record = _Record(holder=self.holder, token=token, expires=self._expiry())
        try:
            self._etag = write(record.to_bytes())
        except ConflictError:
            raise CycleBusyError(f"line {self.line}: another run has just begun; wait until it ends") from None
        self.token = token
        return token

    def _move(self, holder: Holder | None) -> None:
        record = _Record(holder=holder, token=self.token, expires=self._expiry())
        try:
            self._etag = self._store.replace(self._key, record.to_bytes(), etag=self._etag)
        except ConflictError:
            self._move_again(record)

    def _move_again(self, record: _Record) -> None:
        """After a write whose answer was lost, the lease is ours with bytes that we did not see confirmed."""
        held = self._store.get(self._key)
        found = _Record.from_bytes(held.data)
        if (found.holder, found.token) != (self.holder, self.token):
            raise CycleBusyError(f"line {self.line}: another run has taken over; this one must not write")
        self._etag = self._store.replace(self._key, record.to_bytes(), etag=held.etag)

    def _expiry(self) -> datetime:
        return self._clock() + timedelta(seconds=self._ttl_s)

    def _refuse_if_busy(self, record: _Record) -> None:
        if record.holder is None or self._is_free(record):
            return
        left = (record.expires - self._clock()).total_seconds()
        if left > 0:
            raise CycleBusyError(
                f"line {self.line}: process {record.holder.pid} on {record.holder.host} is at work; wait until it ends, "
                f"or stop it (its claim ends {left:.0f} s after its last sign of life)"
            )

    def _is_free(self, record: _Record) -> bool:
        return record.holder is None or record.holder == self.holder or record.holder.is_surely_dead()
