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
    MARKERS,
    Term,
    draw_markers,
    draw_sum,
    draw_term,
    join_sum,
    mark,
    split_sum,
)
from everlearn.errors import GrammarError

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


@given(seeds, st.integers(1, MARKERS))
def test_markers_increase_and_are_all_different(seed: int, count: int) -> None:
    markers = draw_markers(random.Random(seed), count=count)
    assert markers == sorted(set(markers))
    assert len(markers) == count
    assert all(0 <= marker < MARKERS for marker in markers)


def test_more_terms_than_markers_are_refused() -> None:
    with pytest.raises(GrammarError, match="25 terms"):
        draw_markers(random.Random(0), count=MARKERS + 1)


def test_each_term_follows_its_marker() -> None:
    assert mark(split_sum("3*x - sin(x)"), [2, 5]) == "<2> + 3*x <5> - sin(x)"
