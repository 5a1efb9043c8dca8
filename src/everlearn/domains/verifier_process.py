"""A worker process that verifies batches of answers, and the handle by which its owner watches it.

A batch is one message, and so are its verdicts. The worker writes the index of the current pair, its CPU time and the
wall-clock time at the start of that pair into shared memory, so that the owner knows which pair made it hang or die, and
after a batch the CPU time of its own children. No
signal is raised inside a verifier: a worker that exceeds its time is killed, and one that exceeds its address space
exits with a code of its own. If the owner dies, the kernel ends the worker.
"""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import resource
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from everlearn.domains.contract import open_domain
from everlearn.errors import EverlearnError, GrammarError
from everlearn.problem import Problem, Ruling, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, MutableSequence, Sequence
    from importlib.metadata import EntryPoint
    from multiprocessing.connection import Connection

Pair: TypeAlias = tuple[Problem, str]  # (problem, answer)

OUT_OF_MEMORY = 77  # exit code
_START_SECONDS = 120.0


class Worker:
    """A worker process and the pipe to it. It loads its domain in the background."""

    def __init__(self, entry: EntryPoint, memory_bytes: int, *, recheck: bool = False) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["everlearn.domains.verifier_process", entry.module])
        self.pipe, theirs = context.Pipe()
        life, self._life = context.Pipe(duplex=False)
        self._begun: MutableSequence[float] = context.RawArray(
            "d", 4
        )  # index of the pair, CPU time and clock at its start; CPU time of the children that have ended
        self._domain = entry.name
        self._ready, self._counted = False, 0.0
        given = (theirs, life, self._begun, entry, memory_bytes)
        self.process = context.Process(target=serve, args=given, kwargs={"recheck": recheck}, daemon=True)
        self.process.start()
        theirs.close()
        life.close()

    def ready(self) -> None:
        """Wait until the domain is loaded. Raises EverlearnError if that fails."""
        if not self._ready and (not self.pipe.poll(_START_SECONDS) or self.receive() is None):
            self.kill()
            raise EverlearnError(
                f"a verifier of {self._domain} did not start in a process of its own: its error is on standard error"
            )
        self._ready = True

    def send(self, batch: Sequence[Pair], *, seed: int) -> None:
        """Send a batch. If the worker is dead, the next `receive` returns None."""
        self._begun[:3] = (0.0, cpu_seconds_of(self.process.pid), time.monotonic())
        try:
            self.pipe.send_bytes(json.dumps([seed, [_plain(pair) for pair in batch]]).encode())
        except BrokenPipeError:
            return

    def receive(self) -> list[Verdict] | None:
        """Return the verdicts on the batch, or None if the worker is dead."""
        try:
            verdicts = json.loads(self.pipe.recv_bytes())
        except (EOFError, OSError):
            return None
        return [Verdict(ruling=Ruling(ruling), reason=reason) for ruling, reason in verdicts]

    @property
    def current_index(self) -> int:
        """Index in the batch of the pair that was started last."""
        return int(self._begun[0])

    def spent(self) -> tuple[float, float]:
        """Return the CPU time and the wall-clock time since the current pair was started, in seconds."""
        _, cpu, clock, _ = self._begun
        return cpu_seconds_of(self.process.pid) - cpu, time.monotonic() - clock

    def newly_used(self) -> float:
        """Return the CPU seconds that the process, if it is alive, and its children have used since the last call."""
        used = cpu_seconds_of(self.process.pid) + self._begun[3]
        new = max(0.0, used - self._counted)
        self._counted += new
        return new

    def close(self) -> None:
        """Close the pipe, which ends the worker, and kill it if it does not end in time."""
        self.pipe.close()
        self.process.join(timeout=5)
        self.kill()

    def kill(self) -> int | None:
        """Kill the process unless it has ended. Return its exit code."""
        self.pipe.close()
        self.process.join(timeout=0)
        self.process.kill()
        self.process.join()
        self._life.close()
        return self.process.exitcode


def cpu_seconds_of(pid: int | None) -> float:
    """Return the CPU time of a process in seconds, 0 if it does not exist."""
    try:
        # Linux derives the ID of a CPU clock from the process ID, as clock_getcpuclockid does.
        return time.clock_gettime(~(pid or 0) << 3 | 2)
    except OSError:
        return 0.0


def serve(
    pipe: Connection, life: Connection, begun: Any, entry: EntryPoint, memory_bytes: int, *, recheck: bool = False
) -> None:
    """Verify batches until the other end of `pipe` is closed; exit at once when that of `life` is. The worker's entry point.

    `recheck` gives second judgements instead.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    exit_with_owner(life)
    domain = open_domain(entry)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    verdicts: list[list[str]] = []
    try:
        while True:
            pipe.send_bytes(json.dumps(verdicts).encode())
            seed, batch = json.loads(pipe.recv_bytes())
            judge = domain.recheck if recheck else partial(domain.verify, seed=seed)
            verdicts = [_verify(judge, _pair(plain), index, begun) for index, plain in enumerate(batch)]
            children = resource.getrusage(resource.RUSAGE_CHILDREN)  # such as sandboxed programs
            begun[3] = children.ru_utime + children.ru_stime
    except (EOFError, ConnectionError):
        return


def _plain(pair: Pair) -> list[str | None]:
    problem, answer = pair
    return [problem.id, problem.domain, problem.statement, problem.reference, answer]


def _pair(plain: list[str]) -> Pair:
    name, domain, statement, reference, answer = plain
    return Problem(id=name, domain=domain, statement=statement, reference=reference), answer


def _verify(judge: Callable[[Problem, str], Verdict], pair: Pair, index: int, begun: Any) -> list[str]:
    begun[1], begun[2], begun[0] = time.process_time(), time.monotonic(), index
    try:
        verdict = judge(*pair)
    except GrammarError as error:
        return [Ruling.UNDECIDED, f"the problem cannot be read: {error}"]
    except MemoryError:
        raise SystemExit(OUT_OF_MEMORY) from None
    return [verdict.ruling, verdict.reason]


def exit_with_owner(life: Connection) -> None:
    """Make the kernel end this process when the other end of the pipe is closed: by SIGIO, whose default is to exit."""
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, os.O_ASYNC | fcntl.fcntl(life, fcntl.F_GETFL))
    if life.poll():  # it was closed before the signal was requested
        raise SystemExit(1)
