"""Moves: what the model is shown can be carried out, and what it makes up is no proposal."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.domains.integration.moves import MOVES, apply, demonstrate, demonstrate_solution, extract, prompt
from everlearn.domains.integration.term_sums import split_sum

ASKED = "DROP <3> + 3*x^2 <7> - 4*sin(2*x) <9> + x ="


@given(st.integers(0, 2**32), st.integers(2, 16), st.sampled_from(MOVES))
def test_demonstrated_moves_are_valid(seed: int, size: int, move: str) -> None:
    prompt, completion = demonstrate(random.Random(seed), size=size, move=move)
    variant = apply(move, prompt, completion)
    assert variant is not None
    after = len(split_sum(variant))
    assert after == size if move == "EASE" else 1 <= after < size


@pytest.mark.parametrize(
    ("move", "completion", "variant"),
    [
        ("DROP", "<7>", "3*x^2 + x"),
        ("DROP", "<3><7>", None),
        ("DROP", "<7>+x", None),
        ("DROP", "<8>", None),
        ("DROP", "", None),
        ("HALF", "<3><9>", "3*x^2 + x"),
        ("HALF", "<3>-x", None),
        ("EASE", "<7>+cos(x)", "3*x^2 + cos(x) + x"),
        ("EASE", "<7>", None),
        ("EASE", "<3>+x<7>+x", None),
    ],
)
def test_a_completion_is_applied_or_refused_as_a_whole(move: str, completion: str, variant: str | None) -> None:
    assert apply(move, ASKED, completion) == variant


def test_dropping_the_only_term_leaves_no_problem() -> None:
    assert apply("DROP", "DROP <3> + x =", "<3>") is None


@given(st.integers(0, 2**32), st.integers(1, 16))
def test_markers_do_not_reach_the_verifier(seed: int, size: int) -> None:
    _, completion = demonstrate_solution(random.Random(seed), size=size)
    assert "<" not in extract(completion)
    assert len(split_sum(extract(completion))) == size


def test_a_prompt_names_its_move_and_ends_with_an_equals_sign() -> None:
    text = prompt("x + sin(x)", rng=random.Random(0), move="HALF")
    assert text.startswith("HALF <")
    assert text.endswith("=")
