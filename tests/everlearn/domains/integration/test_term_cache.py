from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.domains.integration.grammar import parse
from everlearn.domains.integration.numeric_safety import is_numerically_safe
from everlearn.domains.integration.term_cache import TermCache, evaluate
from everlearn.domains.integration.term_sums import draw_term, join_sum
from everlearn.errors import GrammarError

POINTS = np.array([0.3, 0.7, 1.9, 5.0, -2.5, 1 + 2j, 0.5 - 1j], dtype=complex)
TEXTS = st.lists(
    st.sampled_from(
        ["x", "2", "7", "^", "*", "/", "+", "-", " ", "(", ")", "sin(", "e", ".5", "\u00a0", "log(x)", "x^-2"]
    ),
    max_size=14,
).map("".join)


def whole(text: str, *, slopes: bool) -> tuple[np.ndarray, bool, bool] | str:
    """What is said of a text that is read without a cut."""
    try:
        tree = parse(text)
    except GrammarError as error:
        return str(error)
    return *evaluate(tree, POINTS, slopes=slopes), is_numerically_safe(tree)


def in_pieces(bank: TermCache, text: str, *, slopes: bool) -> tuple[np.ndarray, bool, bool] | str:
    try:
        worth = bank.slopes(text) if slopes else bank.values(text)
    except GrammarError as error:
        return str(error)
    return worth.at, worth.faint, worth.plain


def assert_same(bank: TermCache, text: str) -> None:
    with np.errstate(all="ignore"):
        for slopes in (True, False):
            one, other = in_pieces(bank, text, slopes=slopes), whole(text, slopes=slopes)
            if isinstance(one, str) or isinstance(other, str):
                assert one == other
            else:
                np.testing.assert_allclose(one[0], other[0], rtol=1e-12)
                assert one[1:] == other[1:]


@pytest.fixture(scope="module")
def bank() -> TermCache:
    return TermCache(POINTS)


@settings(max_examples=600, deadline=None)
@given(text=TEXTS)
def test_splitting_does_not_change_values(bank: TermCache, text: str) -> None:
    assert_same(bank, text)


@pytest.mark.parametrize("seed", range(20))
def test_a_cached_term_keeps_its_values(bank: TermCache, seed: int) -> None:
    rng = random.Random(seed)
    text = join_sum([draw_term(rng)[seed % 2] for _ in range(rng.randint(1, 12))])

    for spaced in (text, text.replace(" ", ""), f" {text} ", text):
        assert_same(bank, spaced)


@pytest.mark.parametrize(
    "text",
    [
        "sin(x) + 10^12*x + log(x) + 2",
        "2 + 3",
        "10^12 - 10^12",
        "x^2 - 1/10^7",
        "exp(x) + 10^(-7)*sin(x)",
        "x - sqrt(x) + tanh(x)",
        "((((x))))-x",
        "x + " + "*".join(["(x+1)"] * 40),
        "(" * 47 + "x" + ")" * 47 + " - 1",
        "-" * 48 + "x",
        "x" + " " * 4000,
        "x + )",
        "x + (",
        "1 2 + x",
        "",
    ],
)
def test_texts_that_cannot_be_split_are_parsed_whole(bank: TermCache, text: str) -> None:
    assert_same(bank, text)


def test_long_numbers_are_flagged() -> None:
    assert [TermCache(POINTS).values(text).long for text in ("x + 1234567", "x+.5", "2 + 0.1", "x + 12*x")] == [
        *(True, True, True),
        False,
    ]


def test_the_cache_is_bounded() -> None:
    bank = TermCache(POINTS, most=12)
    for number in range(40):
        assert_same(bank, f"{number}*x + sin(x) - {number}/x")

    assert len(bank._known) <= 12
