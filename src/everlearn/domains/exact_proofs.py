"""Exact proofs of answers in a child process, with time limits enforced by killing it.

For display only. A computer algebra system gives no bound on its run time, so every proof has a limit, and all of them
together have another one; what is not finished by then is "not decided".
"""

from __future__ import annotations

import multiprocessing
import resource
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from everlearn.domains.contract import find_domain, open_domain
from everlearn.domains.plugin import ExactProof
from everlearn.domains.verifier_process import exit_with_owner
from everlearn.errors import GrammarError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.metadata import EntryPoint
    from multiprocessing.connection import Connection

    from everlearn.domains.verifier_process import Pair

TIMEOUT_S = 2.0
TOTAL_TIMEOUT_S = 8.0
MEMORY_BYTES = 2 * 1024**3


def prove_answers(
    domain: str, pairs: Sequence[Pair], *, timeout_s: float = TIMEOUT_S, total_timeout_s: float = TOTAL_TIMEOUT_S
) -> list[ExactProof]:
    """Return a proof for each (problem, answer); "not decided" where the domain has none or the time is up.

    `total_timeout_s` includes the start of the child process, `timeout_s` does not.

    Raises:
        UnknownDomainError: no installed package provides the domain.
    """
    entry, deadline = find_domain(domain), time.monotonic() + total_timeout_s
    proofs: list[ExactProof] = []
    child: ProofProcess | None = None
    for pair in pairs:
        child = child or ProofProcess(entry)
        proof = child.prove(pair, timeout_s=timeout_s, deadline=deadline)
        if proof is None:
            child.kill()
            child = None
        proofs.append(proof or ExactProof.not_decided())
        if time.monotonic() >= deadline:
            break
    if child:
        child.kill()
    return proofs + [ExactProof.not_decided()] * (len(pairs) - len(proofs))


class ProofProcess:
    """A child process that proves one answer at a time."""

    def __init__(self, entry: EntryPoint) -> None:
        context = multiprocessing.get_context("forkserver")
        self._pipe, theirs = context.Pipe()
        life, self._life = context.Pipe(duplex=False)
        self._is_ready = False
        self._process = context.Process(target=serve_proofs, args=(theirs, life, entry), daemon=True)
        self._process.start()
        theirs.close()
        life.close()

    def prove(self, pair: Pair, *, timeout_s: float, deadline: float) -> ExactProof | None:
        """Return the proof, or None if the child died, or did not finish in time."""
        try:
            if not self._is_ready:
                if not self._pipe.poll(max(0.0, deadline - time.monotonic())):
                    return None
                self._pipe.recv()
                self._is_ready = True
            self._pipe.send(pair)
            if not self._pipe.poll(max(0.0, min(timeout_s, deadline - time.monotonic()))):
                return None
            proof: ExactProof = self._pipe.recv()
        except (EOFError, OSError):
            return None
        return proof

    def kill(self) -> None:
        """End the process now."""
        self._pipe.close()
        self._process.kill()
        self._process.join()
        self._life.close()


def serve_proofs(pipe: Connection, life: Connection, entry: EntryPoint) -> None:
    """Prove answers until the other end of the pipe is closed. The entry point of the child process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    exit_with_owner(life)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    domain = open_domain(entry)
    try:
        with suppress(GrammarError):  # the import of an algebra system is not part of the first proof's time
            domain.prove(domain.stated("0"), "0")
        pipe.send("ready")
        while True:
            problem, answer = pipe.recv()
            pipe.send(domain.prove(problem, answer))
    except (EOFError, ConnectionError):
        return
