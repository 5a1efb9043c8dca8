"""Problems that an endpoint did not solve, for the inbox of the next night.

A problem is collected where the domain's verifier does not accept the answer, or where a caller reports that it did not
help. The night reads it like any row, and rewards only what the verifier accepts.

Rows wait in a file on this machine, and go as one shard to `<line>/inbox/` in the bucket after some time, at some
number and at the end, so that nothing is lost by a crash and no night reads a shard for each row.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import threading
import time
from collections import defaultdict, deque
from typing import TYPE_CHECKING

from everlearn.data.acceptance import MAX_STATEMENT_CHARS
from everlearn.data.bucket_inbox import add_shard
from everlearn.domains.contract import load_domain
from everlearn.errors import BadInputError
from everlearn.problem import Ruling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from everlearn.domains.contract import Domain
    from everlearn.problem import Problem
    from everlearn.storage.protocol import Store
    from everlearn.training.rollouts import Judge

LOG = logging.getLogger("everlearn.serving")
HOUR = 3600.0
SHARD_ROWS, SHARD_SECONDS = 500, 60.0
"""Rows and seconds after which what waits becomes a shard."""


@contextlib.contextmanager
def collecting_alone(waiting: Path) -> Iterator[None]:
    """Keep a lock beside the file of waiting rows while the block runs: two processes would delete rows of each other.

    Raises:
        BadInputError: another process has it.
    """
    waiting.parent.mkdir(parents=True, exist_ok=True)
    with waiting.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInputError(
                f"another process collects into {waiting}: stop it, or give this one a state directory of its own (--home)"
            ) from None
        yield


class UnsolvedProblems:
    """Collect problems of one domain, at most `per_hour` of each caller; the same problem once in the life of the process.

    `judge` maps pairs of problem and answer to verdicts; it is called by one thread at a time. `waiting` is the file of
    rows that are in no shard yet; what an earlier process left there is kept. One process at a time may use it
    (`collecting_alone`).
    """

    def __init__(
        self,
        store: Store,
        line: str,
        *,
        domain: Domain,
        judge: Judge,
        waiting: Path,
        per_hour: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._line, self._domain, self._judge = store, line, domain, judge
        self._waiting, self._per_hour, self._clock = waiting, per_hour, clock
        self._lock, self._judging = threading.Lock(), threading.Lock()
        self._known: set[str] = set()
        self._sending = waiting.with_suffix(".sending")
        self._flushing = threading.Lock()
        self._times: defaultdict[str, deque[float]] = defaultdict(deque)
        self._rows = self._whole_rows()
        self._since = clock()
        waiting.parent.mkdir(parents=True, exist_ok=True)

    def judge(self, problem: Problem, answers: Sequence[str], *, caller: str) -> str:
        """Collect the problem unless an answer is correct or undecided. Return "yes", or "no: " and the reason.

        A problem whose answer only a reference can judge is collected by feedback alone.
        """
        if load_domain(self._domain.part(problem.statement)).takes_references:
            return "no: answers are judged by a reference"
        with self._judging:
            rulings = {verdict.ruling for verdict in self._judge([(problem, each) for each in answers if each])}
        if Ruling.CORRECT in rulings:
            return "no: solved"
        if Ruling.UNDECIDED in rulings:
            return "no: undecided"
        return self.add(problem, caller=caller)

    def add(self, problem: Problem, *, caller: str) -> str:
        """Collect a problem. Return "yes", or "no: " and the reason."""
        with self._lock:
            if problem.id in self._known:
                return "no: known"
            if len(problem.statement) > MAX_STATEMENT_CHARS:  # a night puts it into quarantine, or refuses all rows
                return f"no: longer than {MAX_STATEMENT_CHARS} characters"
            if not self._has_room(caller):
                return f"no: more than {self._per_hour} an hour"
            try:
                with self._waiting.open("a", encoding="utf-8") as rows:
                    rows.write(json.dumps({"problem": problem.statement, "domain": self._domain.name}) + "\n")
            except OSError:
                self._whole_rows()
                raise
            self._known.add(problem.id)
            self._rows += 1
        return "yes"

    def flush_if_due(self) -> None:
        """Write a shard if there are rows enough, or old enough, or if the store did not take the last one."""
        is_due = self._rows >= SHARD_ROWS or self._clock() - self._since >= SHARD_SECONDS
        if self._sending.exists() or (self._rows and is_due):
            self.flush()

    def flush(self) -> None:
        """Write what waits as one shard. Raises StoreError if the store does not take it; then it goes on waiting.

        Rows can be added meanwhile: they belong to the next shard.
        """
        with self._flushing:
            while self._has_shard():
                add_shard(self._store, self._line, self._sending.read_bytes())
                self._sending.unlink()
                LOG.info("a shard of unsolved problems is in the inbox of line %s", self._line)

    def _has_shard(self) -> bool:
        """Set apart what waits, unless a shard is set apart already. Return whether there is one."""
        with self._lock:
            if not self._sending.exists() and self._rows:
                self._waiting.rename(self._sending)
                self._rows, self._since = 0, self._clock()
            return self._sending.exists()

    def _whole_rows(self) -> int:
        """Return the number of rows in the file, without one that a crash or a full disk cut: the next would be part of it."""
        data = self._waiting.read_bytes() if self._waiting.is_file() else b""
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            os.truncate(self._waiting, len(whole))
        return whole.count(b"\n")

    def _has_room(self, caller: str) -> bool:
        times, now = self._times[caller], self._clock()
        while times and now - times[0] >= HOUR:
            times.popleft()
        if len(times) >= self._per_hour:
            return False
        times.append(now)
        return True
