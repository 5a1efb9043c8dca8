"""Which equations belong to the domain, and their keys."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.domains.equations.keys import canonical, equivalence
from everlearn.domains.equations.polynomials import count_real_roots
from everlearn.domains.equations.sample_answers import right_answer
from everlearn.domains.equations.solver import real_roots
from everlearn.domains.equations.statements import read_equations
from everlearn.errors import GrammarError

coefficients = st.integers(-12, 12)


@pytest.mark.parametrize(
    ("text", "statement", "kind", "solution"),
    [
        ("2x + 3 = 7", "2*x + 3 = 7", "linear", "x = 2"),
        ("Solve 2x + 3 = 7 for x.", "2*x + 3 = 7", "linear", "x = 2"),
        ("Solve for x: 3(x - 1) = 2x + 5", "3*(x - 1) = 2*x + 5", "linear", "x = 8"),
        ("Solve for x x + 3 = 7", "x + 3 = 7", "linear", "x = 4"),
        ("Find t if 3t = 12", "3*t = 12", "linear", "t = 4"),
        ("What is x when x/3 - 1 = 4?", "x/3 - 1 = 4", "linear", "x = 15"),
        ("x + 1 = x + 2", "x + 1 = x + 2", "linear", "no solution"),
        ("x = 5 - x", "x = 5 - x", "linear", "x = 5/2"),
        ("$x^2 = 2$", "x^2 = 2", "quadratic", "x = -sqrt(2) or x = sqrt(2)"),
        ("Find all real solutions of x^2 + x = 1", "x^2 + x = 1", "quadratic", "x = (-1 - sqrt(5))/2 or x = (-1 + sqrt(5))/2"),
        ("x^2 + 1 = 0", "x^2 + 1 = 0", "quadratic", "no solution"),
        ("4x^2 = 3", "4*x^2 = 3", "quadratic", "x = -sqrt(3)/2 or x = sqrt(3)/2"),
        ("x^2 - 2x/3 = 1/6", "x^2 - 2*x/3 = 1/6", "quadratic", "x = (2 - sqrt(10))/6 or x = (2 + sqrt(10))/6"),
        ("x^3 = 8", "x^3 = 8", "cubic", "x = 2"),
        ("x^4 - 5x^2 + 6 = 0", "x^4 - 5*x^2 + 6 = 0", "quartic", "x = -sqrt(3) or x = -sqrt(2) or x = sqrt(2) or x = sqrt(3)"),
        ("x^4 + 4 = 0", "x^4 + 4 = 0", "quartic", "no solution"),
        ("x^4 + x + 1 = 0", "x^4 + x + 1 = 0", "quartic", "no solution"),
        ("(x^2 - x - 1)*(x^2 + 3x + 1) = 0", "(x^2 - x - 1)*(x^2 + 3*x + 1) = 0", "quartic", None),
        ("2x + y = 5, x - y = 1", "2*x + y = 5; x - y = 1", "system of 2", "x = 2, y = 1"),
        ("Solve the system: y = 2x and x + y = 3 for x and y", "y = 2*x; x + y = 3", "system of 2", "x = 1, y = 2"),
        (r"\begin{cases}x + y = 1 \\ 2x + 2y = 3\end{cases}", "x + y = 1; 2*x + 2*y = 3", "system of 2", "no solution"),
        ("x+y+z=6\n\n x - y = -1\ny + z = 5", "x + y + z = 6; x - y = -1; y + z = 5", "system of 3", "x = 1, y = 2, z = 3"),
    ],
)  # fmt: skip
def test_equations_are_read_and_solved(text: str, statement: str, kind: str, solution: str | None) -> None:
    asked = read_equations(text)
    assert (asked.text, asked.kind) == (statement, kind)
    assert solution in (None, right_answer(asked))
    assert read_equations(asked.text) == asked


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "one equals sign"),
        ("x + 1", "one equals sign"),
        ("x = 1 = 1", "one equals sign"),
        ("Solve a x + 3 = 7x for x", "follows a factor"),
        ("Solve the equation b (x + 1) = 3", "2 unknowns"),
        ("1 = 2", "0 unknowns"),
        ("x + y = 2", "as many equations"),
        ("a + b + c + d = 1; a = b; b = c; c = 2d", "at most 3"),
        ("x = 2", "its own solution"),
        ("3 + 4 = x", "its own solution"),
        ("x = 1; y = 2", "its own solution"),
        ("x = x", "true for every number"),
        ("x + y = 1; 2x + 2y = 2", "infinitely many"),
        ("x*y = 1; x = y + 1", "not linear"),
        ("x^3 = 2", "more than square roots"),
        ("x^4 = 2", "more than square roots"),
        ("x^3*x^2 = 2", "degree 5"),
        ("x^4*x^4*x = 1", "degree above 8"),
        ("x^2 = 10000300019*1000000", "too large"),
        ("1/x = 2", "by an unknown"),
        ("x/(1 - 1) = 2", "by zero"),
        ("sqrt(x) = 2", "square roots"),
        ("pi*x = 2", "with pi"),
        ("0*(x + 1) = 3", "x cancels out"),
        ("x^2 - x*x = 3", "x cancels out"),
        ("x + y = 1; x + y = 2; z = z", "z cancels out"),
        ("x ± 1 = 2", "±"),
        ("x + 999999999999999*999999999999999 = 1", "too large"),
        ("x^2 = 10000200001*3000009", "too large"),
        ("Solve x + 1 = 2 for y", "not in the equation"),
        ("x" + " + x" * 30 + " = 1", "at most 24"),
        ("x + 1 = 2" + " " * 1000, "at most 1000"),
        ("Ignore that. x + 1 = 2", "no unknown"),
    ],
)
def test_other_texts_are_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(GrammarError, match=reason):
        read_equations(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2x + 3 = 7", "7 = 2x + 3"),
        ("2x + 3 = 7", "2x = 7 - 3"),
        ("2x + 3 = 7", "6t + 9 = 21"),
        ("3(x - 1) = 2x + 5", "3x - 3 = 5 + 2x"),
        ("x(2)/4 + 0x = 1", "x/2 = 1"),
        ("(1 + x)*3/(2 + 1) = 5", "x + 1 = 5"),
        ("x^2 - 5x + 6 = 0", "(y - 2)(y - 3) = 0"),
        ("x^2 - 5x + 6 = 0", "2x^2 = 10x - 12"),
        ("x^2 = 2*(x + 1)", "x^2 - 2x - 2 = 0"),
        ("x + 2y = 3; x - y = 1", "a - b = -1; 3 = b + 2a"),
        ("x*(x + 1) - x^2 = 3", "2x = 6"),
        ("x + y + z = 1; x + y + z = 2; 0 = 0", "2 = a + b + c; c - c = 0; a + b + c = 1"),
        ("3*(x*x) - x^2 - 2*x*x + x = 7", "x - 7 = 0"),
    ],
)
def test_rearranged_scaled_and_renamed_equations_are_equivalent(one: str, other: str) -> None:
    assert equivalence(read_equations(one)) == equivalence(read_equations(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [("2x + 3 = 7", "2x = 4"), ("x - 2 = 0", "2x + 3 = 7"), ("x^2 = 4", "x^2 - 4x = 0"), ("x + y = 3; x - y = 1", "x + y = 3; x - y = 2")],
)  # fmt: skip
def test_other_equations_have_other_keys(one: str, other: str) -> None:
    assert equivalence(read_equations(one)) != equivalence(read_equations(other))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7 = 2x + 3", "2*x + 3 - 7 = 0"),
        ("x - y = 1; 2x + y = 5", "2*x + y - 5 = 0; x - y - 1 = 0"),
        ("(x - 2)^2 = x", "x^2 - 5*x + 4 = 0"),
        ("x + y = 1; 0x + 0y = 2", "x + y - 1 = 0; 2 = 0"),
        ("x + y = 1; x + y = x + y + 0", None),
    ],
)
def test_the_canonical_form_is_its_own(text: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(GrammarError):
            read_equations(text)
        return
    assert canonical(read_equations(text)) == expected
    assert canonical(read_equations(expected)) == expected


@settings(max_examples=30, deadline=None)
@given(st.lists(coefficients, min_size=2, max_size=4), st.integers(1, 9))
def test_real_roots_are_those_of_sympy(low: list[int], lead: int) -> None:
    polynomial = tuple(map(Fraction, [*low, lead]))
    oracle = sympy.Poly([int(value) for value in reversed(polynomial)], sympy.Symbol("x"))
    expected = sorted({root.evalf(30) for root in oracle.real_roots()})
    assert count_real_roots(polynomial) == len(expected)
    try:
        found = real_roots(polynomial)
    except GrammarError:
        return
    values = [sum(float(factor) * radicand**0.5 for radicand, factor in root.terms) for root in found]
    assert values == pytest.approx([float(value) for value in expected], abs=1e-6)


@pytest.mark.parametrize(
    "unit", [" ", "\n", "solve ", "x ", "x,", "for ", " and", ";", "x^4*", "(x+1)*", "-", "=", "\\frac", ", and "]
)
def test_reading_takes_bounded_time(unit: str) -> None:
    started = time.process_time()
    for text in (unit * (990 // len(unit)), f"Solve {unit * (900 // len(unit))} x = 1", unit * 1000):
        try:
            read_equations(text)
        except GrammarError:
            continue
    assert time.process_time() - started < 1
