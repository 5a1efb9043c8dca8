"""Problems that are solved one by one come as they are solved, from one process or several."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

import pytest

from everlearn.errors import EverlearnError
from everlearn.problem import Problem
from everlearn.training.solve_pool import in_processes
from tests.support.labels import die, fail_first, label

if TYPE_CHECKING:
    from pathlib import Path

OWNER = """
import os
import signal

from everlearn.training.solve_pool import in_processes


def work(problem):
    os.write(1, f"{os.getpid()}\\n".encode())
    signal.pause()


if __name__ == "__main__":
    list(in_processes("ab", work, processes=2))
"""
PROBLEMS = [Problem(id=text, domain="integration", statement=text) for text in ("2*x", "tan(x)", "cos(x)")]


@pytest.mark.parametrize("processes", [1, 2])
def test_every_problem_comes_with_its_solution(processes: int) -> None:
    found = [str(each) for each in in_processes(PROBLEMS, label, processes=processes)]
    statements = [problem.statement for problem in PROBLEMS]
    assert sorted(found) == sorted(statements)
    if processes == 1:
        assert found == statements


def test_a_killed_process_is_an_error_with_a_remedy() -> None:
    with pytest.raises(EverlearnError, match="use fewer processes"):
        list(in_processes(PROBLEMS[:2], die, processes=2))


def test_what_is_at_work_when_another_problem_fails_is_finished_and_kept(tmp_path: Path) -> None:
    problems = [Problem(id=name, domain="integration", statement=str(tmp_path / name)) for name in ("first", "second")]
    kept: list[object] = []
    with pytest.raises(EverlearnError, match="the first problem cannot be solved"):
        kept.extend(each for each in in_processes(problems, fail_first, processes=2))
    assert kept == [str(tmp_path / "second")]


@pytest.mark.slow
def test_processes_end_when_their_owner_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        watched = [os.pidfd_open(int(owner.stdout.readline())) for _ in range(2)]
        owner.send_signal(signal.SIGKILL)
    for pid_file in watched:
        assert wait([pid_file], timeout=30), "a process is still there"
        os.close(pid_file)
