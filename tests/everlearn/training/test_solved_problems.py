"""Results of single problems: the key covers what they depend on, and an offered row keeps the problem's own reference."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.data import rows
from everlearn.domains.contract import Domain, load_domain
from everlearn.domains.programs.sandbox import require_sandbox
from everlearn.problem import Problem, Ruling, Verdict
from everlearn.settings import LearnSettings, Settings
from everlearn.storage.in_memory import MemoryStore
from everlearn.training import solved_problems
from everlearn.training.models import fingerprint
from everlearn.training.solved_problems import (
    comparison_of,
    keys_of,
    offer,
    offered_row,
    progress_of,
    row_of,
    summary,
    with_comparison,
)
from everlearn.training.test_time import Budget, By, Solution
from tests.support.sandbox import install_stand_in, why_not

if TYPE_CHECKING:
    from collections.abc import Iterator

CLAMP = "def clamp(x, low, high): return x, but at least low and at most high"
TESTS = json.dumps([f"assert clamp({x}, 0, 3) == {min(max(x, 0), 3)}" for x in (-2, 1, 5)])
CODE = "def clamp(x, low, high):\n    return max(low, min(x, high))"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Domain]:
    """The domain `programs`, where no sandbox can be made with a stand-in."""
    if why_not():
        install_stand_in(tmp_path, monkeypatch)
    yield load_domain("programs")
    require_sandbox.cache_clear()


def solution(statement: str, answer: str | None, *, by: By | None = By.SAMPLES, **changes: Any) -> Solution:
    made = Solution(
        statement=statement,
        answer=answer,
        by=by,
        rollouts=17,
        tokens=90,
        cpu_seconds=1.0,
        rungs=0,
        steps=0,
        contradicted=0,
    )
    return replace(made, **changes)


def as_row(problem: Problem, answer: str | None, **changes: Any) -> dict[str, Any]:
    return row_of(solution(problem.statement, answer, **changes), domain=problem.domain, version="base", key="k")


def offered(domain: Domain, problem: Problem, answer: str, tmp_path: Path) -> rows.Row:
    """Offer a solved problem, and return its row as the next night reads it."""
    store = MemoryStore()
    assert offer(store, "line", [problem], [as_row(problem, answer)]) == 1
    [shard] = store.list("line/inbox/")
    path = tmp_path / "shard.jsonl"
    path.write_bytes(store.get(shard.key).data)
    [row] = rows.read(path, domain=domain.name, load=load_domain).rows
    return row


def test_a_program_keeps_its_tests(programs: Domain, tmp_path: Path) -> None:
    problem = programs.problem({"statement": CLAMP, "reference": TESTS})
    row = offered(programs, problem, CODE, tmp_path)
    assert (row.fault, row.statement, row.reference) == (None, problem.statement, TESTS)


def test_a_program_without_tests_has_its_answer_elsewhere(programs: Domain, tmp_path: Path) -> None:
    problem = programs.problem("def f(xs): keep the even numbers, add all")
    row = offered(programs, problem, "def f(xs):\n    return sum(x for x in xs if x % 2 == 0)", tmp_path)
    assert (row.fault, row.statement, row.reference) == (None, problem.statement, None)


def test_a_calculation_is_offered_with_its_answer_aside(tmp_path: Path) -> None:
    domain = load_domain("arithmetic")
    problem = domain.problem("347 + 58")
    assert offered_row(problem, "405", domain=domain) == {
        "problem": "347 + 58",
        "domain": "arithmetic",
        "answer": "405",
    }
    row = offered(domain, problem, "405", tmp_path)
    assert (row.fault, row.statement, row.reference) == (None, "347 + 58", None)


class Sums:
    """A domain that keeps any reference and needs none."""

    name = "sums"

    def problem(self, row: Any) -> Problem:
        return Problem(id="", domain=self.name, statement=row["statement"], reference=row.get("reference"))

    def question(self, problem: Problem) -> str:
        return problem.statement

    def verify(self, problem: Problem, answer: str) -> Verdict:
        right = answer == str(sum(map(int, problem.statement.split("+"))))
        return Verdict(ruling=Ruling.CORRECT if right else Ruling.WRONG, reason="added")


def test_a_domain_that_keeps_references_gets_the_right_answer_as_one() -> None:
    domain = Domain(Sums())
    row = {"problem": "3+4", "domain": "sums"}
    problem = domain.problem("3+4")
    assert offered_row(problem, "7", domain=domain) == row | {"reference": "7"}
    assert offered_row(problem, "8", domain=domain) == row | {"answer": "8"}
    assert offered_row(replace(problem, reference="seven"), "7", domain=domain) == row | {"reference": "seven"}


def test_what_is_unsolved_or_was_answered_at_once_is_not_offered() -> None:
    problem, store = load_domain("arithmetic").problem("347 + 58"), MemoryStore()
    known = [as_row(problem, None, by=None), as_row(problem, "405", by=By.GREEDY)]
    assert offer(store, "line", [problem, problem], known) == 0
    assert not list(store.list(""))


def test_a_key_covers_reference_domain_code_and_budget(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(id="a", domain="arithmetic", statement="347 + 58")

    def key(problem: Problem = problem, *, domain: str = "arithmetic", budget: Budget = Budget()) -> str:  # noqa: B008
        [(_, found)] = keys_of([problem], Settings(domain=domain), budget, base=tiny, adapter=None).values()
        return found

    first = key()
    others = {
        key(replace(problem, reference="405")),
        key(domain="equations"),
        key(budget=Budget(tokens=100)),
    }
    assert len(others | {first}) == 4
    assert key() == first
    monkeypatch.setattr(solved_problems, "code_version", lambda _: "of another verifier")
    assert key() != first


def test_keys_of_earlier_results_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal on bae8f9f. A later setting of these sections goes into `ADDED_LATER`: its default changes no key."""
    monkeypatch.setattr(fingerprint, "fingerprint", lambda _: "b" * 64)
    monkeypatch.setattr(solved_problems, "code_version", lambda _: "c" * 64)
    monkeypatch.setattr(solved_problems, "version", lambda _: "0.1.0")

    def keys(settings: Settings) -> tuple[str, str]:
        problem = Problem(id="a", domain="integration", statement="347 + 58")
        [found] = keys_of([problem], settings, Budget(), base=Path(), adapter=None).values()
        return found

    assert keys(Settings()) == ("d435c2e12392c710", "0865127470e3a897"), "with and without a comparison"
    assert keys(Settings(learn=LearnSettings(pseudo_labels=0.75))) != keys(Settings())


