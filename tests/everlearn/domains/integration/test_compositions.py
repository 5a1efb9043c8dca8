"""Compositions: their antiderivatives are known, their parts do not give them, and taking functions away makes them easier."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.domains.contract import load_domain
from everlearn.domains.integration.compositions import (
    draw_by_parts,
    draw_composition,
    draw_product,
    join_parts,
    read_composition,
    split_product,
)
from everlearn.domains.integration.moves import MOVES
from everlearn.domains.integration.numeric_verifier import verify
from everlearn.domains.integration.similar_problems import draw_similar
from everlearn.domains.integration.term_sums import draw_sum, join_sum

DOMAIN = load_domain("integration")
seeds, depths = st.integers(0, 2**32), st.integers(1, 5)


@settings(max_examples=30)
@given(seeds, depths)
def test_the_antiderivative_is_right(seed: int, depth: int) -> None:
    parts, answer = draw_composition(random.Random(seed), depth=depth)
    assert verify(join_parts(parts), join_sum([answer])).is_correct
    assert DOMAIN.solve(DOMAIN.stated(join_parts(parts))) == join_sum([answer])


@settings(max_examples=20)
@given(seeds, st.integers(1, 3))
def test_products_of_two_functions_have_the_product_as_antiderivative(seed: int, depth: int) -> None:
    terms, answer = draw_by_parts(random.Random(seed), depth=depth)
    assert len(terms) == 2
    assert verify(join_parts(terms), join_sum([answer])).is_correct


@given(seeds, st.integers(1, 8))
def test_a_composition_is_read_back_and_its_size_is_its_depth(seed: int, depth: int) -> None:
    statement = draw_product(random.Random(seed), depth=depth)
    chain = read_composition(statement)
    assert chain is not None
    assert len(chain.functions) == depth
    assert DOMAIN.size(statement) == depth


@given(seeds, st.integers(2, 8))
def test_a_product_is_split_and_joined(seed: int, depth: int) -> None:
    statement = draw_product(random.Random(seed), depth=depth)
    parts = DOMAIN.split(statement)
    assert depth <= len(parts) <= depth + 1
    assert DOMAIN.join(parts) == statement


@pytest.mark.parametrize(
    ("statement", "parts"),
    [
        ("x*exp(x)", ["+ x*exp(x)"]),
        ("exp(x)*sin(x)", ["+ exp(x)", "* sin(x)"]),
        ("-2*x*exp(sin(x))*cos(x)/3", ["- 2*x", "* exp(sin(x))", "* cos(x)/3"]),
        ("sin(x)*exp(x) + x", ["+ sin(x)*exp(x)", "+ x"]),
        ("sin(x)*2*x*exp(x)", ["+ sin(x)", "* 2*x", "* exp(x)"]),
    ],
)
def test_only_one_product_of_several_functions_has_factors_as_parts(statement: str, parts: list[str]) -> None:
    assert DOMAIN.split(statement) == parts
    assert DOMAIN.canonical(DOMAIN.join(parts)) == DOMAIN.canonical(statement)


@given(seeds, st.integers(2, 8), st.sampled_from(MOVES))
def test_a_move_gives_a_shallower_composition(seed: int, depth: int, move: str) -> None:
    statement = draw_product(random.Random(seed), depth=depth)
    variant = DOMAIN.ease(statement, move, rng=random.Random(seed))
    assert variant is not None
    after = DOMAIN.size(DOMAIN.problem({"statement": variant}).statement)
    assert abs(after - depth / 2) <= 1 if move == "HALF" else after == depth - 1


@given(seeds, st.integers(2, 6))
def test_without_its_outermost_function_a_composition_is_known_again(seed: int, depth: int) -> None:
    statement = draw_product(random.Random(seed), depth=depth)
    easier = DOMAIN.ease(statement, "DROP", rng=random.Random(0))
    whole, part = read_composition(statement), read_composition(easier or "")
    assert whole is not None
    assert part is not None
    assert part.functions == whole.functions[1:]


def test_no_part_of_a_composition_gives_its_antiderivative() -> None:
    rng = random.Random(5)
    for _ in range(10):
        statement = draw_product(rng, depth=3)
        answer = DOMAIN.solve(DOMAIN.stated(statement)) or ""
        pieces = [DOMAIN.solve(DOMAIN.stated(part.lstrip("+-* "))) or "x" for part in DOMAIN.split(statement)]
        for joined in ("*".join(f"({piece})" for piece in pieces), " + ".join(pieces)):
            assert not verify(statement, joined).is_correct
            assert verify(statement, answer).is_correct


@pytest.mark.parametrize(
    "statement", ["x + sin(x)", "x^2", "tan(x)", "sin(x)*exp(x)", "cos(exp(x))*exp(2*x)", "sin(1)", "exp(y(x))*x"]
)
def test_other_problems_are_no_compositions(statement: str) -> None:
    assert read_composition(statement) is None


@given(seeds, st.integers(2, 6))
def test_problems_like_a_composition_have_its_depth(seed: int, depth: int) -> None:
    rng = random.Random(seed)
    given_ones = [draw_product(rng, depth=depth), draw_sum(rng, size=1)]
    drawn = draw_similar(rng, given_ones)
    assert DOMAIN.size(drawn) in {1, depth}


def test_words_of_products_speak_of_factors() -> None:
    words = {DOMAIN.propose("cos(exp(x))*exp(x)", move) for move in MOVES}
    assert len(words) == len(MOVES)
    assert all("product" in text for text in words)
    assert split_product("x + 1")[1].sign == "+"
