from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.domains.integration.canonical import canonical, terms_without_factor, without_factor
from everlearn.domains.integration.grammar import parse
from everlearn.domains.integration.term_sums import draw_term, join_sum
from everlearn.errors import GrammarError

seeds = st.integers(0, 2**32)


def drawn(seed: int) -> list[str]:
    rng = random.Random(seed)
    return [join_sum([draw_term(rng)[0]]) for _ in range(rng.randint(1, 8))]


@given(seeds)
def test_a_canonical_text_is_its_own(seed: int) -> None:
    text = canonical(" + ".join(f"({term})" for term in drawn(seed)))

    assert canonical(text) == text


@given(seeds)
def test_order_brackets_and_spaces_do_not_matter(seed: int) -> None:
    terms = drawn(seed)
    other = random.Random(seed).sample(terms, k=len(terms))

    assert canonical(" + ".join(f"({term})" for term in terms)) == canonical("+".join(f"({term})*1" for term in other))


@given(seeds, st.integers(1, 99), st.integers(1, 99), st.booleans())
def test_a_factor_does_not_change_the_kinship(seed: int, above: int, below: int, minus: bool) -> None:  # noqa: FBT001
    text = " + ".join(f"({term})" for term in drawn(seed))
    other = f"{'-' if minus else ''}{above}/{below}*({text})"

    assert without_factor(other) == without_factor(text)


@given(seeds)
def test_a_kinship_is_its_own(seed: int) -> None:
    text = without_factor(" + ".join(f"({term})" for term in drawn(seed)))

    assert without_factor(text) == text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("exp(x)", "e^x"),
        ("exp(1)", "e"),
        ("exp(0)*x", "x"),
        ("e^(2*x)*e", "exp(1+2*x)"),
        ("sqrt(x)", "x^(1/2)"),
        ("sqrt(x)*sqrt(x)", "x"),
        ("x/x^3", "x^-2"),
        ("(x+1)/(x+1)", "1"),
        ("x*x*x", "x^3"),
        ("x+x", "2*x"),
        ("0.5*x", "x/2"),
        ("x-x", "0"),
        ("0*sin(x)", "0"),
        ("0^3", "0"),
        ("(2*x+2)^2", "4*(x+1)^2"),
        ("(2*x)^3", "8*x^3"),
        ("(x^2)^3", "x^6"),
        ("2*(x+1)+x", "3*x+2"),
        ("x-(1-x)", "2*x-1"),
        ("sin(-x)", "-sin(x)"),
        ("cos(1-x)", "cos(x-1)"),
        ("sec(x)", "1/cos(x)"),
        ("coth(x)*tanh(x)", "1"),
        ("x^x*x", "x^(1+x)"),
        ("sqrt(2)*sqrt(2)", "2"),
        ("sqrt(2*x)*sqrt(x*2)", "2*x"),
        ("(x+1)^0", "1"),
        ("1^x", "1"),
        ("--x", "+x"),
        ("9^999*x", "x*9^999"),
        ("x/9^999", "9^-999*x"),
        ("(1000*x)^99", "x^99*1000^99"),
    ],
)
def test_one_problem_has_one_text(one: str, other: str) -> None:
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sin(x)", "cos(x)"),
        ("log(-x)", "-log(x)"),
        ("sqrt(x^2)", "x"),
        ("x^2", "x^-2"),
        ("exp(x)^(1/2)", "exp(x)"),
        ("1/0", "0"),
        ("(-8)^(1/3)", "2"),
        ("2^x", "3^x"),
        ("(3/2)^x", "3^x/2"),
        ("(1000*x)^99", "x^99"),
        ("acos(-x)", "acos(x)"),
    ],
)
def test_different_problems_have_different_texts(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("4*x + 6", "-2*x - 3"),
        ("pi*(2*x+3)", "x + 3/2"),
        ("exp(x+2)", "5*exp(x)"),
        ("e^(3+2)", "7"),
        ("sqrt(2)*x", "x"),
        ("2^sin(1)*log(x)", "log(x)/3"),
        ("x - x", "0"),
    ],
)
def test_problems_of_a_kin_share_their_key(one: str, other: str) -> None:
    assert without_factor(one) == without_factor(other)


def test_what_is_no_multiple_is_of_no_kin() -> None:
    assert (
        len(
            {
                without_factor("x"),
                without_factor("x+1"),
                without_factor("x^2"),
                without_factor("0"),
                without_factor("1"),
                without_factor("2^x"),
            }
        )
        == 6
    )


def test_canonical_texts_can_be_read() -> None:
    assert canonical("3*x^2 - 4*sin(2*x)/x + (x+1)^(-1/2)") == "(x + 1)^(-1/2) - 4*sin(2*x)*x^(-1) + 3*x^2"


@pytest.mark.parametrize("text", ["2^(1/3)*x^x", "-3/2*x", "(x+1)^(2/3)*x", "-x", "(2*x)^(1/2)*3", "e^(-x)", "(-2)^x"])
def test_a_canonical_text_is_in_the_grammar(text: str) -> None:
    assert parse(canonical(text))
    assert canonical(canonical(text)) == canonical(text)


def test_what_cannot_be_read_has_no_text() -> None:
    with pytest.raises(GrammarError):
        canonical("2x")
    with pytest.raises(GrammarError):
        without_factor("2x")


def test_terms_without_factor_are_those_of_the_text() -> None:
    assert terms_without_factor("-6*x^2 - 4*sin(x)") == [(Fraction(1), "sin(x)"), (Fraction(3, 2), "x^2")]
    assert terms_without_factor("5*pi*x") == [(Fraction(1), "x")]
