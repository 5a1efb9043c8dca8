"""Sums of terms: what is drawn is a problem, its answer is right, and splitting loses nothing."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.domains.integration.numeric_verifier import verify
from everlearn.domains.integration.term_sums import (
    FAMILIES,
    Term,
    draw_sum,
    draw_term,
    join_sum,
    split_sum,
)

Family = Callable[[random.Random], tuple[Term, Term]]
seeds = st.integers(0, 2**32)


@given(seeds, st.integers(1, 20))
def test_a_sum_is_the_join_of_its_terms(seed: int, size: int) -> None:
    statement = draw_sum(random.Random(seed), size=size)
    terms = split_sum(statement)
    assert len(terms) == size
    assert join_sum(terms) == statement


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_antiderivatives_of_the_families_are_correct(family: Family) -> None:
    for seed in range(30):
        question, answer = family(random.Random(seed))
        verdict = verify(join_sum([question]), join_sum([answer]), seed=seed)
        assert verdict.is_correct, f"{question} -> {answer}: {verdict.reason}"


@given(seeds)
def test_a_term_and_its_answer_change_sign_together(seed: int) -> None:
    question, answer = draw_term(random.Random(seed))
    assert verify(join_sum([question]), join_sum([answer]), seed=0).is_correct


@pytest.mark.parametrize(
    ("statement", "terms"),
    [
        ("x - x^-2", ["+ x", "- x^-2"]),
        ("-3*(x+1) + sin(x-1)", ["- 3*(x+1)", "+ sin(x-1)"]),
        ("x*-1", ["+ x*-1"]),
        ("--x", ["+ x"]),
        ("-+x", ["- x"]),
        ("", []),
    ],
)
def test_only_plus_and_minus_between_terms_split(statement: str, terms: list[str]) -> None:
    assert list(map(str, split_sum(statement))) == terms


def test_no_terms_are_no_statement() -> None:
    assert join_sum([]) == ""
