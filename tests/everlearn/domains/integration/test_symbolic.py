from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.domains.integration.grammar import FUNCTIONS, parse
from everlearn.domains.integration.numeric_verifier import verify
from everlearn.domains.integration.symbolic import (
    UndefinedExpressionError,
    prove_antiderivative,
    to_sympy,
)
from everlearn.domains.integration.term_sums import draw_term, join_sum
from everlearn.errors import GrammarError


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.booleans())
def test_proofs_agree_with_the_numeric_verifier(seed: int, spoil: bool) -> None:  # noqa: FBT001
    rng = random.Random(seed)
    pairs = [draw_term(rng) for _ in range(rng.randint(1, 3))]
    integrand = join_sum([question for question, _ in pairs])
    answers = [answer for _, answer in pairs] + ([draw_term(rng)[1]] if spoil else [])
    answer = join_sum(answers)

    assert prove_antiderivative(integrand, answer).proved == verify(integrand, answer).is_correct


@pytest.mark.parametrize(
    ("integrand", "answer"),
    [
        ("2*x", "x^2 + x"),
        ("2*x", "x^2 + 1/(1/0)"),
        ("2*x", "x^2 + log(0)"),
        ("cos(x)", "sin(x) + tan(pi/2)"),
        ("2*x", "x^2 +"),
        ("1/0", "x"),
        ("sin(x)", "cos(x)"),
        ("1/x", "log(2*x)*x"),
    ],
)
def test_a_wrong_answer_is_never_proved(integrand: str, answer: str) -> None:
    proof = prove_antiderivative(integrand, answer)
    assert not proof.proved
    assert proof.status == "not decided"


def test_a_proof_shows_canonical_form_derivative_and_difference() -> None:
    proof = prove_antiderivative("2*x*cos(x^2)", "7 + sin(x*x)")
    assert proof.canonical == "sin(x^2) + 7"
    assert (proof.derivative, proof.difference, proof.status) == ("2*x*cos(x^2)", "0", "proved")


def test_an_identity_is_proved_by_simplification() -> None:
    assert prove_antiderivative("sin(2*x)", "sin(x)^2").proved


def test_every_function_of_the_grammar_converts() -> None:
    for name in FUNCTIONS:
        assert to_sympy(parse(f"{name}(x/3)")).free_symbols


def test_canonical_forms_join_fractions_and_constants() -> None:
    assert prove_antiderivative("3*x/pi - e^x", "1.5*x^2/pi - e^x").canonical == "3*x^2/(2*pi) - exp(x)"


def test_undefined_and_malformed_text_is_refused() -> None:
    with pytest.raises(UndefinedExpressionError):
        to_sympy(parse("1/(1-1)"))
    with pytest.raises(GrammarError):
        prove_antiderivative("__import__('os')", "x")
    with pytest.raises(GrammarError):
        prove_antiderivative("x +", "x")
