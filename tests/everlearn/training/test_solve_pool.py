"""Problems that are solved one by one come as they are solved, from one process or several."""

from __future__ import annotations

import pytest

from everlearn.problem import Problem
from everlearn.training.solve_pool import in_processes
from tests.support.labels import label

PROBLEMS = [Problem(id=text, domain="integration", statement=text) for text in ("2*x", "tan(x)", "cos(x)")]


@pytest.mark.parametrize("processes", [1, 2])
def test_every_problem_comes_with_its_solution(processes: int) -> None:
    found = [str(each) for each in in_processes(PROBLEMS, label, processes=processes)]
    statements = [problem.statement for problem in PROBLEMS]
    assert sorted(found) == sorted(statements)
    if processes == 1:
        assert found == statements
