from __future__ import annotations

import multiprocessing
import os
import signal
import time
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.domains import exact_proofs
from everlearn.domains.contract import GROUP
from everlearn.domains.exact_proofs import prove_answers, serve_proofs
from everlearn.domains.integration.domain import Integration
from everlearn.domains.plugin import ExactProof
from everlearn.errors import UnknownDomainError
from everlearn.problem import Problem, Ruling, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping


def asked(statement: str) -> Problem:
    return Problem(id=statement, domain="fake", statement=statement)


class Without:
    """A domain without exact proofs."""

    name = "fake"

    def problem(self, row: Mapping[str, Any]) -> Problem:
        return asked(row["statement"])

    def question(self, problem: Problem) -> str:
        return problem.statement

    def verify(self, problem: Problem, answer: str) -> Verdict:
        return Verdict(ruling=Ruling.UNDECIDED, reason=answer)


class Slow(Without):
    """A domain whose proof of `slow` never ends, and whose proof of `dies` kills the process."""

    def prove(self, problem: Problem, answer: str) -> ExactProof:
        if answer == "slow":
            time.sleep(1000)
        if answer == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        return ExactProof(proved=problem.statement == "1")


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    entry = EntryPoint(name="fake", value=f"{__name__}:{request.param}", group=GROUP)
    monkeypatch.setattr(exact_proofs, "find_domain", lambda _: entry)
    return "fake"


def test_proofs_come_back_in_order() -> None:
    pairs = [(asked("2*x"), "x^2"), (asked("2*x"), "x^3"), (asked("cos(x)"), "sin(x)")]
    proofs = prove_answers("integration", pairs, timeout_s=60, total_timeout_s=120)
    assert [proof.status for proof in proofs] == ["proved", "not decided", "proved"]


def test_no_answers_start_no_process() -> None:
    assert prove_answers("integration", []) == []


def test_an_unknown_domain_is_refused() -> None:
    with pytest.raises(UnknownDomainError):
        prove_answers("chess", [])


@pytest.mark.parametrize("domain", ["Slow"], indirect=True)
def test_a_timeout_is_not_decided_and_the_next_is_proved(domain: str) -> None:
    proofs = prove_answers(
        domain,
        [(asked("1"), "slow"), (asked("1"), ""), (asked("1"), "dies"), (asked("1"), "")],
        timeout_s=3,
        total_timeout_s=90,
    )
    assert [proof.proved for proof in proofs] == [False, True, False, True]


@pytest.mark.parametrize("domain", ["Slow"], indirect=True)
def test_the_total_time_is_bounded(domain: str) -> None:
    started = time.monotonic()
    proofs = prove_answers(domain, [(asked("1"), "slow")] * 5, timeout_s=1000, total_timeout_s=0.5)
    assert time.monotonic() - started < 30
    assert proofs == [ExactProof.not_decided()] * 5


@pytest.mark.parametrize("domain", ["Without"], indirect=True)
def test_a_domain_without_proofs_decides_nothing(domain: str) -> None:
    assert [proof.status for proof in prove_answers(domain, [(asked("1"), "1")], total_timeout_s=60)] == ["not decided"]


@pytest.mark.parametrize("name", ["Slow", "Without"])
def test_a_proof_process_serves_until_its_pipe_is_closed(name: str) -> None:
    context = multiprocessing.get_context("spawn")  # a process that coverage measures
    pipe, theirs = context.Pipe()
    life, _owner = context.Pipe(duplex=False)
    entry = EntryPoint(name="fake", value=f"{__name__}:{name}", group=GROUP)
    process = context.Process(target=serve_proofs, args=(theirs, life, entry))
    process.start()
    theirs.close()
    assert pipe.recv() == "ready"
    pipe.send((asked("1"), ""))
    assert pipe.recv().proved is (name == "Slow")
    pipe.close()
    process.join(60)
    assert process.exitcode == 0


def test_no_time_at_all_decides_nothing() -> None:
    assert prove_answers("integration", [(asked("2*x"), "x^2")], total_timeout_s=0.0) == [ExactProof.not_decided()]


def test_the_domain_proves_by_computer_algebra() -> None:
    assert Integration().prove(asked("2*x"), "x^2 + 7").status == "proved"
