"""A pool of warm worker processes that verify answers, with time and memory limits enforced from outside.

Pairs are sent in batches, one batch per worker at a time. A pair may use `timeout_s` seconds of CPU time, so that the
load of the machine changes no verdict, and four times that of wall-clock time; a worker may use `memory_bytes` of
address space. A worker that exceeds a limit, or dies, is killed and replaced by a spare that is already loaded. The
other pairs of its batch are verified again. The pair that caused it is tried once more in the new worker, and is then
UNDECIDED and recorded: a pool that is given `recorded` (JSON-serializable) of an earlier pool replays these verdicts,
so that a resumed training sees the same ones. All other verdicts depend on the pair and the seed only. Workers end
when the pool closes or its process dies. Their CPU time is part of `counters.cpu_seconds`.
"""

from __future__ import annotations

import json
from collections import deque
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Self

from everlearn import counters
from everlearn.domains.contract import find_domain, load_domain
from everlearn.domains.verifier_process import OUT_OF_MEMORY, Worker
from everlearn.problem import Ruling, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from everlearn.domains.verifier_process import Pair
    from everlearn.problem import Problem

BATCH = 256  # pairs: about 20 ms of work, much more than the cost of a message
_CHARACTERS = 60_000  # of a batch: less than the buffer of a pipe, so that a write never blocks
_CLOCK = 4.0  # seconds of wall-clock time allowed per second of CPU time
_SHORTEST_WAIT = 0.001
RECHECK_S = 60.0
"""CPU seconds that a second judgement may take."""