def test_two_problems_with_other_references_have_a_key_each(tiny: Path) -> None:
    problems = [Problem(id="a", domain="numbers", statement="how many?", reference=each) for each in ("7", "8")]
    keys = keys_of(problems, Settings(domain="arithmetic"), Budget(), base=tiny, adapter=None)
    assert len(set(keys.values())) == 2


def test_a_summary_says_what_each_arm_solved() -> None:
    problem = load_domain("arithmetic").problem("347 + 58")
    missed, right = solution("347 + 58", None, by=None), solution("347 + 58", "405")

    def beside(row: dict[str, Any], samples: Solution, both: Solution) -> dict[str, Any]:
        return with_comparison(row, {"samples": samples.to_content(), "both": both.to_content()}, key="k")

    compared = [
        beside(as_row(problem, "405", by=By.TRAINING), missed, right),
        beside(as_row(problem, None, by=None), right, right),
        beside(as_row(problem, "405", by=By.GREEDY), right, right),
    ]
    assert compared[0]["beside"]["samples"] == {
        "answer": None,
        "by": None,
        "rollouts": 17,
        "tokens": 90,
        "cpu_seconds": 1.0,
    }
    facts = summary(compared)
    assert (facts["solved"], facts["solved by best of n"], facts["solved by both together"]) == (2, 2, 3)
    assert (facts["cpu_seconds"], facts["cpu_seconds of the comparison"]) == (3.0, 4.0)
    assert facts["compared"] == (
        "at equal rollouts: a ladder for each problem solved 2 of 3, best of n 2, both together 3"
    )
    assert summary([*compared, as_row(problem, "405")])["compared"] == facts["compared"], "one is not compared"
    assert "compared" not in summary([as_row(problem, "405")])


def test_a_comparison_for_more_rollouts_than_the_result_took_is_none() -> None:
    problem = load_domain("arithmetic").problem("347 + 58")
    row, right = as_row(problem, "405"), solution("347 + 58", "405").to_content()
    equal = with_comparison(row, {"samples": right, "both": right}, key="k")
    unequal = with_comparison(row, {"samples": right, "both": right | {"rollouts": 333}}, key="k")
    assert set(comparison_of(equal) or ()) == {"samples", "both"}
    assert comparison_of(unequal) is comparison_of(row) is None
    rows = [row, equal, unequal]
    assert progress_of(rows, problems=5, compares=True) == (4, 10)
    assert progress_of(rows, problems=5, compares=False) == (3, 5)
