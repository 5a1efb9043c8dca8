"""An answer that sympy reads is an expression, and nothing that it would run."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.domains.gym.answer_expression import is_expression

WITH_LETTERS, WITHOUT = "x**3/3 + C", "(3 + 4)*2"


@pytest.mark.parametrize(
    ("text", "like"),
    [
        ("(3+4)*2 - -1", WITHOUT),
        ("+7/2", WITHOUT),
        ("x**3/3 + C", WITH_LETTERS),
        ("sin(x)**2*exp(2*x)/3 - 0.5", WITH_LETTERS),
        ("x**(-2) + x**(1/2) + 2**x", WITH_LETTERS),
    ],
)
def test_expressions_are_read(text: str, like: str) -> None:
    assert is_expression(text, like=like)


@pytest.mark.parametrize(
    ("text", "like"),
    [
        ("", WITHOUT),
        ("__import__('os').system('true')", WITH_LETTERS),
        ("x.__class__", WITH_LETTERS),
        ("entry", WITH_LETTERS),
        ("print(x)", WITH_LETTERS),
        ("x[0]", WITH_LETTERS),
        ("lambda x", WITH_LETTERS),
        ("1 if 1 else 2", WITH_LETTERS),
        ("x and x", WITH_LETTERS),
        ("7//2", WITHOUT),
        ("1e2", WITHOUT),  # a number that the verifier would not count as used
        ("0x18", WITHOUT),
        ("E/E", WITHOUT),
        ("2**3", WITHOUT),
        ("0.5", WITHOUT),
        ("1e2*x", WITH_LETTERS),
        ("y", WITH_LETTERS),
        ("9**9**9", WITH_LETTERS),
        ("9**(9**9)", WITH_LETTERS),
        ("(9**50)**50", WITH_LETTERS),
        ("x**1000", WITH_LETTERS),
        ("x**" + "9" * 400, WITH_LETTERS),
        ("9" * 1001, WITHOUT),
        ("2(3)", WITHOUT),
        ("3 4", WITHOUT),
        ("-" * 1900 + "1", WITHOUT),
        ("(" * 900 + "1" + ")" * 900, WITHOUT),
        ("1+" * 5000 + "1", WITHOUT),
    ],
)
def test_anything_else_is_refused(text: str, like: str) -> None:
    assert not is_expression(text, like=like)


@given(st.text(alphabet="0123456789x+-*/() .esin", max_size=60), st.sampled_from([WITHOUT, WITH_LETTERS]))
def test_any_text_is_read_or_refused_at_once(text: str, like: str) -> None:
    started = time.process_time()
    is_expression(text, like=like)
    assert time.process_time() - started < 0.5
