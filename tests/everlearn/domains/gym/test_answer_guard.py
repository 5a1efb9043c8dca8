"""No answer is run as code by a verifier of the library."""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.domains.contract import Domain
from everlearn.domains.gym import library
from everlearn.domains.gym.answer_guard import (
    LIBRARY,
    PARSES,
    RUNS,
    RefusedAnswerError,
    check_answer,
    guarded,
    reach_of,
)
from everlearn.domains.gym.dials import read_setting
from everlearn.domains.gym.domain import Gym
from everlearn.domains.gym.library import data_set_of, entry_of

if TYPE_CHECKING:
    from pathlib import Path

EVALUATES = ("binary_matrix", "n_queens", "spiral_matrix", "string_insertion")
PARSING = ("countdown", "polynomial_multiplication", "puzzle24", "simple_integration")
CODE = """
import os
from reasoning_gym import made_up_parts

class Answers:
    def score_answer(self, answer, entry):
        return self.inner(answer, entry)

    def inner(self, answer, entry):
        return [made_up_parts.Reader().read(each) for each in [answer]]

class Harmless:
    def score_answer(self, answer, entry):
        return made_up_parts.length(answer) + self.length
"""
PARTS = """
import os

class Reader:
    def read(self, text):
        os.system(text)

def length(text):
    return len(text)
"""


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the library whose verifier runs commands, in a method of a class in another module."""
    package = importlib.import_module(LIBRARY)
    for name, source in (("made_up_parts", PARTS), ("made_up", CODE)):
        module = types.ModuleType(f"{LIBRARY}.{name}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(package, name, module, raising=False)
        exec(source, vars(module))
    return sys.modules[f"{LIBRARY}.made_up"]


def test_what_a_verifier_reaches_is_read_from_its_code(made_up: Any) -> None:
    assert "system" in reach_of(made_up.Answers).names
    assert not reach_of(made_up.Harmless).names & (RUNS | PARSES)
    assert len(reach_of(made_up.Harmless).modules) == 2


def test_a_verifier_that_runs_commands_gets_no_answer(made_up: Any) -> None:
    with pytest.raises(RefusedAnswerError, match="uses system"):
        check_answer(made_up.Answers(), "true", stored="true")
    check_answer(made_up.Harmless(), "true", stored="false")


def test_only_texts_of_the_entry_are_evaluated() -> None:
    setting = read_setting("seed 1", dials=library.dials_of("spiral_matrix"))
    data_set = data_set_of("spiral_matrix", setting.levels)
    [names] = reach_of(data_set.__class__).modules
    with guarded(data_set, entry={"question": "[1, 2]", "metadata": [{"a": "3"}]}):
        assert names["eval"]("[1, 2]") == [1, 2]
        assert names["eval"]("3", {}) == 3
        with pytest.raises(ValueError, match="only texts of the library"):
            names["eval"]("oracle_answer")
    assert "eval" not in names


@pytest.mark.parametrize("task", EVALUATES)
def test_an_answer_that_names_a_variable_of_the_verifier_is_wrong(task: str, tmp_path: Path) -> None:
    domain = Domain(Gym(task))
    problem = domain.problem("seed 1")
    ran = tmp_path / "ran"
    for answer in (
        "oracle_answer",
        "[oracle_answer]",
        "oracle_answer.split()",
        "entry['answer']",
        "[entry['answer']]",
        "entry['metadata']['valid_answers'][0]",
        f"open({str(ran)!r}, 'w')",
        f"__import__('pathlib').Path({str(ran)!r}).touch()",
        "exit()",
    ):
        assert domain.verify(problem, answer).ruling == "WRONG"
    assert not ran.exists()


@pytest.mark.parametrize("task", PARSING)
def test_an_answer_that_is_code_is_not_parsed(task: str, tmp_path: Path) -> None:
    domain = Domain(Gym(task))
    problem = domain.problem("seed 1")
    ran = tmp_path / "ran"
    for answer in (
        f"open({str(ran)!r}, 'w')",
        f"__import__('pathlib').Path({str(ran)!r}).touch()",
        "(lambda: 24)()",
        "0x18 + 0*(1+2+3+4)",
        "9**9**9**9",
        "x.subs",
    ):
        assert domain.verify(problem, answer).ruling == "UNREADABLE"
    assert not ran.exists()


def test_numbers_that_the_verifier_does_not_count_are_refused() -> None:
    """Of the numbers of a countdown each must be used once: one written without digits would make any target."""
    gym = Gym("countdown")
    domain = Domain(gym)
    problem = domain.problem("seed 1")
    metadata = entry_of("countdown", read_setting(problem.statement, dials=library.dials_of("countdown"))).fields[
        "metadata"
    ]
    nothing = "+".join(f"{number}*(E-E)" for number in metadata["numbers"])
    target = "+".join(["E/E"] * metadata["target"])
    assert domain.verify(problem, f"{nothing}+{target}").ruling == "UNREADABLE"
    solved = gym.solve(problem)
    assert solved is not None
    assert domain.verify(problem, solved).is_correct
    assert domain.verify(problem, f"({solved})").is_correct


@pytest.mark.parametrize("task", ["bitwise_arithmetic", "number_sorting"])
def test_verifiers_that_evaluate_their_own_texts_still_judge(task: str) -> None:
    gym = Gym(task)
    domain = Domain(gym)
    for seed in range(3):
        problem = domain.problem(f"seed {seed}")
        assert domain.verify(problem, str(gym.solve(problem))).is_correct
        assert not domain.verify(problem, "entry").is_correct
