"""Moves without a model, and the words that ask a model for them."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from everlearn.domains.contract import load_domain
from everlearn.domains.integration.moves import MOVES
from everlearn.domains.integration.term_sums import draw_sum

DOMAIN = load_domain("integration")


@given(st.integers(0, 2**32), st.integers(1, 16), st.sampled_from(MOVES))
def test_a_derived_variant_is_a_problem_with_no_more_terms(seed: int, size: int, move: str) -> None:
    statement = draw_sum(random.Random(seed), size=size)
    variant = DOMAIN.ease(statement, move, rng=random.Random(seed))
    if size == 1 and move != "EASE":
        assert variant is None
        return
    assert variant is not None
    after = DOMAIN.size(DOMAIN.problem(variant).statement)
    assert after == size if move == "EASE" else 1 <= after < size


def test_dropping_a_term_drops_one() -> None:
    assert DOMAIN.ease("x + sin(x) - 2", "DROP", rng=random.Random(1)) in {"x + sin(x)", "x - 2", "sin(x) - 2"}


def test_the_words_for_each_move_differ() -> None:
    assert len({DOMAIN.propose("x + sin(x)", move) for move in MOVES}) == len(MOVES)
    assert DOMAIN.read_variant("x + sin(x)", "DROP", "Here it is:\nsin(x)") == "sin(x)"
    assert DOMAIN.read_variant("x + sin(x)", "DROP", "I would drop x.") is None


@given(st.integers(0, 2**32), st.integers(1, 16))
def test_terms_are_split_and_joined(seed: int, size: int) -> None:
    statement = draw_sum(random.Random(seed), size=size)
    terms = DOMAIN.split(statement)
    assert len(terms) == size
    assert DOMAIN.join(terms) == statement