class VerifierPool:
    """Worker processes of one domain, as a context manager: `with VerifierPool("integration") as pool: …`.

    With `recheck` they give the domain's second judgement (`Domain.recheck`) instead of its verdict.
    """

    def __init__(
        self,
        domain: str,
        *,
        workers: int = 1,
        timeout_s: float = 5.0,
        memory_bytes: int = 2 * 1024**3,
        recorded: Mapping[str, Mapping[str, str]] | None = None,
        recheck: bool = False,
    ) -> None:
        entry = find_domain(domain)  # raises UnknownDomainError here, not in the worker
        self._start = partial(Worker, entry, memory_bytes, recheck=recheck)
        self._memory_bytes = memory_bytes
        self._timeout_s = timeout_s
        self._count = workers
        self._workers: list[Worker] = []  # the last one is the spare
        self.recorded: dict[str, dict[str, str]] = {key: dict(entry) for key, entry in (recorded or {}).items()}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for _ in range(self._count + 1):  # started together, so that they load in parallel
                self._workers.append(self._start())
                stack.callback(self._workers[-1].kill)
            for worker in self._workers[: self._count]:
                worker.ready()
            stack.pop_all()
        self._count_cpu_seconds()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._count_cpu_seconds()
        for worker in self._workers:
            worker.close()
        self._workers = []

    @property
    def pids(self) -> list[int | None]:
        """Process IDs of the workers, without the spare."""
        return [worker.process.pid for worker in self._workers[: self._count]]

    def verify(self, problem: Problem, answer: str, *, seed: int = 0) -> Verdict:
        """Return one verdict: UNDECIDED if the statement cannot be parsed, or a limit was exceeded twice."""
        return self.verify_many([(problem, answer)], seed=seed)[0]

    def verify_many(self, pairs: Sequence[Pair], *, seed: int = 0) -> list[Verdict]:
        """Return the verdicts on (problem, answer) pairs, in order. Repeated pairs are verified once."""
        known = {pair: verdict for pair in pairs if (verdict := self._replayed(pair, seed=seed))}
        queue = deque(_batches([pair for pair in dict.fromkeys(pairs) if pair not in known], workers=self._count))
        busy: dict[int, list[Pair]] = {}  # worker -> its batch
        suspects: set[Pair] = set()
        while queue or busy:
            for number in range(self._count):
                if queue and number not in busy:
                    self._send(number, busy, queue.popleft(), seed=seed)
            for number, fault in self._finished(busy).items():
                batch, worker = busy.pop(number), self._workers[number]
                verdicts = None if fault else worker.receive()
                if verdicts is not None:
                    known.update(zip(batch, verdicts, strict=True))
                    continue
                culprit = batch.pop(worker.current_index)
                why = self._replace(number, fault)
                if batch:
                    queue.appendleft(batch)
                if culprit in suspects:
                    known[culprit] = self._record(culprit, seed=seed, why=why)
                else:
                    suspects.add(culprit)
                    self._send(number, busy, [culprit], seed=seed)
                self._workers.append(self._start())
        self._count_cpu_seconds()
        return [known[pair] for pair in pairs]

    def _send(self, number: int, busy: dict[int, list[Pair]], batch: list[Pair], *, seed: int) -> None:
        busy[number] = batch
        self._workers[number].send(batch, seed=seed)

    def _finished(self, busy: dict[int, list[Pair]]) -> dict[int, str]:
        """Wait for workers that answered, died or exceeded a limit. Return the fault of each, empty if it is not known."""
        left = {number: self._left(self._workers[number]) for number in busy}
        pipes = {self._workers[number].pipe: number for number in busy}
        ready = wait(list(pipes), timeout=max(_SHORTEST_WAIT, min(left.values())))
        finished = {number: "" for pipe, number in pipes.items() if pipe in ready}
        for number in busy.keys() - finished.keys():
            if self._left(self._workers[number]) <= 0:
                finished[number] = f"no verdict within {self._timeout_s:g} seconds"
        return finished

    def _left(self, worker: Worker) -> float:
        """Return the seconds after which the worker's current pair may exceed its limit."""
        processor, clock = worker.spent()
        return min(self._timeout_s - processor, _CLOCK * self._timeout_s - clock)

    def _replace(self, number: int, fault: str) -> str:
        """Replace a worker by the spare. Return the reason."""
        self._count_cpu_seconds()
        code = self._workers[number].kill()
        self._workers[number] = self._workers.pop()
        self._workers[number].ready()
        if not fault and code == OUT_OF_MEMORY:
            return f"the verifier needs more than the {self._memory_bytes / 2**20:.0f} MiB it is allowed"
        return fault or "the verifier died of it"

    def _count_cpu_seconds(self) -> None:
        counters.add_cpu_of_verifiers(sum(worker.newly_used() for worker in self._workers))

    def _replayed(self, pair: Pair, *, seed: int) -> Verdict | None:
        entry = self.recorded.get(_key(pair, seed=seed))
        return Verdict(ruling=Ruling.UNDECIDED, reason=entry["reason"]) if entry else None

    def _record(self, pair: Pair, *, seed: int, why: str) -> Verdict:
        self.recorded[_key(pair, seed=seed)] = {"reason": why}
        return Verdict(ruling=Ruling.UNDECIDED, reason=why)


def _key(pair: Pair, *, seed: int) -> str:
    problem, answer = pair
    return json.dumps([problem.key, answer, seed])


def _batches(pairs: list[Pair], *, workers: int) -> Iterator[list[Pair]]:
    """Yield the pairs in batches of bounded size, at least two per worker where there are enough pairs."""
    most = min(BATCH, -(-len(pairs) // (2 * workers)))
    batch: list[Pair] = []
    characters = 0
    for pair in pairs:
        size = sum(map(len, filter(None, (pair[0].id, pair[0].domain, pair[0].statement, pair[0].reference, pair[1]))))
        if batch and (len(batch) == most or characters + size > _CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(pair)
        characters += size
    if batch:
        yield batch


@contextmanager
def second_judgement(domain: str, *, workers: int) -> Iterator[Callable[[Sequence[Pair]], list[Verdict]]]:
    """Yield what judges answers by `Domain.recheck`: in processes with limits, started by the first answers; with 0, here."""
    pools: list[VerifierPool] = []
    here = None if workers else load_domain(domain)
    with ExitStack() as stack:

        def judge(pairs: Sequence[Pair]) -> list[Verdict]:
            if here is not None:
                return [here.recheck(*pair) for pair in pairs]
            if not pools:
                pool = VerifierPool(domain, workers=workers, timeout_s=RECHECK_S, recheck=True)
                pools.append(stack.enter_context(pool))
            return pools[0].verify_many(pairs)

        yield judge
