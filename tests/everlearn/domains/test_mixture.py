"""Several domains in one line: each problem is treated by its own domain, and names it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from everlearn.data.suites import Suite, SuiteKind, load_directory
from everlearn.domains.certification.code_version import code_version
from everlearn.domains.contract import PART_SIZES, load_domain
from everlearn.domains.contract_laws import check_domain, samples_of
from everlearn.domains.mixture import domain_of_rows, in_mixture
from everlearn.domains.pool import VerifierPool
from everlearn.errors import BadInputError, GrammarError, UnknownDomainError
from everlearn.ladder.curriculum import Curriculum
from tests.support.plugins import install_passwords

if TYPE_CHECKING:
    from pathlib import Path

NAME = "arithmetic+equations"
MIXED = load_domain(NAME)


def test_a_mixture_keeps_every_law_of_a_domain() -> None:
    assert check_domain(MIXED, samples_of(MIXED), entry=NAME) == []


def test_problems_are_those_of_their_domain() -> None:
    arithmetic, equations = load_domain("arithmetic"), load_domain("equations")
    asked = MIXED.problem("arithmetic: What is 347 plus 58?")
    assert (asked.statement, asked.domain) == ("arithmetic: 347 + 58", NAME)
    assert MIXED.question(asked) == arithmetic.question(arithmetic.problem("347 + 58"))
    assert MIXED.verify(asked, "347 + 58 = 405").is_correct
    assert MIXED.recheck(asked, "405").is_correct
    assert not MIXED.verify(asked, "406").is_correct
    assert MIXED.solve(asked) == "405"
    assert "405." in MIXED.same_answers(asked, "405")
    assert "404" in MIXED.wrong_answers(asked, "405", rng=random.Random(0))
    assert MIXED.size(asked.statement) == 3
    assert MIXED.part(asked.statement) == "arithmetic"
    assert MIXED.skill(asked.statement).startswith("arithmetic/")
    other = MIXED.problem("equations: 2*x + 3 = 7")
    assert MIXED.verify(other, "x = 2").is_correct
    assert MIXED.size(other.statement) == PART_SIZES + equations.size("2*x + 3 = 7")
    assert MIXED.difficulty(other.statement).startswith("equations, ")
    assert not MIXED.prove(other, "x = 2").proved
    assert MIXED.extract(" 347 + 58 = 405 ") == "347 + 58 = 405"
    proving = load_domain("arithmetic+integration")
    assert proving.prove(proving.problem("integration: 2*x"), "x^2").proved
    assert MIXED.parts == ("arithmetic", "equations")


def test_variants_stay_in_the_domain_of_their_problem() -> None:
    rng = random.Random(0)
    for statement in ("arithmetic: 347 + 58", "equations: x^2 - 5*x + 6 = 0"):
        variants = [MIXED.ease(statement, move, rng=rng) for move in MIXED.moves]
        assert any(variants)
        assert all(variant.startswith(MIXED.part(statement)) for variant in variants if variant)
    written = MIXED.read_variant("arithmetic: 347 + 58", MIXED.moves[0], "7 + 8")
    assert written == "arithmetic: 7 + 8"
    assert MIXED.read_variant("arithmetic: 347 + 58", MIXED.moves[0], "no") is None
    assert MIXED.propose("arithmetic: 347 + 58", MIXED.moves[-1])


def test_problems_like_others_are_of_their_domains() -> None:
    rng = random.Random(0)
    like = [MIXED.problem("equations: 2*x + 3 = 7")]
    assert all(MIXED.part(MIXED.generate(rng, like=like).statement) == "equations" for _ in range(5))
    assert {MIXED.part(MIXED.generate(rng, size=2).statement) for _ in range(30)} == {*MIXED.parts}


def test_a_statement_without_a_domain_is_refused() -> None:
    for statement in ("347 + 58", "chess: e4", "arithmetic:347 + 58"):
        with pytest.raises(GrammarError, match="names no domain"):
            MIXED.problem(statement)


def test_names_that_are_no_mixture_are_refused() -> None:
    for name in ("arithmetic+chess", "arithmetic+arithmetic", "+"):
        with pytest.raises(UnknownDomainError):
            load_domain(name)


def test_rows_may_name_one_of_the_domains() -> None:
    rows = domain_of_rows("arithmetic", line_domain=NAME)
    assert rows.problem("347 + 58").statement == "arithmetic: 347 + 58"
    assert rows.name == NAME
    assert domain_of_rows(NAME, line_domain=NAME).problem("arithmetic: 1 + 1").domain == NAME
    with pytest.raises(UnknownDomainError, match="is not that of the line"):
        domain_of_rows("integration", line_domain=NAME)


def test_suites_of_each_domain_are_measured(tmp_path: Path) -> None:
    for name, statement in (("arithmetic", "1 + 1"), ("equations", "2*x = 4"), ("integration", "2*x")):
        problem = load_domain(name).problem(statement)
        Suite(name=name, kind=SuiteKind.SKILL, problems=(problem,)).save(tmp_path / f"{name}.jsonl")
    found = load_directory(tmp_path, domain=NAME)
    assert [suite.problems[0].statement for suite in found] == ["arithmetic: 1 + 1", "equations: 2*x = 4"]
    assert {problem.domain for suite in found for problem in suite.problems} == {NAME}
    with pytest.raises(BadInputError, match="which is not in"):
        in_mixture(load_domain("integration").problem("2*x"), line_domain=NAME)


def test_members_that_no_domain_has_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = load_domain(f"{install_passwords(tmp_path, monkeypatch)}+arithmetic")
    hint = mixed.problem({"statement": "passwords: hint 1", "reference": "secret"})
    assert hint.reference == "secret"
    assert mixed.verify(hint, "even").is_correct
    assert not mixed.recheck(hint, "even").is_correct
    assert mixed.has_generator
    assert not mixed.has_wrong_answers
    assert all(mixed.part(mixed.generate(random.Random(seed)).statement) == "arithmetic" for seed in range(5))
    alone = load_domain("passwords")
    assert not alone.has_generator
    assert alone.parts == ("passwords",)
    assert alone.part("hint 1") == "passwords"


def test_worker_processes_judge_a_mixture() -> None:
    pairs = [(MIXED.problem("arithmetic: 2 + 2"), "4"), (MIXED.problem("equations: 2*x = 4"), "3")]
    with VerifierPool(NAME) as pool:
        assert [verdict.is_correct for verdict in pool.verify_many(pairs)] == [True, False]


def test_the_code_of_a_mixture_is_that_of_its_domains() -> None:
    assert code_version(MIXED) == code_version(load_domain(NAME))
    assert code_version(MIXED) != code_version(load_domain("arithmetic+integration"))


def test_each_domain_has_the_same_share_of_a_step() -> None:
    classes = {1: [f"a{n}" for n in range(90)], PART_SIZES + 1: ["b0", "b1"], PART_SIZES + 2: ["b2"]}
    curriculum = Curriculum(classes=classes, replay=0.3, frontier=0.15)
    curriculum.count(1, rollouts=10, passed=5)
    curriculum.count(PART_SIZES + 1, rollouts=10, passed=10)
    weights = curriculum.weights()
    assert weights[1] == pytest.approx(0.5)
    assert sum(share for size, share in weights.items() if size > PART_SIZES) == pytest.approx(0.5)
    assert weights[PART_SIZES + 2] > weights[PART_SIZES + 1], "the unsolved class comes before the mastered one"
