from __future__ import annotations

import json
import multiprocessing
import sys
from typing import TYPE_CHECKING

import pytest

from everlearn.domains.pool import VerifierPool, serve
from everlearn.errors import EverlearnError, UnknownDomainError
from everlearn.problem import Ruling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRAPS = '''
import multiprocessing
import os

from everlearn.errors import GrammarError
from everlearn.problem import Ruling, Verdict


class Traps:
    """A domain whose answers say how to treat the verifier."""

    def verify(self, statement, answer, *, seed=0):
        if answer == "hang":
            while True:
                pass
        if answer == "die":
            os.kill(os.getpid(), 9)
        if answer == "refuse":
            raise GrammarError("no")
        if answer == "eat":
            bytearray(10**11)
        return Verdict(ruling=Ruling.CORRECT, reason=f"{statement} {seed}")


class Broken:
    """A domain that loads in this process only."""

    def __init__(self):
        if multiprocessing.parent_process():
            raise SystemExit(3)
'''


@pytest.fixture
def traps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An installed package with a domain that can be told to hang, to die and to eat memory."""
    (tmp_path / "trap_domain.py").write_text(TRAPS)
    info = tmp_path / "trap_domain-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: trap-domain\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[everlearn.domains]\ntraps = trap_domain:Traps\nbroken = trap_domain:Broken\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "traps"
    sys.modules.pop("trap_domain", None)


def test_verdicts_come_in_the_order_of_the_pairs() -> None:
    with VerifierPool("integration", workers=2) as pool:
        verdicts = pool.verify_many([("2*x", "x^2" if n % 3 else "x^3") for n in range(30)])

    assert [verdict.is_correct for verdict in verdicts] == [bool(n % 3) for n in range(30)]


def test_no_pairs_are_no_verdicts() -> None:
    with VerifierPool("integration") as pool:
        assert pool.verify_many([]) == []


def test_the_seed_reaches_the_worker(traps: str) -> None:
    with VerifierPool(traps) as pool:
        assert pool.verify("x", "", seed=7).reason == "x 7"


def test_a_problem_that_cannot_be_read_is_not_decided() -> None:
    with VerifierPool("integration") as pool:
        assert pool.verify("2x", "x").ruling is Ruling.UNDECIDED


@pytest.mark.parametrize(
    ("answer", "reason"), [("hang", "within 0.5 s"), ("die", "died"), ("eat", "more than the 2048 MiB")]
)
def test_a_bad_answer_costs_itself_only(traps: str, answer: str, reason: str) -> None:
    with VerifierPool(traps, workers=2, timeout_s=0.5) as pool:
        verdicts = pool.verify_many([("a", ""), ("b", answer), ("c", ""), ("d", answer), ("e", "")])

    assert [verdict.ruling for verdict in verdicts] == ["CORRECT", "UNDECIDED", "CORRECT", "UNDECIDED", "CORRECT"]
    assert reason in verdicts[1].reason


def test_a_worker_killed_between_two_answers_is_replaced(traps: str) -> None:
    with VerifierPool(traps) as pool:
        pool._workers[0].process.kill()
        pool._workers[0].process.join()
        assert pool.verify("x", "").ruling is Ruling.UNDECIDED
        assert pool.verify("x", "").is_correct


def test_no_worker_outlives_the_pool() -> None:
    with VerifierPool("integration", workers=2) as pool:
        processes = [worker.process for worker in pool._workers]
        assert all(process.is_alive() for process in processes)

    assert [process.exitcode for process in processes] == [0, 0]


@pytest.mark.usefixtures("traps")
def test_a_domain_that_does_not_start_is_said_at_once() -> None:
    with pytest.raises(EverlearnError, match="a verifier of broken did not start"), VerifierPool("broken"):
        pass


def test_an_unknown_domain_is_said_at_once() -> None:
    with pytest.raises(UnknownDomainError):
        VerifierPool("chess")


def test_a_worker_serves_until_its_pipe_is_closed(traps: str) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, traps, 2**32))
    process.start()
    theirs.close()
    said = [json.loads(ours.recv_bytes())]
    for answer in ("", "refuse", "eat", ""):
        ours.send_bytes(json.dumps(["x", answer, 5]).encode())
        said.append(json.loads(ours.recv_bytes()))
    ours.close()
    process.join(30)

    assert [ruling for ruling, _ in said] == ["UNDECIDED", "CORRECT", "UNDECIDED", "UNDECIDED", "CORRECT"]
    assert said[2][1] == "the problem cannot be read: no"
    assert process.exitcode == 0
