from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn import counters
from everlearn.domains.contract import find_domain
from everlearn.domains.pool import BATCH, VerifierPool, second_judgement
from everlearn.domains.verifier_process import OUT_OF_MEMORY, cpu_seconds_of, serve
from everlearn.errors import EverlearnError, UnknownDomainError
from everlearn.problem import Problem, Ruling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRAPS = '''
import multiprocessing
import os
import pathlib
import subprocess
import sys
import time

from everlearn.errors import GrammarError
from everlearn.problem import Ruling, Verdict


class Traps:
    """A domain whose answers say how to treat the verifier."""

    name = "traps"
    problem = question = None

    def verify(self, problem, answer, *, seed=0):
        if answer in ("hang", "sleep"):
            os.write(1, f"{answer}\\n".encode())  # one call: print's text and its newline may come apart
        if answer == "hang":
            while True:
                pass
        if answer == "sleep":
            time.sleep(1000)
        if answer == "child":
            loop = "import time\\nwhile time.process_time() < 0.4: pass"
            subprocess.run([sys.executable, "-c", loop], check=True)
        if answer == "die":
            os.kill(os.getpid(), 9)
        if answer == "refuse":
            raise GrammarError("no")
        if answer == "eat":
            bytearray(10**11)
        if answer.startswith("once "):
            place = pathlib.Path(answer.removeprefix("once "))
            if not place.exists():
                place.touch()
                os.kill(os.getpid(), 9)
        return Verdict(ruling=Ruling.CORRECT, reason=f"{problem.statement} {seed}")

    def recheck(self, problem, answer):
        if answer == "hang":
            while True:
                pass
        return Verdict(ruling=Ruling.WRONG, reason="judged again")


class Broken:
    """A domain that loads in this process only."""

    def __init__(self):
        if multiprocessing.parent_process():
            raise SystemExit(3)
'''
OWNER = """
from everlearn.domains.contract import find_domain
from everlearn.domains.pool import VerifierPool
from everlearn.problem import Problem

if __name__ == "__main__":
    with VerifierPool("traps", workers=2, timeout_s=1000) as pool:
        print(*(worker.process.pid for worker in pool._workers), flush=True)
        problems = [Problem(id=name, domain="traps", statement=name) for name in "ab"]
        pool.verify_many(list(zip(problems, ["hang", "sleep"])))
"""


def asked(statement: str, *, reference: str | None = None) -> Problem:
    return Problem(id=statement, domain="traps", statement=statement, reference=reference)


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


@pytest.fixture(scope="module")
def pools() -> Iterator[list[VerifierPool]]:
    with ExitStack() as stack:
        yield [stack.enter_context(VerifierPool("integration", workers=count)) for count in (1, 2, 3)]


def test_verdicts_keep_the_order_of_the_pairs(pools: list[VerifierPool]) -> None:
    verdicts = pools[1].verify_many([(asked("2*x"), "x^2" if n % 3 else f"x^3+{n}") for n in range(3 * BATCH)])

    assert [verdict.is_correct for verdict in verdicts] == [bool(n % 3) for n in range(3 * BATCH)]


def test_no_pairs_give_no_verdicts(pools: list[VerifierPool]) -> None:
    assert pools[0].verify_many([]) == []


@settings(max_examples=25, deadline=None)
@given(
    pairs=st.lists(
        st.tuples(
            st.sampled_from(["2*x", "cos(x)", "2x", "x^2+sin(x)"]),
            st.sampled_from(["x^2", "x^2+1", "sin(x)", "x^3/3-cos(x)", "erf(x)", "(", "\ud800"]) | st.text(max_size=8),
        ),
        max_size=12,
    ),
    seed=st.integers(0, 3),
)
def test_verdicts_do_not_depend_on_the_number_of_workers(
    pools: list[VerifierPool], pairs: list[tuple[str, str]], seed: int
) -> None:
    one, two, three = (
        pool.verify_many([(asked(problem), answer) for problem, answer in pairs], seed=seed) for pool in pools
    )

    assert one == two == three


