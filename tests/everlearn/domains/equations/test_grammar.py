"""How expressions of equations are read and printed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.domains.equations.grammar import parse, unparse
from everlearn.domains.equations.surds import square_parts
from everlearn.errors import GrammarError


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("2x+3", "2*x + 3"),
        ("2 x", "2*x"),
        ("-x^2", "-x^2"),
        ("(-x)^2", "(-x)^2"),
        ("x**2", "x^2"),
        ("x\N{SUPERSCRIPT TWO}", "x^2"),
        ("x^{3}", "x^3"),
        ("x^(3)", "x^3"),
        ("3(x-1)(x+2)", "3*(x - 1)*(x + 2)"),
        ("x(x - (2 - y))", "x*(x - (2 - y))"),
        ("6/4*x", "3/2*x"),
        ("x/(3/4)", "x/(3/4)"),
        ("x/3/4", "x/3/4"),
        ("(3/4)^2", "(3/4)^2"),
        ("2*(3*x)", "2*(3*x)"),
        ("2*(-3)", "2*(-3)"),
        ("0.5x", "1/2*x"),
        ("\N{VULGAR FRACTION ONE HALF}x", "1/2*x"),
        (r"\frac{x}{2}", "x/2"),
        (r"\dfrac12 x", "1/2*x"),
        (r"\left(x - 1\right) \cdot 2", "(x - 1)*2"),
        ("2\N{MULTIPLICATION SIGN}x \N{MINUS SIGN} 1", "2*x - 1"),
        ("((x))", "x"),
        ("1 ± sqrt(2)", "1 ± sqrt(2)"),
        (r"\pm\sqrt{2}", "±sqrt(2)"),
        ("\N{SQUARE ROOT}5^2", "sqrt(5)^2"),
        ("+x", "x"),
        (r"2\pi r", "2*pi*r"),
        ("\N{GREEK SMALL LETTER PI}r^2", "pi*r^2"),
    ],
)
def test_an_expression_is_printed_in_one_form(text: str, printed: str) -> None:
    assert unparse(parse(text)) == printed
    assert unparse(parse(printed)) == printed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1/2x",
        "x/2(x+1)",
        "xy",
        "x2",
        "2 3",
        "x y",
        "e",
        "i",
        "X",
        "sin(x)",
        "x^5",
        "x^12",
        "x^-1",
        "x^y",
        "x^2^2",
        "x^(2",
        "x^{2)",
        "--x",
        "2*-x",
        "(x",
        "x)",
        "sqrt x",
        "sqrt(5",
        r"\frac12x}",
        r"\frac(1)(2)",
        "1/0",
        "x/0.0",
        "2 +",
        "1,000",
        "9" * 16,
        "(" * 9 + "x" + ")" * 9,
        "٣",
        "x_1",
        r"\alpha",
        "__import__('os')",
    ],
)
def test_what_has_no_single_reading_is_refused(text: str) -> None:
    with pytest.raises(GrammarError):
        parse(text)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="x2y34+-*/^()= .±{}\\sqrtfac", max_size=30))
def test_what_is_read_is_printed_as_a_text_that_is_read_the_same(text: str) -> None:
    try:
        printed = unparse(parse(text))
    except GrammarError:
        return
    assert unparse(parse(printed)) == printed


@pytest.mark.parametrize(
    ("number", "parts"),
    [
        (0, (0, 1)),
        (1, (1, 1)),
        (12, (2, 3)),
        (18, (3, 2)),
        (10**14 * 7, (10**7, 7)),
        (2 * 100003**2, (100003, 2)),
        (7, (1, 7)),
    ],
)
def test_the_square_factor_of_a_number_is_found(number: int, parts: tuple[int, int]) -> None:
    assert square_parts(number) == parts


def test_a_number_with_large_prime_factors_is_refused() -> None:
    with pytest.raises(GrammarError, match="too large to factor"):
        square_parts(100003 * 100019)
