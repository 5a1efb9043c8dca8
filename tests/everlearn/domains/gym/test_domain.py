"""Tasks of the library as domains: problems by levels and seed, judged by the library."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from reasoning_gym.factory import DATASETS

from everlearn.domains.contract import Domain, find_domain, known_domains, load_domain, tasks_of
from everlearn.domains.contract_laws import ContractSample, check_domain, samples_of
from everlearn.domains.gym import library
from everlearn.domains.gym.dials import DialSetting
from everlearn.domains.gym.domain import Gym
from everlearn.domains.gym.library import LibraryEntry
from everlearn.domains.pool import VerifierPool
from everlearn.errors import BadInputError, GrammarError, UnknownDomainError
from everlearn.problem import Ruling

SUMS = Gym("chain_sum")
DOMAIN = Domain(SUMS)
FAST = ("chain_sum", "leg_counting", "list_functions")


@pytest.fixture(params=FAST)
def gym(request: pytest.FixtureRequest) -> Gym:
    return Gym(request.param)


def test_the_family_is_installed_with_its_tasks() -> None:
    assert "gym" in known_domains()
    assert "gym/chain_sum" in tasks_of("gym")
    assert load_domain("gym/chain_sum").name == "gym/chain_sum"


@pytest.mark.parametrize("name", ["gym", "gym/", "gym/nothing", "gym/chain_sum/x", "gym/../arithmetic"])
def test_a_name_without_a_task_of_the_library_is_refused(name: str) -> None:
    with pytest.raises(UnknownDomainError, match=r"gym is a family of \d+ tasks, name one of them, such as gym/"):
        load_domain(name)


def test_every_law_of_the_contract_is_kept(gym: Gym) -> None:
    domain = Domain(gym)
    samples = [ContractSample(problem=each.problem, answer=gym.solve(each.problem)) for each in samples_of(domain)[::4]]
    assert check_domain(domain, samples, entry=domain.name) == []


def test_another_process_judges_as_this_one() -> None:
    problem = DOMAIN.generate(random.Random(1), size=4)
    answer = str(SUMS.solve(problem))
    with VerifierPool("gym/chain_sum") as pool:
        verdicts = pool.verify_many([(problem, answer), (problem, f"{answer}0")])
    assert [verdict.ruling for verdict in verdicts] == ["CORRECT", "WRONG"]
    assert find_domain("gym/chain_sum").module == "everlearn.domains.gym.domain"


def test_a_problem_is_levels_and_a_seed() -> None:
    problem = DOMAIN.problem("num_terms 2, seed 17")
    assert problem.statement == "num_terms 2, num_digits 0, seed 17, check 13448d76"
    assert DOMAIN.canonical(problem.statement) == "num_terms 2, num_digits 0, seed 17"
    assert DOMAIN.question(problem).startswith("State the final answer to the following arithmetic problem:")
    assert (DOMAIN.size(problem.statement), DOMAIN.moves) == (3, ("num_terms", "num_digits"))
    assert problem.id == DOMAIN.problem("seed 17, num_terms 2").id
    assert DOMAIN.skill(problem.statement) == "gym/chain_sum"


def test_another_question_than_the_stored_one_is_not_asked_or_judged() -> None:
    """The questions of some tasks depend on the order of a set, which differs from process to process."""
    stored = "num_terms 2, num_digits 0, seed 17, check 00000000"
    for use in (DOMAIN.problem, DOMAIN.equivalence, lambda text: DOMAIN.question(DOMAIN.stated(text))):
        with pytest.raises(GrammarError, match="the library asks something else"):
            use(stored)
    right = str(SUMS.solve(DOMAIN.problem("num_terms 2, num_digits 0, seed 17")))
    verdict = DOMAIN.verify(DOMAIN.stated(stored), right)
    assert verdict.ruling is Ruling.UNDECIDED


def test_the_same_question_from_another_seed_is_the_same_problem() -> None:
    domain, asked = Domain(Gym("coin_flip")), dict[str, str]()
    for statement in (f"seed {seed}" for seed in range(60)):
        first = asked.setdefault(domain.question(domain.problem(statement)), statement)
        assert domain.equivalence(first) == domain.equivalence(statement)
    assert 1 < len(asked) < 60, "few questions are short: some recur"


@pytest.mark.parametrize(
    ("answer", "ruling"),
    [
        ("{}", "CORRECT"),
        ("{}.0", "CORRECT"),
        ("+{}", "CORRECT"),
        ("-{}", "WRONG"),
        ("the answer is {}", "WRONG"),  # the library pays a part, which is no reward
        ("", "UNREADABLE"),
        (" \n", "UNREADABLE"),
        ("\x00{}", "UNREADABLE"),
        ("\ud800", "UNREADABLE"),
        ("1" * 3000, "UNREADABLE"),
        ("1e999999", "UNREADABLE"),
        ("-Infinity", "UNREADABLE"),
        ("information", "WRONG"),
    ],
)
def test_only_a_full_score_is_right(answer: str, ruling: str) -> None:
    problem = DOMAIN.problem("num_terms 1, num_digits 1, seed 4")
    right = str(SUMS.solve(problem))
    assert int(right) > 0
    assert DOMAIN.verify(problem, answer.format(right)).ruling == ruling


@pytest.mark.parametrize("answer", ["nan", "NaN + 3i", "3 + nani", "nanj"])
def test_no_number_is_near_to_what_is_none(answer: str) -> None:
    """The library compares distances, and none is more than its tolerance where one is NaN."""
    domain = Domain(Gym("complex_arithmetic"))
    assert domain.verify(domain.problem("seed 1"), answer).ruling is Ruling.UNREADABLE


def test_what_the_verifier_raises_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = DOMAIN.problem("seed 5")
    monkeypatch.setattr(DATASETS["chain_sum"][0], "score_answer", lambda *_: 1 / 0)
    verdict = DOMAIN.verify(problem, "5")
    assert verdict.ruling is Ruling.UNDECIDED
    assert verdict.reason.startswith("the library's verifier raises ZeroDivisionError")


def test_a_problem_that_the_library_does_not_make_is_none() -> None:
    nothing = Gym("composite")  # it needs other tasks
    domain = Domain(nothing)
    with pytest.raises(GrammarError, match="the library makes no problem of seed 1: AssertionError"):
        domain.problem("seed 1")
    with pytest.raises(BadInputError, match="gym/composite generates no problem: the library makes no problem"):
        domain.generate(random.Random(1))
    verdict = domain.verify(domain.stated("seed 1"), "5")
    assert verdict.ruling is Ruling.UNDECIDED


def test_a_statement_that_is_none_cannot_be_judged() -> None:
    with pytest.raises(GrammarError):
        DOMAIN.verify(DOMAIN.stated("1 + 1"), "2")


def test_generated_problems_have_the_levels_or_the_size_asked_for() -> None:
    rng = random.Random(3)
    for size in range(1, 21):
        assert DOMAIN.size(DOMAIN.generate(rng, size=size).statement) == size
    assert DOMAIN.size(DOMAIN.generate(rng, size=1000).statement) == 20
    like = DOMAIN.problem("num_terms 4, num_digits 2, seed 1")
    drawn = DOMAIN.generate(rng, like=[like])
    assert drawn.statement.startswith("num_terms 4, num_digits 2, seed ")
    assert drawn.statement != like.statement


def test_levels_that_do_not_go_together_give_a_smaller_size() -> None:
    shifted = Domain(Gym("caesar_cipher"))  # its largest rotation is more than it takes
    assert 1 < shifted.size(shifted.generate(random.Random(0), size=7).statement) < 7


def test_a_move_turns_its_dial_down() -> None:
    rng = random.Random(0)
    easier = DOMAIN.ease("num_terms 1, num_digits 3, seed 5", "num_digits", rng=rng)
    assert easier is not None
    assert easier.startswith("num_terms 1, num_digits 2, seed ")
    assert DOMAIN.ease("num_digits 3, seed 5", "num_terms", rng=rng) is None


def test_a_dial_whose_lower_level_makes_nothing_has_no_move(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: object, index: int) -> None:
        raise ValueError

    monkeypatch.setattr(DATASETS["chain_sum"][0], "__getitem__", fails)
    assert DOMAIN.ease("num_digits 3, seed 5", "num_digits", rng=random.Random(99)) is None


def test_no_model_writes_a_problem() -> None:
    assert not DOMAIN.model_proposes
    assert "There is nothing to write" in DOMAIN.propose("seed 5", "num_terms")
    assert DOMAIN.read_variant("seed 5", "num_terms", "seed 6") is None


def test_a_task_without_a_curriculum_has_neither_moves_nor_sizes() -> None:
    domain = Domain(Gym("list_functions"))
    problem = domain.generate(random.Random(1), size=9)
    assert (domain.moves, domain.size(problem.statement)) == ((), 1)


def test_near_misses_of_a_number_are_wrong() -> None:
    problem = DOMAIN.problem("num_terms 3, num_digits 2, seed 9")
    right = str(SUMS.solve(problem))
    near = SUMS.wrong_answers(problem, right, rng=random.Random(0))
    assert len(near) >= 10
    assert not [answer for answer in near if DOMAIN.verify(problem, answer).is_correct]
    assert SUMS.same_answers(problem, right) == []


def test_a_stored_answer_that_is_no_text_is_no_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    for answer in (None, " ", 5):
        setting = DialSetting(levels=(), seed=5)
        entry = LibraryEntry(task="chain_sum", setting=setting, question="?", answer=answer, fields={})
        monkeypatch.setattr("everlearn.domains.gym.domain.entry_of", lambda *_, entry=entry: entry)
        assert SUMS.solve(DOMAIN.stated("seed 5")) is None


def test_the_library_is_imported_for_its_own_domains_only() -> None:
    code = (
        "import sys; from everlearn.domains.contract import known_domains, load_domain; "
        "load_domain('arithmetic'); known_domains(); print('reasoning_gym' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.slow
@pytest.mark.parametrize("task", library.tasks())
def test_the_easiest_problem_of_each_task_is_judged(task: str) -> None:
    gym = Gym(task)
    domain = Domain(gym)
    try:
        problem = domain.generate(random.Random(0))
    except BadInputError as error:
        pytest.skip(str(error))
    answer = gym.solve(problem)
    assert answer is None or domain.verify(problem, answer).is_correct


def test_a_task_without_dials_has_no_moves() -> None:
    assert load_domain("gym/chain_sum").has_moves
    assert not load_domain("gym/gsm_symbolic").has_moves
