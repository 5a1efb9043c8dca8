"""A domain is named by its entry point, a task of a family by the entry point and the task."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest

from everlearn.domains.contract import find_domain, known_domains, load_domain, open_domain, tasks_of
from everlearn.domains.pool import VerifierPool
from everlearn.errors import UnknownDomainError
from tests.support.plugins import install

if TYPE_CHECKING:
    from pathlib import Path

FAMILY = """
from everlearn.problem import Problem, Ruling, Verdict


class Sizes:
    def __init__(self, task):
        self.name = f"sizes/{task}"

    @staticmethod
    def tasks():
        return ["short", "long"]

    def problem(self, row):
        return Problem(id="", domain=self.name, statement=row["statement"])

    def question(self, problem):
        return problem.statement

    def verify(self, problem, answer):
        return Verdict(ruling=Ruling.CORRECT, reason=self.name)
"""


@pytest.fixture
def sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return install(tmp_path, monkeypatch, name="sizes", source=FAMILY, member="Sizes")


def test_a_task_of_a_family_is_a_domain(sizes: str) -> None:
    assert sizes in known_domains()
    assert tasks_of(sizes) == ("sizes/short", "sizes/long")
    assert load_domain("sizes/long").name == "sizes/long"


def test_an_entry_with_a_task_is_opened_by_another_process(sizes: str) -> None:
    sent = pickle.loads(pickle.dumps(find_domain("sizes/short")))
    assert open_domain(sent).name == "sizes/short"
    with VerifierPool("sizes/short") as pool:
        problem = load_domain("sizes/short").problem("a")
        assert pool.verify(problem, "b").reason == "sizes/short"


@pytest.mark.parametrize("name", ["sizes", "sizes/", "sizes/medium", "sizes/short/long", "sizes/" + "x" * 100])
def test_a_family_needs_one_of_its_tasks(sizes: str, name: str) -> None:
    with pytest.raises(
        UnknownDomainError, match="a family of 2 tasks, name one of them, such as sizes/short, sizes/long"
    ):
        load_domain(name)


@pytest.mark.parametrize("name", ["arithmetic/x", "arithmetic/"])
def test_a_domain_that_is_no_family_has_no_tasks(name: str) -> None:
    assert tasks_of("arithmetic") == ()
    with pytest.raises(UnknownDomainError, match="arithmetic has no tasks, use 'arithmetic' alone"):
        find_domain(name)


def test_a_pool_refuses_an_unknown_task_in_the_process_that_asks(sizes: str) -> None:
    with pytest.raises(UnknownDomainError):
        VerifierPool("sizes/medium")


@pytest.mark.parametrize("name", ["/short", "", "chess/short"])
def test_a_task_of_no_domain_is_unknown(name: str) -> None:
    with pytest.raises(UnknownDomainError, match=r"use one of .*integration"):
        load_domain(name)


def test_a_domain_whose_library_is_missing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "import a_library_that_is_not_there"
    install(tmp_path, monkeypatch, name="lacking", source=source, member="Lacking")
    assert "lacking" in known_domains()
    with pytest.raises(UnknownDomainError, match=r"No module named 'a_library.*pip install 'everlearn\[lacking\]'"):
        load_domain("lacking")
