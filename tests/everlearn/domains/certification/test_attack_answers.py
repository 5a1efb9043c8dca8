"""The answers that attack a verifier are what their kind says."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.domains.certification.attack_answers import (
    DOUBTFUL_KINDS,
    NEAR,
    WRONG_KINDS,
    attacks_on,
    nonsense,
    other_numbers,
)
from everlearn.domains.contract import load_domain

NUMBERS = st.one_of(st.integers(-(10**12), 10**12).map(str), st.decimals(-1000, 1000, places=3).map(str))


@given(number=NUMBERS)
def test_other_numbers_have_another_value(number: str) -> None:
    others = other_numbers(number)
    assert len(others) >= 8
    assert all(float(other) != float(number) for other in others)


@pytest.mark.parametrize("text", ["x + 1", "seven", "", "1/2", "5 apples", "[1, 2]"])
def test_near_misses_of_other_texts_are_not_made_up(text: str) -> None:
    assert other_numbers(text) == []


@given(seed=st.integers(0, 1000))
def test_nonsense_has_two_words_since_one_alone_might_answer(seed: int) -> None:
    assert len([word for word in nonsense(random.Random(seed)).split() if word.isalpha()]) > 1


@pytest.mark.parametrize("name", ["arithmetic", "integration"])
@given(seed=st.integers(0, 30))
def test_wrong_answers_are_wrong_when_judged_twice(name: str, seed: int) -> None:
    domain, rng = load_domain(name), random.Random(seed)
    problem = domain.generate(rng, size=1 + seed % 4)
    right = domain.solve(problem)
    assert right is not None
    assert domain.recheck(problem, right).is_correct
    assert all(domain.verify(problem, same).is_correct for same in domain.same_answers(problem, right))
    near = [attack.answer for attack in attacks_on(domain, problem, right, rng=rng) if attack.kind == NEAR]
    assert len(near) >= 5
    for answer in rng.sample(near, 3):
        assert not domain.recheck(problem, answer).is_correct


def test_every_kind_is_tried_on_a_problem_with_a_known_answer() -> None:
    domain, rng = load_domain("arithmetic"), random.Random(0)
    problem = domain.problem("347 + 58")
    assert {attack.kind for attack in attacks_on(domain, problem, "405", rng=rng)} == {*WRONG_KINDS, *DOUBTFUL_KINDS}
    assert all(attack.answer != "405" for attack in attacks_on(domain, problem, "405", rng=rng))
    assert NEAR not in {attack.kind for attack in attacks_on(domain, problem, None, rng=rng)}
