"""The domain `equations` as a whole: its contract, its moves, its generator, and answers by construction."""

from __future__ import annotations

import random

import pytest

from everlearn.domains.contract import load_domain
from everlearn.domains.contract_laws import ContractSample, check_domain, samples_of
from everlearn.domains.equations.answers import Claim, StatedValue
from everlearn.domains.equations.domain import EquationSolving
from everlearn.domains.equations.grammar import parse
from everlearn.domains.equations.recheck import judge_by_sympy
from everlearn.domains.equations.similar_equations import draw_similar, templates
from everlearn.domains.equations.statements import read_equations
from everlearn.domains.equations.verifier import judge_exactly
from everlearn.domains.equations.weights import weight
from everlearn.errors import GrammarError
from everlearn.problem import Ruling

DOMAIN = load_domain("equations")
PLUGIN = EquationSolving()
STATEMENTS = [
    *(each.text for each in templates()),
    "x + 5 = x + 7",
    "3*x = 3*x + 4*(1 + 1)",
    "x^2 + x + 7 = 0",
    "(x - 2)*(2*x + 3) = 0",
    "5*(x + 1)^2 = 0",
    "(x^2 - 2)^2 = 0",
    "(x - 1)^2 = 16",
    "x + y = 1; 2*x + 2*y = 3",
    "3*x = 4",
    "x/2 + y = 1/3; x - 4*y = 2",
    "x^4 - 5*x^2 + 6 = 0",
    "3*x^2 - 5*x + 1 = 0",
    "x^2 = 5*x",
    "2*x = 3*x",
    "5*(x - 2) = 3*x",
    "2*x + 4 = 3*x",
    "(x + 1)^1 + y = 6; x - y = 1",
]


def test_the_domain_keeps_every_law() -> None:
    assert check_domain(DOMAIN, samples_of(DOMAIN), entry="equations") == []
    samples = [
        ContractSample(problem=problem, answer=PLUGIN.solve(problem))
        for problem in map(DOMAIN.problem, STATEMENTS[::4])
    ]
    assert check_domain(DOMAIN, samples, entry="equations") == []


@pytest.mark.parametrize("statement", STATEMENTS)
def test_answers_by_construction_are_judged_as_such(statement: str) -> None:
    problem = DOMAIN.problem(statement)
    answer = PLUGIN.solve(problem)
    assert answer is not None
    for right in (answer, *PLUGIN.same_answers(problem, answer)):
        for judge in (DOMAIN.verify, DOMAIN.recheck):
            assert judge(problem, right).ruling is Ruling.CORRECT, right
    wrong = PLUGIN.wrong_answers(problem, answer, rng=random.Random(1))
    assert 8 <= len(wrong) <= 40
    for text in wrong:
        assert DOMAIN.verify(problem, text).ruling is Ruling.WRONG, text
    for text in wrong[:4]:
        assert DOMAIN.recheck(problem, text).ruling is Ruling.WRONG, text


@pytest.mark.parametrize("statement", STATEMENTS)
def test_each_variant_is_easier(statement: str) -> None:
    asked, made = read_equations(statement), set()
    for seed in range(6):
        for move in DOMAIN.moves:
            text = DOMAIN.ease(statement, move, rng=random.Random(seed))
            if text is not None:
                easier = read_equations(text)
                assert easier.text == text
                assert weight(easier) < weight(asked)
                assert easier.solutions or not asked.solutions
                assert DOMAIN.read_variant(statement, move, f"I suggest:\n{text}") == text
                made.add(text)
    assert made or weight(asked) < 8


@pytest.mark.parametrize(
    ("statement", "move", "variant"),
    [
        (
            "2*x + y = 5; x - y = 1",
            "fewer unknowns",
            {"2*x + 1 = 5", "x - 1 = 1", "4 + y = 5", "2*2 + y = 5", "2 - y = 1"},
        ),
        ("x - y = 5; x + y = -1", "fewer unknowns", {"2 - y = 5", "2 + y = -1", "x + 3 = 5", "x - 3 = -1"}),
        ("x^2 - 5*x + 6 = 0", "lower degree", {"x - 3 = 0", "x - 2 = 0", "-5*x + 6 = 0"}),
        ("3*(x - 1) = 12", "fewer terms", {"3*x = 12"}),
        ("(x - 3)^2 = 16", "fewer terms", {"x^2 = 16", "(x - 3)^2 = 16"}),
    ],
)
def test_a_move_does_what_it_says(statement: str, move: str, variant: set[str]) -> None:
    for seed in range(8):
        assert DOMAIN.ease(statement, move, rng=random.Random(seed)) in variant