def test_oversized_texts_are_sent_one_by_one(traps: str) -> None:
    with VerifierPool(traps) as pool:
        verdicts = pool.verify_many([(asked("a"), "long" * 100_000), (asked("b"), "more" * 100_000), (asked("c"), "")])

    assert [verdict.reason for verdict in verdicts] == ["a 0", "b 0", "c 0"]


def test_the_seed_reaches_the_worker(traps: str) -> None:
    with VerifierPool(traps) as pool:
        assert pool.verify(asked("x"), "", seed=7).reason == "x 7"


def test_an_invalid_problem_is_undecided(pools: list[VerifierPool]) -> None:
    verdict = pools[0].verify(asked("x2"), "x")

    assert verdict.ruling is Ruling.UNDECIDED
    assert pools[0].recorded == {}, "the domain has said so, not the pool"


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("hang", "no verdict within 0.2 seconds"),
        ("sleep", "no verdict within 0.2 seconds"),
        ("die", "the verifier died of it"),
        ("eat", "the verifier needs more than the 2048 MiB it is allowed"),
    ],
)
def test_a_crashing_answer_affects_only_itself(traps: str, answer: str, reason: str, workers: int) -> None:
    with VerifierPool(traps, workers=workers, timeout_s=0.2) as pool:
        verdicts = pool.verify_many(
            [(asked("a"), ""), (asked("b"), answer), (asked("c"), ""), (asked("d"), answer), (asked("e"), "")]
        )

    assert [verdict.ruling for verdict in verdicts] == ["CORRECT", "UNDECIDED", "CORRECT", "UNDECIDED", "CORRECT"]
    assert {verdicts[1].reason, verdicts[3].reason} == {reason}
    assert len(pool.recorded) == 2


def test_a_failed_pair_is_retried_once(traps: str, tmp_path: Path) -> None:
    with VerifierPool(traps) as pool:
        verdicts = pool.verify_many([(asked("a"), ""), (asked("b"), f"once {tmp_path / 'seen'}"), (asked("c"), "")])

    assert [verdict.reason for verdict in verdicts] == ["a 0", "b 0", "c 0"]
    assert pool.recorded == {}


def test_second_judgements_have_the_same_limits(traps: str) -> None:
    with VerifierPool(traps, timeout_s=0.2, recheck=True) as pool:
        verdicts = pool.verify_many([(asked("a"), "x"), (asked("b"), "hang")])
    assert [verdict.reason for verdict in verdicts] == ["judged again", "no verdict within 0.2 seconds"]
    assert [verdict.ruling for verdict in verdicts] == ["WRONG", "UNDECIDED"]


