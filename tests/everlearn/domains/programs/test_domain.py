"""The domain programs: its contract, right and wrong programs, variants, rows with tests, and workers."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.domains.contract import Domain, load_domain
from everlearn.domains.contract_laws import check_domain, samples_of
from everlearn.domains.pool import VerifierPool
from everlearn.domains.programs.domain import Programs
from everlearn.domains.programs.sandbox import require_sandbox
from everlearn.errors import GrammarError, SandboxError
from tests.support.sandbox import needs_sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.problem import Problem

SUM = "def f(xs): keep the even numbers, square each number, return the sum of the numbers"
WORDS = "def f(xs): sort the words in alphabetical order, reverse the letters of each word, return the list of words"
CLAMP = "def clamp(x, low, high): return x limited to the range from low to high"
TESTS = ["assert clamp(5, 0, 3) == 3", "assert clamp(-5, 0, 3) == 0", "assert clamp(2, 0, 3) == 2"]
RIGHT = "def clamp(x, low, high):\n    return max(low, min(x, high))\n"


@pytest.fixture(scope="module")
def domain() -> Domain:
    return Domain(Programs())


@pytest.fixture(scope="module")
def plugin() -> Programs:
    return Programs()


@pytest.fixture(scope="module")
def clamp(domain: Domain) -> Problem:
    return domain.problem({"statement": CLAMP, "reference": json.dumps(TESTS)})


def test_the_contract_is_kept() -> None:
    domain = load_domain("programs")
    assert check_domain(domain, samples_of(domain)[::7], entry="programs") == []


@pytest.mark.parametrize("statement", [SUM, WORDS])
def test_right_programs_are_right_and_wrong_ones_wrong(statement: str, domain: Domain, plugin: Programs) -> None:
    problem = domain.problem(statement)
    answer = str(plugin.solve(problem))
    assert domain.verify(problem, answer).is_correct
    assert domain.recheck(problem, answer).is_correct
    wrong = plugin.wrong_answers(problem, answer, rng=random.Random(1))
    assert 10 <= len(wrong) <= 40
    assert not [each for each in random.Random(2).sample(wrong, 8) if domain.verify(problem, each).ruling != "WRONG"]


def test_other_spellings_are_right(domain: Domain, plugin: Programs, clamp: Problem) -> None:
    for problem, answer in ((domain.problem(SUM), str(plugin.solve(domain.problem(SUM)))), (clamp, RIGHT)):
        spellings = plugin.same_answers(problem, answer)
        assert len(set(spellings)) == len(spellings) > 8
    assert not [each for each in spellings if not domain.verify(clamp, each).is_correct]


def test_a_task_is_judged_by_its_hidden_tests(domain: Domain, plugin: Programs, clamp: Problem) -> None:
    assert domain.verify(clamp, RIGHT).is_correct
    assert domain.recheck(clamp, RIGHT).is_correct
    assert domain.verify(clamp, "def clamp(x, low, high): return min(x, high)").ruling == "WRONG"
    assert plugin.solve(clamp) is None
    wrong = plugin.wrong_answers(clamp, RIGHT, rng=random.Random(0))
    assert len(wrong) >= 10
    assert {domain.verify(clamp, each).ruling for each in wrong[:6]} == {"WRONG"}
    assert plugin.wrong_answers(domain.problem(CLAMP), RIGHT, rng=random.Random(0))


def test_a_task_without_tests_is_undecided(domain: Domain) -> None:
    problem = domain.problem(CLAMP)
    assert domain.verify(problem, RIGHT).ruling == domain.recheck(problem, RIGHT).ruling == "UNDECIDED"


def test_what_is_no_program_is_unreadable(domain: Domain, clamp: Problem) -> None:
    for answer in ("", "I do not know.", "def other(): pass", "x" * 40_000):
        assert domain.verify(clamp, answer).ruling == domain.recheck(clamp, answer).ruling == "UNREADABLE"


def test_a_program_made_for_the_inputs_of_a_seed_fails_the_second_judgement(domain: Domain) -> None:
    problem = domain.problem("def f(xs): return the sum of the numbers")
    answer = "def f(xs): return sum(xs) if len(xs) not in (71, 72, 73, 75, 76, 77, 78, 79, 83, 89, 97) else 0"
    assert domain.recheck(problem, answer).ruling == "WRONG"


def test_words_without_a_signature_get_that_of_the_tests(domain: Domain) -> None:
    problem = domain.problem({"statement": "Limit a number to a range.", "reference": "\n".join(TESTS)})
    assert problem.statement == "def clamp(x1, x2, x3): Limit a number to a range."
    assert domain.verify(problem, RIGHT).is_correct
    again = domain.problem({"statement": problem.statement, "reference": "\n".join(TESTS)})
    assert again.statement == problem.statement


def test_tests_of_another_function_are_refused(domain: Domain) -> None:
    with pytest.raises(GrammarError, match="another function than 'f'"):
        domain.problem({"statement": "def f(x, y, z): limit x", "reference": json.dumps(TESTS)})
    rows: list[dict[str, Any]] = [{"args": [n, 0, 3], "result": min(n, 3)} for n in range(5)]
    assert domain.problem({"statement": CLAMP, "reference": json.dumps(rows)}).reference


def test_a_pipeline_with_tests_passes_both(domain: Domain) -> None:
    rows = [{"args": [[n]], "result": n + 1} for n in (1, 3, 5)]
    problem = domain.problem({"statement": SUM, "reference": json.dumps(rows)})
    assert domain.verify(problem, "def f(xs): return xs[0] + 1 if xs else 0").ruling == "WRONG"


def test_a_question_says_what_is_given_and_asked(domain: Domain, clamp: Problem) -> None:
    asked = domain.question(domain.problem(SUM))
    assert asked.startswith(
        "Write the Python function f(xs). xs is a list of whole numbers. It has to do this step by step:"
    )
    assert "words of small letters" in domain.question(domain.problem(WORDS))
    assert domain.question(clamp) == (
        "Write the Python function clamp(x, low, high). It has to do this: Return x limited to the range from low to "
        "high.\nAnswer with the code alone."
    )


def test_keys_are_of_what_a_pipeline_computes(domain: Domain) -> None:
    other = SUM.replace("f(xs)", "total(values)")
    twice = "def f(xs): add 2 to each number, add 3 to each number, return the list of numbers"
    once = "def f(xs): add 5 to each number, return the list of numbers"
    assert domain.canonical(other) == SUM
    assert domain.problem(other).id == domain.problem(SUM).id
    assert domain.equivalence(twice) == domain.equivalence(once) != domain.equivalence(SUM)
    assert domain.equivalence(CLAMP) == domain.equivalence(CLAMP.replace("return x", "Return x,"))
    assert domain.canonical(CLAMP) == CLAMP


def test_sizes_and_labels(domain: Domain) -> None:
    assert [domain.size(text) for text in (SUM, CLAMP, f"{CLAMP} {'word ' * 40}")] == [3, 1, 3]
    assert [domain.difficulty(text) for text in (SUM, CLAMP)] == ["3 steps", "task with tests"]
    assert [domain.skill(text) for text in (SUM, WORDS, CLAMP)] == ["numbers", "words", "task"]


def test_problems_like_others_have_as_many_steps(domain: Domain, clamp: Problem) -> None:
    rng = random.Random(1)
    drawn = [domain.generate(rng, like=[domain.problem(SUM)]) for _ in range(5)]
    assert {(domain.size(each.statement), domain.skill(each.statement)) for each in drawn} == {(3, "numbers")}
    assert domain.generate(rng, like=[clamp]).statement == CLAMP


def test_moves_shorten_a_pipeline(domain: Domain) -> None:
    rng = random.Random(1)
    for move in domain.moves:
        variants = {domain.ease(SUM, move, rng=rng) for _ in range(8)}
        assert {domain.size(str(each)) for each in variants} <= {1, 2}
        assert domain.ease(CLAMP, move, rng=rng) is None
        assert domain.ease("def f(xs): return the list of numbers", move, rng=rng) is None
    lengths = "def f(xs): sort the words in alphabetical order, replace each word by its number of letters, return the sum of the numbers"
    assert {domain.ease(lengths, "drop a step", rng=rng) for _ in range(8)} == {
        "def f(xs): replace each word by its number of letters, return the sum of the numbers"
    }


@pytest.mark.parametrize(
    ("written", "variant"),
    [
        ("def f(xs): keep the even numbers, return the sum of the numbers", True),
        ("I suggest:\n`def g(v): square each number and return the list of numbers`", True),
        (SUM, False),
        (CLAMP, False),
        ("I cannot.", False),
    ],
)
def test_a_proposal_is_a_shorter_pipeline(written: str, variant: bool, domain: Domain) -> None:  # noqa: FBT001
    assert (domain.read_variant(SUM, "drop a step", written) is not None) is variant


def test_a_task_in_free_words_is_trained_by_pipelines(domain: Domain) -> None:
    assert domain.read_variant(CLAMP, "drop a step", SUM) == SUM
    for statement in (SUM, WORDS, CLAMP):
        for move in domain.moves:
            assert statement in domain.propose(statement, move)


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("Think.\n<answer>def f(x): 1</answer> Done.", "def f(x): 1"),
        ("```python\ndef f(x):\n    return 1\n```\n", "```python\ndef f(x):\n    return 1\n```"),
    ],
)
def test_the_program_in_a_completion_keeps_its_lines(completion: str, answer: str, domain: Domain) -> None:
    assert domain.extract(completion) == answer


def test_without_a_sandbox_the_domain_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        require_sandbox.cache_clear()
        with pytest.raises(SandboxError, match="apt install bubblewrap"):
            load_domain("programs")
    require_sandbox.cache_clear()


@needs_sandbox()
def test_workers_with_limits_judge_programs(domain: Domain, plugin: Programs, clamp: Problem) -> None:
    problem = domain.problem(SUM)
    pairs = [
        (problem, str(plugin.solve(problem))),
        (problem, "def f(xs): return 0"),
        (problem, "def f(xs):\n    while True: pass"),
        (clamp, RIGHT),
        (clamp, "clamp = 'x'"),
    ]
    with VerifierPool("programs", memory_bytes=1024**3) as pool:
        rulings = [str(verdict.ruling) for verdict in pool.verify_many(pairs)]
    assert rulings == ["CORRECT", "WRONG", "WRONG", "CORRECT", "UNREADABLE"]