@pytest.mark.parametrize(
    ("statement", "move"),
    [("2*x + 3 = 7", "lower degree"), ("2*x + 3 = 7", "fewer unknowns"), ("x = 1 - x", "fewer unknowns"), ("3*x = 3", "fewer terms"),
     ("x + y = 1; x + y = 2", "fewer unknowns"), ("x + 1 = x", "smaller numbers")],
)  # fmt: skip
def test_a_move_that_does_not_apply_gives_nothing(statement: str, move: str) -> None:
    assert DOMAIN.ease(statement, move, rng=random.Random(0)) is None


@pytest.mark.parametrize("text", ["", "I cannot.", "x^2 - 15*x + 6 = 0", "x^2 - 5*x + 6 = 0", "x = 3", "x^2 + 1 = 0"])
def test_a_proposal_that_is_not_easier_is_none(text: str) -> None:
    assert DOMAIN.read_variant("x^2 - 5*x + 6 = 0", "smaller numbers", text) is None


def test_the_words_name_the_move_and_the_problem() -> None:
    for statement in ("2*x + 3 = 7", "x + y = 1; x - y = 2"):
        asked = {DOMAIN.propose(statement, move) for move in DOMAIN.moves}
        assert len(asked) == len(DOMAIN.moves)
        assert all(statement in text for text in asked)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_generated_problems_are_of_the_same_kind(statement: str) -> None:
    asked, rng = read_equations(statement), random.Random(3)
    drawn = {DOMAIN.generate(rng, like=[DOMAIN.problem(statement)]).statement for _ in range(8)}
    assert len(drawn) > 2
    for text in drawn:
        found = read_equations(text)
        assert (found.kind, bool(found.solutions)) == (asked.kind, bool(asked.solutions))
        assert all(
            value.as_fraction is None or value.as_fraction.denominator < 10**6
            for each in found.solutions
            for value in each
        )


def test_larger_sizes_give_larger_problems() -> None:
    rng = random.Random(0)
    means = [sum(DOMAIN.size(DOMAIN.generate(rng, size=size).statement) for _ in range(20)) for size in (1, 5, 10)]
    assert means == sorted(means)


def test_no_equation_is_drawn_where_no_try_succeeds() -> None:
    asked = read_equations("x - x = 1")
    assert draw_similar(random.Random(0), asked, draw=lambda number: number - number) is None


def test_a_problem_is_described() -> None:
    problem = DOMAIN.problem("Solve 2x + 3 = 7")
    assert problem.statement == "2*x + 3 = 7"
    assert "all real solutions of 2*x + 3 = 7" in DOMAIN.question(problem)
    assert "x = …, y = …" in DOMAIN.question(DOMAIN.problem("x + y = 1; x - y = 1"))
    assert DOMAIN.skill("x^2 = 4") == "quadratic"
    assert DOMAIN.difficulty("2*x + 3 = 7") == "linear, size 3"
    assert DOMAIN.size("x + 1 = 2") < DOMAIN.size("12*(x + 1) = 2")
    assert DOMAIN.extract("So\nAnswer: x = 2") == "x = 2"
    assert DOMAIN.canonical("7 = 2x + 3") == "2*x + 3 - 7 = 0"
    assert DOMAIN.equivalence("7 = 2x + 3") == DOMAIN.equivalence("4y + 6 = 14")
    with pytest.raises(GrammarError):
        DOMAIN.verify(DOMAIN.stated("x"), "2")


def test_the_second_judgement_is_undecided_near_zero() -> None:
    asked = read_equations("x^4 = 0")
    claim = Claim(((StatedValue(parse("1/99999999999999"), 1),),))
    assert judge_by_sympy(asked, claim).ruling is Ruling.UNDECIDED
    assert judge_exactly(asked, claim).ruling is Ruling.WRONG
