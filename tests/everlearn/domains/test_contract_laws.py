"""The conformance suite of domains: those that ship keep every law, and each planted fault breaks its own."""

from __future__ import annotations

import json
import re
import time
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.domains.contract import Domain, load_domain
from everlearn.domains.contract_laws import LAWS, ContractSample, check_domain, read_samples, samples_of
from everlearn.errors import GrammarError
from everlearn.problem import Problem, Ruling, Verdict

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CALLS = count()


class Doubles:
    """Twice a number of at most six digits. Keeps every law."""

    name = "doubles"
    moves = ("shorter",)

    def problem(self, row: Mapping[str, Any]) -> Problem:
        if not re.fullmatch("[1-9][0-9]{0,5}", row["statement"], re.ASCII):
            raise GrammarError("a number of one to six digits")
        return Problem(id="", domain="", statement=row["statement"])

    def question(self, problem: Problem) -> str:
        return f"Double {problem.statement}."

    def verify(self, problem: Problem, answer: str) -> Verdict:
        if not re.fullmatch("[1-9][0-9]{0,6}", answer, re.ASCII):
            return Verdict(ruling=Ruling.UNREADABLE, reason="no number")
        right = int(answer) == 2 * int(problem.statement)
        return Verdict(ruling=Ruling.CORRECT if right else Ruling.WRONG, reason="doubled")

    def recheck(self, problem: Problem, answer: str) -> Verdict:
        return self.verify(problem, answer)

    def size(self, statement: str) -> int:
        return len(statement)

    def generate(self, rng: random.Random, *, like: Sequence[Problem], size: int) -> Problem:
        digits = len(like[0].statement) if like else min(size, 6)
        return Problem(id="", domain="", statement=str(rng.randrange(10 ** (digits - 1), 10**digits)))

    def ease(self, statement: str, move: str, *, rng: random.Random) -> str | None:
        return statement[:-1] or None


class AnotherName(Doubles):
    name = "twice"


class ReadsDigitsOfAnyScript(Doubles):
    def problem(self, row: Mapping[str, Any]) -> Problem:
        if not row["statement"].isdecimal():
            raise GrammarError("a number")
        return Problem(id="", domain="", statement=str(int(row["statement"][:6]) + 1))


class NeedsAReference(Doubles):
    def problem(self, row: Mapping[str, Any]) -> Problem:
        if "reference" not in row:
            raise GrammarError("a row needs a reference")
        return super().problem(row)


class ReadsAnotherProblemWithoutAReference(Doubles):
    def problem(self, row: Mapping[str, Any]) -> Problem:
        return super().problem(row if "reference" in row else {"statement": "1"})


class FailsOnOtherTexts(Doubles):
    def problem(self, row: Mapping[str, Any]) -> Problem:
        int(row["statement"])
        return super().problem(row)


class AsksNothing(Doubles):
    def question(self, problem: Problem) -> str:
        return " "


class FailsOnAnswers(Doubles):
    def verify(self, problem: Problem, answer: str) -> Verdict:
        int(answer or "0")
        return super().verify(problem, answer)


class AcceptsSilence(Doubles):
    def verify(self, problem: Problem, answer: str) -> Verdict:
        return super().verify(problem, answer.strip() or str(2 * int(problem.statement)))


class AcceptsTheQuestion(Doubles):
    def verify(self, problem: Problem, answer: str) -> Verdict:
        found = re.findall("[0-9]+", answer)
        right = bool(found) and 2 * int(problem.statement) % int(found[0][:6] or 1) == 0
        return Verdict(ruling=Ruling.CORRECT if right else Ruling.WRONG, reason="divided")

    def recheck(self, problem: Problem, answer: str) -> Verdict:
        return Verdict(ruling=Ruling.UNDECIDED, reason="never looked")


class RefusesRightAnswers(Doubles):
    def verify(self, problem: Problem, answer: str) -> Verdict:
        return Verdict(ruling=Ruling.WRONG, reason="no")


class ChangesItsMind(Doubles):
    def verify(self, problem: Problem, answer: str) -> Verdict:
        return Verdict(ruling=Ruling.WRONG if next(CALLS) % 2 else Ruling.UNREADABLE, reason="a coin")


class IsSlow(Doubles):
    def verify(self, problem: Problem, answer: str) -> Verdict:
        if answer == "I do not know." and problem.statement == "21":
            time.sleep(1.05)
        return super().verify(problem, answer)


class ContradictsItself(Doubles):
    def recheck(self, problem: Problem, answer: str) -> Verdict:
        return Verdict(ruling=Ruling.WRONG, reason="never")


class HasUnstableKeys(Doubles):
    def canonical(self, statement: str) -> str:
        return f"{statement}!"


class HasNoSize(Doubles):
    def size(self, statement: str) -> int:
        return 0


class GeneratesOneProblem(Doubles):
    def generate(self, rng: random.Random, *, like: Sequence[Problem], size: int) -> Problem:
        return Problem(id="", domain="", statement="21")


class MakesHarderProblems(Doubles):
    def ease(self, statement: str, move: str, *, rng: random.Random) -> str | None:
        return f"1{statement}"[:6]


class ReadsAnythingAsAVariant(Doubles):
    def read_variant(self, statement: str, move: str, text: str) -> str | None:
        return text


