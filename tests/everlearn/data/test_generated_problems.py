"""Different problems for a night or a suite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from everlearn.data import rows, suites
from everlearn.data.generated_problems import generate_problems, write_problems
from everlearn.domains.contract import load_domain
from everlearn.errors import BadInputError

if TYPE_CHECKING:
    from pathlib import Path

DOMAIN = load_domain("arithmetic")


def test_problems_differ_and_have_the_size() -> None:
    problems = generate_problems(DOMAIN, count=50, size=3, seed=0)
    assert len({DOMAIN.equivalence(problem.statement) for problem in problems}) == len(problems) == 50
    assert {DOMAIN.size(problem.statement) for problem in problems} == {3}
    assert problems == generate_problems(DOMAIN, count=50, size=3, seed=0)
    assert problems != generate_problems(DOMAIN, count=50, size=3, seed=1)
    assert problems[0].id == "arithmetic-3-0-0001"


def test_rows_are_read_as_a_night_reads_them(tmp_path: Path) -> None:
    problems = generate_problems(DOMAIN, count=5, size=2, seed=0)
    write_problems(problems, tmp_path / "new" / "rows.jsonl")
    read = rows.read(tmp_path / "new", domain="integration", load=load_domain).rows
    assert [(row.id, row.domain, row.statement) for row in read] == [
        (each.id, "arithmetic", each.statement) for each in problems
    ]


def test_a_generated_suite_is_read_as_a_suite(tmp_path: Path) -> None:
    problems = generate_problems(DOMAIN, count=5, size=2, seed=0)
    write_problems(problems, tmp_path / "short.jsonl", suite="short")
    [suite] = suites.load_directory(tmp_path, domain="arithmetic")
    assert (suite.name, suite.kind, suite.problems) == ("short", "skill", problems)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").touch()
    with pytest.raises(BadInputError, match="exists: name another file"):
        write_problems((), tmp_path / "rows.jsonl")


def test_a_domain_with_too_few_problems_says_how_many() -> None:
    with pytest.raises(BadInputError, match=r"no 56 different problems of size 1: 55 were found"):
        generate_problems(DOMAIN, count=56, size=1, seed=0)
