"""A process that judges answers, and what its owner knows of it from outside.

A batch of pairs goes in as one message, their verdicts come back as one. Meanwhile the worker writes into shared
memory which pair it has begun, at which time of its processor and of the clock, so that the guilty pair of a batch is
known when the worker hangs or dies. No signal is ever raised inside a verifier: who is out of time is killed, and who
is out of memory (address space) ends with an exit code of its own. When its owner dies, the kernel ends the worker,
whatever it is doing.
"""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import resource
import signal
import time
from typing import TYPE_CHECKING, Any, TypeAlias

from everlearn.errors import EverlearnError, GrammarError
from everlearn.problem import Ruling, Verdict

if TYPE_CHECKING:
    from collections.abc import MutableSequence, Sequence
    from importlib.metadata import EntryPoint
    from multiprocessing.connection import Connection

    from everlearn.domains.contract import Domain

Pair: TypeAlias = tuple[str, str]  # (statement, answer)

OUT_OF_MEMORY = 77  # the exit code
_MODULES = ["everlearn.domains.worker", "everlearn.domains.integration.domain"]
_START_SECONDS = 120.0


class Worker:
    """One process and the pipe to it. It loads its domain while its owner does something else."""

    def __init__(self, entry: EntryPoint, memory_bytes: int) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_MODULES)
        self.pipe, theirs = context.Pipe()
        life, self._life = context.Pipe(duplex=False)
        self._begun: MutableSequence[float] = context.RawArray("d", 3)  # index, its processor time, its clock
        self._domain = entry.name
        self._ready = False
        self.process = context.Process(target=serve, args=(theirs, life, self._begun, entry, memory_bytes), daemon=True)
        self.process.start()
        theirs.close()
        life.close()

    def ready(self) -> None:
        """Wait until the domain is loaded. EverlearnError where that fails."""
        if not self._ready and (not self.pipe.poll(_START_SECONDS) or self.answers() is None):
            self.kill()
            raise EverlearnError(
                f"a verifier of {self._domain} did not start in a process of its own: its error is on standard error"
            )
        self._ready = True

    def ask(self, batch: Sequence[Pair], *, seed: int) -> None:
        """Send a batch. A worker that died meanwhile is noticed when its answers are read."""
        self._begun[:] = (0.0, processor_seconds(self.process.pid), time.monotonic())
        try:
            self.pipe.send_bytes(json.dumps([seed, batch]).encode())
        except BrokenPipeError:
            return

    def answers(self) -> list[Verdict] | None:
        """The verdicts that have arrived, or None where the worker is dead."""
        try:
            told = json.loads(self.pipe.recv_bytes())
        except (EOFError, OSError):
            return None
        return [Verdict(ruling=Ruling(ruling), reason=reason) for ruling, reason in told]

    @property
    def at(self) -> int:
        """The index of the pair in its batch that it has begun last."""
        return int(self._begun[0])

    def spent(self) -> tuple[float, float]:
        """Seconds of the processor, and of the clock, since that pair was begun."""
        _, processor, clock = self._begun
        return processor_seconds(self.process.pid) - processor, time.monotonic() - clock

    def close(self) -> None:
        """Let the worker end by itself, and see to it that it does."""
        self.pipe.close()
        self.process.join(timeout=5)
        self.kill()

    def kill(self) -> int | None:
        """End the process now, unless it has ended: its exit code."""
        self.pipe.close()
        self.process.join(timeout=0)
        self.process.kill()
        self.process.join()
        self._life.close()
        return self.process.exitcode


def processor_seconds(pid: int | None) -> float:
    """The processor time that a process has used, nought where there is none."""
    try:
        return time.clock_gettime(
            ~(pid or 0) << 3 | 2
        )  # the number of a process's clock, as clock_getcpuclockid makes it
    except OSError:
        return 0.0


def serve(pipe: Connection, life: Connection, begun: Any, entry: EntryPoint, memory_bytes: int) -> None:
    """What a worker does: answer until the other end of the pipe is closed, and end when that of `life` is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with(life)
    domain: Domain = entry.load()()
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    told: list[list[str]] = []
    try:
        while True:
            pipe.send_bytes(json.dumps(told).encode())
            seed, batch = json.loads(pipe.recv_bytes())
            told = [_judged(domain, pair, index, begun, seed=seed) for index, pair in enumerate(batch)]
    except (EOFError, ConnectionError):
        return


def _judged(domain: Domain, pair: Pair, index: int, begun: Any, *, seed: int) -> list[str]:
    begun[1], begun[2], begun[0] = time.process_time(), time.monotonic(), index
    try:
        verdict = domain.verify(*pair, seed=seed)
    except GrammarError as error:
        return [Ruling.UNDECIDED, f"the problem cannot be read: {error}"]
    except MemoryError:
        raise SystemExit(OUT_OF_MEMORY) from None
    return [verdict.ruling, verdict.reason]


def _end_with(life: Connection) -> None:
    """Have the kernel send SIGIO, which ends a process, when the other end of the pipe is closed."""
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, os.O_ASYNC | fcntl.fcntl(life, fcntl.F_GETFL))
    if life.poll():  # closed before
        raise SystemExit(1)