class ReadsSilence(Doubles):
    def problem(self, row: Mapping[str, Any]) -> Problem:
        return Problem(id="", domain="", statement="") if not row["statement"].strip() else super().problem(row)


class AsksInOtherWords(Doubles):
    def question(self, problem: Problem) -> str:
        return f"{next(CALLS)}: double {problem.statement}."


class GivesNoVerdict(Doubles):
    def verify(self, problem: Problem, answer: str) -> Verdict:
        return None  # type: ignore[return-value]


class DrawsKeys(Doubles):
    def equivalence(self, statement: str) -> str:
        return f"{statement} {next(CALLS)}"


class IgnoresTheSeed(Doubles):
    def generate(self, rng: random.Random, *, like: Sequence[Problem], size: int) -> Problem:
        return Problem(id="", domain="", statement=str(1000 + next(CALLS)))


class MovesNowhere(Doubles):
    def ease(self, statement: str, move: str, *, rng: random.Random) -> str | None:
        return statement


class ProposesWithoutAWord(Doubles):
    def propose(self, statement: str, move: str) -> str:
        return ""


class AnswersItself(Doubles):
    """Problems whose own statement is their answer: no fault where the second judgement agrees."""

    def question(self, problem: Problem) -> str:
        return problem.statement

    def verify(self, problem: Problem, answer: str) -> Verdict:
        right = answer == problem.statement
        return Verdict(ruling=Ruling.CORRECT if right else Ruling.WRONG, reason="compared")


FAULTS = {
    ReadsSilence: "other texts raise GrammarError",
    AsksInOtherWords: "a question has words, the same each time",
    GivesNoVerdict: "every answer gets a verdict",
    DrawsKeys: "keys are stable",
    IgnoresTheSeed: "generated problems are problems",
    MovesNowhere: "moves make other problems that are no larger",
    ProposesWithoutAWord: "proposals are asked for and read",
    AnotherName: "the name is that of the entry point",
    ReadsDigitsOfAnyScript: "a statement is read as itself",
    NeedsAReference: "a statement is read as itself",
    ReadsAnotherProblemWithoutAReference: "a statement is read as itself",
    FailsOnOtherTexts: "other texts raise GrammarError",
    AsksNothing: "a question has words, the same each time",
    FailsOnAnswers: "every answer gets a verdict",
    AcceptsSilence: "nothing is not right",
    AcceptsTheQuestion: "a question is no answer to itself",
    RefusesRightAnswers: "right answers are right",
    ChangesItsMind: "equal seeds give equal verdicts",
    IsSlow: "a verdict takes less than a second",
    ContradictsItself: "the second judgement does not contradict",
    HasUnstableKeys: "keys are stable",
    HasNoSize: "sizes are numbers from 1",
    GeneratesOneProblem: "generated problems are problems",
    MakesHarderProblems: "moves make other problems that are no larger",
    ReadsAnythingAsAVariant: "proposals are asked for and read",
}
SAMPLES = [
    ContractSample(problem=Domain(Doubles()).problem(text), answer=str(2 * int(text))) for text in ("21", "407", "9")
]


def test_a_domain_that_keeps_the_laws_breaks_none() -> None:
    domain = Domain(Doubles())
    assert check_domain(domain, SAMPLES, entry="doubles") == []
    assert check_domain(domain, samples_of(domain), entry="doubles") == []


def test_a_problem_may_be_its_own_answer_where_the_second_judgement_agrees() -> None:
    unanswered = [ContractSample(problem=sample.problem) for sample in SAMPLES]
    assert check_domain(Domain(AnswersItself()), unanswered) == []


@pytest.mark.parametrize("name", ["arithmetic", "integration"])
def test_a_domain_that_ships_keeps_every_law(name: str) -> None:
    domain = load_domain(name)
    assert check_domain(domain, samples_of(domain), entry=name) == []


@pytest.mark.parametrize("plugin", FAULTS, ids=lambda plugin: plugin.__name__)
def test_a_planted_fault_breaks_its_law(plugin: type[Doubles]) -> None:
    broken = {finding.law for finding in check_domain(Domain(plugin()), SAMPLES, entry="doubles")}
    assert FAULTS[plugin] in broken


def test_every_law_has_a_planted_fault() -> None:
    assert set(LAWS) - set(FAULTS.values()) == {"equal problems are equivalent"}, "follows from stable keys by default"


def test_a_domain_without_a_generator_has_no_samples_of_its_own() -> None:
    class FourMembers:
        name = "four"
        problem, question, verify = Doubles.problem, Doubles.question, Doubles.verify

    domain = Domain(FourMembers())
    assert samples_of(domain) == []
    assert check_domain(domain, SAMPLES) == []


def test_worked_solutions_in_rows_are_right_answers(tmp_path: Path) -> None:
    rows = [
        {"question": "Anna has 21 apples and gives 1 away. How many are left?", "answer": "21 less 1 is 20\n#### 20"},
        {
            "question": "Berta has 5 eggs and eats 2. How many are left?",
            "reference": "3",
            "answer": "5 - 2 = 3\n#### 3",
        },
        {"question": "How many legs has a dog?", "answer": 4},
    ]
    file, numbers = tmp_path / "rows.jsonl", load_domain("numbers")
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert check_domain(numbers, read_samples(numbers, file)) == []
