from __future__ import annotations

import pytest

from everlearn.domains.contract import load_domain
from everlearn.domains.integration.notation.text_forms import read_statement
from everlearn.errors import GrammarError
from everlearn.problem import Ruling

DOMAIN = load_domain("integration")


@pytest.mark.parametrize(
    ("usual", "strict"),
    [
        ("2x", "2*x"),
        ("x**2", "x^2"),
        ("ln(x)", "log(x)"),
        ("x^2 dx", "x^2"),
        ("\\int x^2 dx", "x^2"),
        ("$\\int x^2 \\, dx$", "x^2"),
        ("∫2*x dx", "2*x"),
        ("∫xdx", "x"),
        ("∫ x + 1 dx", "x + 1"),
        ("\\int x\\,\\mathrm{d}x = ", "x"),
        ("dx/x", "1/x"),
        ("\\int \\frac{dx}{1+x^2}", "1/(1 + x^2)"),
        ("3*t^2", "3*x^2"),
        ("∫ 3t² dt", "3*x^2"),
        ("∫ sin(θ) dθ", "sin(x)"),
        ("y^2 dy", "x^2"),
        ("integrate(x**2, x)", "x^2"),
        ("Integrate[u^2, u]", "x^2"),
        ("What is ∫ x e^x dx?", "x*e^x"),
        ("Find the integral of x^2 sin x with respect to x.", "x^2*sin(x)"),
        ("|x|", "abs(x)"),
    ],
)
def test_a_usual_statement_is_kept_in_the_strict_grammar(usual: str, strict: str) -> None:
    problem = DOMAIN.problem(usual)

    assert problem.statement == strict
    assert problem == DOMAIN.problem(strict)
    assert DOMAIN.canonical(usual) == DOMAIN.canonical(strict)
    assert DOMAIN.equivalence(usual) == DOMAIN.equivalence(strict)
    assert DOMAIN.size(usual) == DOMAIN.size(strict)
    assert DOMAIN.split(usual) == DOMAIN.split(strict)
    assert DOMAIN.question(DOMAIN.problem(usual)) == DOMAIN.question(DOMAIN.stated(strict))


@pytest.mark.parametrize(
    "statement", ["2*x", " 3*x^2+ sin(2*x)", "x^-1/2", "0^2 + x", "exp(10^6+x)", "1.5*x", "log(0*x+1)"]
)
def test_a_strict_statement_is_kept_as_it_is(statement: str) -> None:
    assert DOMAIN.problem(statement).statement == statement
    assert read_statement(statement).variable == "x"


@pytest.mark.parametrize(
    "statement",
    ["", "a*x", "x + y", "x + C", "i*x", "1/2x", "∫_0^1 x dx", "∫ ∫ x dx", "∫ x dx + 1", "dx dx", "integral of sin(x)", "find x^2", "erf(x)", "x" * 9000, "2x^(9^9)", "no idea"],
)  # fmt: skip
def test_what_is_no_integrand_is_refused(statement: str) -> None:
    with pytest.raises(GrammarError):
        DOMAIN.problem(statement)


@pytest.mark.parametrize(
    "statement", ["1/0", "x/0", "1/(x-x)", "x + (2-2)^-1", "1/sin(0)", "log(0)*x", "2x/0", "∫ 1/0 dx", "log(x)/log(1)"]
)
def test_a_quotient_by_zero_is_no_problem(statement: str) -> None:
    with pytest.raises(GrammarError, match="defined nowhere"):
        DOMAIN.problem(statement)


@pytest.mark.parametrize(
    ("statement", "answer", "ruling"),
    [
        ("3*t^2", "t^3 + C", Ruling.CORRECT),
        ("3*t^2", "x^3", Ruling.CORRECT),
        ("3*t^2", "t^2", Ruling.WRONG),
        ("3*t^2", "t^3 + x", Ruling.UNREADABLE),
        ("∫ 3T^2 dT", "T^3", Ruling.CORRECT),
        ("3*x^2", "t^3", Ruling.UNREADABLE),
    ],
)
def test_answers_are_in_the_variable_of_the_statement(statement: str, answer: str, ruling: Ruling) -> None:
    assert DOMAIN.verify(DOMAIN.stated(statement), answer).ruling is ruling