def test_second_judgements_start_their_process_only_when_they_are_asked(
    traps: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everlearn.domains.pool.RECHECK_S", 0.2)
    before = set(multiprocessing.active_children())
    with second_judgement(traps, workers=1) as judge:
        assert set(multiprocessing.active_children()) == before
        reasons = [judge([(asked("a"), text)])[0].reason for text in ("x", "hang")]
    assert reasons == ["judged again", "no verdict within 0.2 seconds"]
    with second_judgement("integration", workers=0) as judge:
        assert judge([(Problem(id="p", domain="integration", statement="2*x"), "x^2")])[0].is_correct


def test_recorded_verdicts_are_replayed(traps: str) -> None:
    with VerifierPool(traps, timeout_s=0.2) as pool:
        first = pool.verify_many([(asked("a"), "die"), (asked("b"), "hang")], seed=3)
    saved = json.loads(json.dumps(pool.recorded))
    with VerifierPool(traps, timeout_s=1000, recorded=saved) as resumed:
        pids = resumed.pids
        again = resumed.verify_many([(asked("a"), "die"), (asked("b"), "hang")], seed=3)
        assert resumed.pids == pids

    assert again == first
    assert resumed.recorded == pool.recorded


def test_recorded_verdicts_depend_on_the_seed(traps: str) -> None:
    with VerifierPool(traps, recorded={json.dumps(["a", "", 1]): {"reason": "it hung"}}) as pool:
        assert pool.verify(asked("a"), "", seed=1).reason == "it hung"
        assert pool.verify(asked("a"), "", seed=2).is_correct


def test_a_killed_idle_worker_loses_no_verdict(traps: str) -> None:
    with VerifierPool(traps) as pool:
        pool._workers[0].process.kill()
        pool._workers[0].process.join()
        assert pool.verify(asked("x"), "").is_correct
        assert pool.recorded == {}


@pytest.mark.parametrize(("answer", "limit"), [("hang", 0.3), ("child", 60.0)])
def test_the_cpu_time_of_workers_counts_also_of_killed_ones_and_of_children(
    traps: str, answer: str, limit: float
) -> None:
    with VerifierPool(traps, timeout_s=limit) as pool:
        before = counters.cpu_seconds()
        own = time.process_time()
        pool.verify(asked("x"), answer)
        assert counters.cpu_seconds() - before - (time.process_time() - own) >= 0.3


def test_no_worker_outlives_the_pool() -> None:
    with VerifierPool("integration", workers=2) as pool:
        processes = [worker.process for worker in pool._workers]
        assert all(process.is_alive() for process in processes)

    assert [process.exitcode for process in processes] == [0, 0, 0]


def test_workers_end_when_their_owner_is_killed(traps: str, tmp_path: Path) -> None:
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    with subprocess.Popen([sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        watched = [os.pidfd_open(int(word)) for word in owner.stdout.readline().split()]
        begun = {owner.stdout.readline(), owner.stdout.readline()}
        owner.send_signal(signal.SIGKILL)

    assert begun == {"hang\n", "sleep\n"}
    assert len(watched) == 3
    for pid_file in watched:
        assert wait([pid_file], timeout=30), "a worker is still there"
        os.close(pid_file)


@pytest.mark.usefixtures("traps")
def test_a_domain_that_fails_to_load_is_an_error() -> None:
    with pytest.raises(EverlearnError, match="a verifier of broken did not start"), VerifierPool("broken"):
        pass


def test_an_unknown_domain_is_an_error_at_construction() -> None:
    with pytest.raises(UnknownDomainError):
        VerifierPool("chess")


def test_a_missing_process_has_no_cpu_time() -> None:
    assert cpu_seconds_of(os.getpid()) > 0
    assert cpu_seconds_of(2**22 + 1) == 0


class Served:
    """A worker as the pool has it, but in a process that coverage sees."""

    def __init__(self, domain: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        life, self.life = context.Pipe(duplex=False)
        self.begun = context.RawArray("d", 4)
        self.process = context.Process(target=serve, args=(theirs, life, self.begun, find_domain(domain), 2**33))
        self.given = (theirs, life)

    def say(self, *answers: str) -> list[list[str]]:
        self.pipe.send_bytes(json.dumps([5, [["x", "traps", "x", None, answer] for answer in answers]]).encode())
        reply: list[list[str]] = json.loads(self.pipe.recv_bytes())
        return reply

    def started(self) -> Served:
        self.process.start()
        for end in self.given:
            end.close()
        return self


def test_a_worker_serves_until_its_pipe_is_closed(traps: str) -> None:
    worker = Served(traps).started()
    ready = json.loads(worker.pipe.recv_bytes())
    reply = worker.say("", "refuse") + worker.say("")
    worker.pipe.close()
    worker.process.join(30)

    assert ready == []
    assert [ruling for ruling, _ in reply] == ["CORRECT", "UNDECIDED", "CORRECT"]
    assert reply[1][1] == "the problem cannot be read: no"
    assert worker.begun[0] == 0
    assert worker.process.exitcode == 0


def test_an_out_of_memory_worker_exits_with_its_code(traps: str) -> None:
    worker = Served(traps).started()
    worker.pipe.recv_bytes()
    with pytest.raises(EOFError):
        worker.say("", "eat", "")
    worker.process.join(30)

    assert worker.begun[0] == 1
    assert worker.process.exitcode == OUT_OF_MEMORY


def test_a_worker_without_owner_exits_at_start(traps: str) -> None:
    worker = Served(traps)
    worker.life.close()
    worker.started().process.join(30)

    assert worker.process.exitcode == 1
