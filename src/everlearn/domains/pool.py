"""Warm worker processes that judge answers, with limits that are enforced from outside.

Pairs travel in batches, and a worker has one batch at a time: what is asked for waits here, not in pipes. A pair has
`timeout_s` seconds of the worker's processor, so that a busy machine changes no verdict, and four times that of the
clock; a worker has `memory_bytes` of address space. Who passes a limit, or dies, is replaced by a worker that is
loaded already. Its neighbours in the batch are judged again; the guilty pair is tried once more in the fresh worker,
and then UNDECIDED and recorded: `recorded`, saved as JSON and handed to the next pool, replays such verdicts, so that
a resumed training sees the same ones. Every other verdict is the domain's own, and depends on the pair and the seed
only. Workers end when the pool closes or its process dies.
"""

from __future__ import annotations

import json
from collections import deque
from contextlib import ExitStack
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Self

from everlearn.domains.contract import find_domain
from everlearn.domains.worker import OUT_OF_MEMORY, Worker
from everlearn.problem import Ruling, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from everlearn.domains.worker import Pair

BATCH = 256  # pairs: some 20 ms of work, far more than a message costs
_CHARACTERS = 60_000  # of a batch: less than a pipe holds, so that nobody waits for a reader
_CLOCK = 4.0  # seconds of the clock for each of the processor
_SHORTEST_WAIT = 0.001


class VerifierPool:
    """Verifiers of one domain in processes of their own: `with VerifierPool("integration") as pool: …`."""

    def __init__(
        self,
        domain: str,
        *,
        workers: int = 1,
        timeout_s: float = 5.0,
        memory_bytes: int = 2 * 1024**3,
        recorded: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self._spec = (find_domain(domain), memory_bytes)  # UnknownDomainError here, not as a dead worker
        self._timeout_s = timeout_s
        self._count = workers
        self._workers: list[Worker] = []  # the last one is the spare
        self.recorded: dict[str, dict[str, str]] = {key: dict(entry) for key, entry in (recorded or {}).items()}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for _ in range(self._count + 1):  # all of them load at once
                self._workers.append(Worker(*self._spec))
                stack.callback(self._workers[-1].kill)
            for worker in self._workers[: self._count]:
                worker.ready()
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.close()
        self._workers = []

    @property
    def pids(self) -> list[int | None]:
        """The processes that judge."""
        return [worker.process.pid for worker in self._workers[: self._count]]

    def verify(self, statement: str, answer: str, *, seed: int = 0) -> Verdict:
        """One verdict; UNDECIDED where the statement cannot be read, the time is up or the worker died twice."""
        return self.verify_many([(statement, answer)], seed=seed)[0]

    def verify_many(self, pairs: Sequence[Pair], *, seed: int = 0) -> list[Verdict]:
        """(statement, answer) pairs -> their verdicts, in order. What occurs twice is judged once."""
        known = {pair: verdict for pair in pairs if (verdict := self._replayed(pair, seed=seed))}
        queue = deque(_batches([pair for pair in dict.fromkeys(pairs) if pair not in known], workers=self._count))
        busy: dict[int, list[Pair]] = {}  # worker -> its batch
        suspects: set[Pair] = set()
        while queue or busy:
            for number in range(self._count):
                if queue and number not in busy:
                    self._ask(number, busy, queue.popleft(), seed=seed)
            for number, trouble in self._settled(busy).items():
                batch, worker = busy.pop(number), self._workers[number]
                verdicts = None if trouble else worker.answers()
                if verdicts is not None:
                    known.update(zip(batch, verdicts, strict=True))
                    continue
                guilty = batch.pop(worker.at)
                why = self._replace(number, trouble)
                if batch:
                    queue.appendleft(batch)
                if guilty in suspects:
                    known[guilty] = self._record(guilty, seed=seed, why=why)
                else:
                    suspects.add(guilty)
                    self._ask(number, busy, [guilty], seed=seed)
                self._workers.append(Worker(*self._spec))
        return [known[pair] for pair in pairs]

    def _ask(self, number: int, busy: dict[int, list[Pair]], batch: list[Pair], *, seed: int) -> None:
        busy[number] = batch
        self._workers[number].ask(batch, seed=seed)

    def _settled(self, busy: dict[int, list[Pair]]) -> dict[int, str]:
        """The workers that have answered, died or passed their limit, each with what is wrong with it, if we know."""
        left = {number: self._left(self._workers[number]) for number in busy}
        pipes = {self._workers[number].pipe: number for number in busy}
        ready = wait(list(pipes), timeout=max(_SHORTEST_WAIT, min(left.values())))
        settled = {number: "" for pipe, number in pipes.items() if pipe in ready}
        for number in busy.keys() - settled.keys():
            if self._left(self._workers[number]) <= 0:
                settled[number] = f"no verdict within {self._timeout_s:g} seconds"
        return settled

    def _left(self, worker: Worker) -> float:
        """The seconds after which the pair that the worker is at may be over its limit."""
        processor, clock = worker.spent()
        return min(self._timeout_s - processor, _CLOCK * self._timeout_s - clock)

    def _replace(self, number: int, trouble: str) -> str:
        """Put the warm worker in the place of a bad one, and say what was wrong."""
        code = self._workers[number].kill()
        self._workers[number] = self._workers.pop()
        self._workers[number].ready()
        if not trouble and code == OUT_OF_MEMORY:
            return f"the verifier needs more than the {self._spec[1] / 2**20:.0f} MiB it is allowed"
        return trouble or "the verifier died of it"

    def _replayed(self, pair: Pair, *, seed: int) -> Verdict | None:
        entry = self.recorded.get(_key(pair, seed=seed))
        return Verdict(ruling=Ruling.UNDECIDED, reason=entry["reason"]) if entry else None

    def _record(self, pair: Pair, *, seed: int, why: str) -> Verdict:
        self.recorded[_key(pair, seed=seed)] = {"reason": why}
        return Verdict(ruling=Ruling.UNDECIDED, reason=why)


def _key(pair: Pair, *, seed: int) -> str:
    return json.dumps([*pair, seed])


def _batches(pairs: list[Pair], *, workers: int) -> Iterator[list[Pair]]:
    """The pairs in batches of bounded length, few enough in each that every worker has some."""
    most = min(BATCH, -(-len(pairs) // (2 * workers)))
    batch: list[Pair] = []
    characters = 0
    for pair in pairs:
        size = len(pair[0]) + len(pair[1])
        if batch and (len(batch) == most or characters + size > _CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(pair)
        characters += size
    if batch:
        yield batch
