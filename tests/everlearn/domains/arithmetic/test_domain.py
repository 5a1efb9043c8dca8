"""Exact verification, two independent judgements, and problems towards fewer digits."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from everlearn.data import suites
from everlearn.domains.arithmetic.domain import Arithmetic
from everlearn.domains.arithmetic.fixtures import write
from everlearn.domains.arithmetic.grammar import Calculation, Operation, read_calculation
from everlearn.domains.contract import Domain, load_domain
from everlearn.errors import GrammarError
from everlearn.problem import Ruling
from tests.everlearn.domains.arithmetic.test_grammar import calculations

DOMAIN = Domain(Arithmetic())
DATA = Path(__file__).parents[4] / "data"
moves = st.sampled_from(DOMAIN.moves)


def test_the_domain_is_installed() -> None:
    assert load_domain("arithmetic").name == "arithmetic"


@given(calculations, st.integers(-3, 3), st.booleans())
def test_only_the_exact_result_is_correct(asked: Calculation, off: int, grouped: bool) -> None:  # noqa: FBT001
    problem, number = DOMAIN.problem(str(asked)), asked.result + off
    answer = f"{number:,}" if grouped else str(number)
    for judge in (DOMAIN.verify, DOMAIN.recheck):
        assert judge(problem, answer).ruling is (Ruling.WRONG if off else Ruling.CORRECT)


@pytest.mark.parametrize(
    ("answer", "ruling"),
    [
        ("405", "CORRECT"),
        ("= 405.", "CORRECT"),
        ("406", "WRONG"),
        ("-405", "WRONG"),
        ("9" * 300, "WRONG"),
        ("347 + 58", "UNREADABLE"),
        ("", "UNREADABLE"),
    ],
)
def test_each_answer_has_one_ruling(answer: str, ruling: str) -> None:
    problem = DOMAIN.problem("What is 347 plus 58?")
    assert DOMAIN.verify(problem, answer).ruling == DOMAIN.recheck(problem, answer).ruling == ruling


@pytest.mark.parametrize(
    ("completion", "answer"),
    [("405", "405"), ("I add.\n347 + 58 = 405.", "405."), ("\\boxed{405}", "405"), ("Answer: 405", "405")],
)
def test_the_answer_is_taken_from_a_completion(completion: str, answer: str) -> None:
    assert DOMAIN.extract(completion) == answer


def test_a_problem_is_known_by_its_numbers_in_any_order() -> None:
    problem = DOMAIN.problem("the sum of 347 and 58")
    assert (problem.statement, DOMAIN.question(problem)) == ("347 + 58", "What is 347 + 58?")
    assert problem.id == DOMAIN.problem("58 plus 347").id != DOMAIN.problem("58 * 347").id
    assert (DOMAIN.size("347 + 58"), DOMAIN.difficulty("347 + 58")) == (3, "3-digit addition")
    assert DOMAIN.skill("3 * 4") == "multiplication"
    assert DOMAIN.equivalence("58 + 347") == DOMAIN.canonical("347 + 58")


@given(calculations, moves, st.integers(0, 99))
def test_a_derived_variant_has_fewer_digits(asked: Calculation, move: str, seed: int) -> None:
    easier = DOMAIN.ease(str(asked), move, rng=random.Random(seed))
    if asked.digits == 1:
        assert easier is None
        return
    assert easier is not None
    assert DOMAIN.read_variant(str(asked), move, f"I suggest:\n{easier}") == easier
    assert DOMAIN.skill(easier) == asked.operation


@given(calculations, calculations, moves)
def test_a_proposal_that_is_not_easier_is_none(asked: Calculation, other: Calculation, move: str) -> None:
    assume(len(f"{other.left}{other.right}") >= len(f"{asked.left}{asked.right}"))
    assert DOMAIN.read_variant(str(asked), move, str(other)) is None


@pytest.mark.parametrize("text", ["", "12 * 3", "12 + 3 is easier", "I cannot."])
def test_a_proposal_is_read_strictly(text: str) -> None:
    assert DOMAIN.read_variant("347 + 58", "keep a part", text) is None


def test_each_move_reaches_every_size_below_about_equally_often() -> None:
    rng, statement = random.Random(3), "12345678 + 87654321"
    for move in DOMAIN.moves:
        sizes = Counter(DOMAIN.size(DOMAIN.ease(statement, move, rng=rng) or "") for _ in range(700))
        assert sizes.keys() == set(range(1, 8))
        assert min(sizes.values()) > 70


def test_the_words_name_the_move_and_the_problem() -> None:
    asked = {DOMAIN.propose("347 + 58", move) for move in DOMAIN.moves}
    assert len(asked) == len(DOMAIN.moves)
    assert all("347 + 58" in text for text in asked)


@given(calculations, st.integers(0, 99))
def test_generated_problems_have_the_same_lengths(asked: Calculation, seed: int) -> None:
    drawn = DOMAIN.generate(random.Random(seed), like=[DOMAIN.problem(str(asked))])
    same = read_calculation(drawn.statement)
    assert same.operation is asked.operation
    assert [len(str(each)) for each in (same.left, same.right)] == [
        len(str(each)) for each in (asked.left, asked.right)
    ]


@given(st.integers(1, 100), st.integers(0, 99))
def test_a_size_gives_an_addition_of_that_many_digits(size: int, seed: int) -> None:
    drawn = read_calculation(DOMAIN.generate(random.Random(seed), size=size).statement)
    assert (drawn.digits, drawn.operation) == (size, Operation.ADDITION)


@pytest.mark.parametrize("name", ["suites/short-additions.jsonl", "long-additions/problems.jsonl"])
def test_the_shipped_data_is_what_the_command_writes(name: str, tmp_path: Path) -> None:
    write(tmp_path)
    assert (DATA / name).read_bytes() == (tmp_path / name).read_bytes()


def test_the_items_of_the_shipped_suite_differ() -> None:
    [suite] = suites.load_directory(DATA / "suites", domain="arithmetic")
    assert len({DOMAIN.canonical(problem.statement) for problem in suite.problems}) == len(suite.problems) == 220


def test_the_suite_leaves_rungs_of_every_size() -> None:
    lines = (DATA / "suites" / "short-additions.jsonl").read_text().splitlines()[1:]
    taken = {DOMAIN.canonical(json.loads(line)["statement"]) for line in lines}
    for digits, left in ((1, 28), (2, 4000)):
        free = {
            DOMAIN.canonical(f"{one} + {other}") for one in range(10**digits) for other in range(10**digits)
        } - taken
        assert len(free) >= left


def test_a_statement_that_is_no_calculation_cannot_be_judged() -> None:
    with pytest.raises(GrammarError):
        DOMAIN.verify(DOMAIN.stated("347"), "347")
