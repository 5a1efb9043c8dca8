"""Warm worker processes that judge answers, with limits that are enforced from outside.

A worker has its domain loaded and answers over a pipe. One that does not answer in time, or dies, is killed and
replaced, and costs one UNDECIDED: no signal is ever raised inside a verifier, and no text can hold up the night. The
memory of a worker is bounded by its address space. Workers end when the pool closes or its process dies.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import signal
import time
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Self

from everlearn.domains import load_domain
from everlearn.errors import EverlearnError, GrammarError
from everlearn.problem import Ruling, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection
    from types import TracebackType

_MODULES = ["everlearn.domains.pool", "everlearn.domains.integration"]
_START_SECONDS = 120.0


class VerifierPool:
    """Verifiers of one domain in processes of their own: `with VerifierPool("integration") as pool: …`."""

    def __init__(
        self, domain: str, *, workers: int = 1, timeout_s: float = 5.0, memory_bytes: int = 2 * 1024**3
    ) -> None:
        load_domain(domain)  # UnknownDomainError here, not as a dead worker
        self._spec = (domain, memory_bytes)
        self._timeout_s = timeout_s
        self._count = workers
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        self._workers = [_Worker(*self._spec) for _ in range(self._count)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.close()
        self._workers = []

    def verify(self, statement: str, answer: str, *, seed: int = 0) -> Verdict:
        """One verdict; UNDECIDED where the statement cannot be read, the time is up or the worker died."""
        return self.verify_many([(statement, answer)], seed=seed)[0]

    def verify_many(self, pairs: Sequence[tuple[str, str]], *, seed: int = 0) -> list[Verdict]:
        """(statement, answer) pairs -> their verdicts, in order."""
        verdicts: dict[int, Verdict] = {}
        waiting = iter(enumerate(pairs))
        busy: dict[int, tuple[int, float]] = {}  # worker -> the pair it works on, its deadline
        while True:
            for number, worker in enumerate(self._workers):
                if number not in busy and (item := next(waiting, None)) is not None:
                    worker.ask(*item[1], seed=seed)
                    busy[number] = (item[0], time.monotonic() + self._timeout_s)
            if not busy:
                return [verdicts[index] for index in range(len(pairs))]
            self._collect(busy, verdicts)

    def _collect(self, busy: dict[int, tuple[int, float]], verdicts: dict[int, Verdict]) -> None:
        """Wait for the first answer or the first deadline, and note what is settled then."""
        pipes = {self._workers[number].pipe: number for number in busy}
        patience = max(0.0, min(deadline for _, deadline in busy.values()) - time.monotonic())
        ready = {pipes[pipe] for pipe in wait(list(pipes), timeout=patience) if pipe in pipes}
        for number in ready:
            verdict = self._workers[number].answer()
            if verdict is None:
                self._replace(number)
            verdicts[busy.pop(number)[0]] = verdict or _undecided("the verifier died of it")
        now = time.monotonic()
        for number in [number for number, (_, deadline) in busy.items() if deadline <= now]:
            self._replace(number)
            verdicts[busy.pop(number)[0]] = _undecided(f"no verdict within {self._timeout_s:g} seconds")

    def _replace(self, number: int) -> None:
        self._workers[number].kill()
        self._workers[number] = _Worker(*self._spec)


class _Worker:
    """One process and the pipe to it, ready to be asked."""

    def __init__(self, domain: str, memory_bytes: int) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_MODULES)
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, domain, memory_bytes), daemon=True)
        self.process.start()
        theirs.close()
        if not self.pipe.poll(_START_SECONDS) or self.answer() is None:
            self.kill()
            raise EverlearnError(
                f"a verifier of {domain} did not start in a process of its own: its error is on standard error"
            )

    def ask(self, statement: str, answer: str, *, seed: int) -> None:
        """Send one pair. A worker that died meanwhile is noticed when its answer is read."""
        try:
            self.pipe.send_bytes(json.dumps([statement, answer, seed]).encode())
        except BrokenPipeError:
            return

    def answer(self) -> Verdict | None:
        """The verdict that has arrived, or None where the worker is dead."""
        try:
            ruling, reason = json.loads(self.pipe.recv_bytes())
        except (EOFError, ConnectionResetError):
            return None
        return Verdict(ruling=Ruling(ruling), reason=reason)

    def close(self) -> None:
        """Let the worker end by itself, and see to it that it does."""
        self.pipe.close()
        self.process.join(timeout=5)
        self.kill()

    def kill(self) -> None:
        """End the process now."""
        self.pipe.close()
        self.process.kill()
        self.process.join()


def serve(pipe: Connection, domain: str, memory_bytes: int) -> None:
    """What a worker does: answer until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    judge = load_domain(domain)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    _send(pipe, _undecided("ready"))
    while True:
        try:
            statement, answer, seed = json.loads(pipe.recv_bytes())
        except EOFError:
            return
        try:
            verdict = judge.verify(statement, answer, seed=seed)
        except GrammarError as error:
            verdict = _undecided(f"the problem cannot be read: {error}")
        except MemoryError:
            verdict = _undecided(f"the verifier needs more than the {memory_bytes / 2**20:.0f} MiB it is allowed")
        _send(pipe, verdict)


def _send(pipe: Connection, verdict: Verdict) -> None:
    pipe.send_bytes(json.dumps([verdict.ruling, verdict.reason]).encode())


def _undecided(reason: str) -> Verdict:
    return Verdict(ruling=Ruling.UNDECIDED, reason=reason)
