"""How answers are read and judged, twice."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.domains.contract import load_domain
from everlearn.domains.equations.answers import value_of
from everlearn.domains.equations.grammar import Power, parse
from everlearn.domains.equations.surds import SurdSum
from everlearn.errors import GrammarError

DOMAIN = load_domain("equations")
TWO_ROOTS, SURDS, GOLDEN, NONE, SYSTEM = (
    "x^2 - 5*x + 6 = 0",
    "x^2 = 5",
    "x^2 + x = 1",
    "x^2 + 1 = 0",
    "2*x + y = 5; x - y = 1",
)


def ruling(statement: str, answer: str) -> str:
    """Return the ruling of both judgements, which must agree."""
    problem = DOMAIN.problem(statement)
    first, second = DOMAIN.verify(problem, answer), DOMAIN.recheck(problem, answer)
    assert first.ruling == second.ruling, (answer, first, second)
    return str(first.ruling)


@pytest.mark.parametrize(
    ("statement", "answer"),
    [
        *((TWO_ROOTS, answer) for answer in (
            "x = 2 or x = 3", "2, 3", "3,2", "{2, 3}", "x = {2; 3}", r"x \in \{2, 3\}", "x \N{ELEMENT OF} {2,3}", "x=2, x=3.", "x = 2 or 3",
            "x = 2, and x = 3", "x_1 = 2, x_2 = 3", "x\N{SUBSCRIPT ONE} = 2; x\N{SUBSCRIPT TWO} = 3", r"$x = 2$ or $x = 3$",
            "**x = 2 and x = 3**", "x = 2\nx = 3", "The solutions are x = 2 and x = 3.", "So the real roots are: 2 and 3",
            r"x = 2 \text{ or } x = 3", r"x = 2 \lor x = 3", "2.0, 3.000", "x = 2, 2, 3", "+2, 3", "-(-2), 3", "02, 3", "2, 3,",
        )),
        *((SURDS, answer) for answer in (
            "x = ±sqrt(5)", "±\N{SQUARE ROOT}5", r"x = \pm\sqrt{5}", "sqrt(5), -sqrt(5)", "5/sqrt(5) or -sqrt(5)", "sqrt(20)/2, -sqrt(5)",
            "±sqrt(5.0)", "sqrt(5) or ±sqrt(5)", "±2*sqrt(5)/2", "±1/sqrt(1/5)",
        )),
        *((GOLDEN, answer) for answer in (
            "(-1+sqrt(5))/2, (-1-sqrt(5))/2", "(-1 ± sqrt(5))/2", r"x = \frac{-1 \pm \sqrt{5}}{2}", "-1/2 ± sqrt(5)/2", "-0.5 ± 0.5*sqrt(5)",
            "2/(1+sqrt(5)) or -2/(sqrt(5)-1)", "(-1±sqrt(5))/2.0",
        )),
        *((NONE, answer) for answer in (
            "no solution", "No real solutions.", "There are no real roots", "{}", r"\{\}", "\N{EMPTY SET}", r"x = \emptyset", "x = {}", "the empty set",
        )),
        *((SYSTEM, answer) for answer in (
            "x = 2, y = 1", "y=1; x=2", "(2, 1)", "(x, y) = (2, 1)", "(y, x) = (1, 2)", "x = 2 and y = 1", "x = 2\ny = 1", "x = 2, y = 1.0",
        )),
        ("x + y = 1; x + y = 2", "no solution"),
        ("x^4 - 10*x^2 + 24 = 0", "±2, ±sqrt(6)"),
        ("x^2 = 1/2", r"\pm\frac{\sqrt{2}}{2}"),
        ("x^4 - 5*x^2 + 6 = 0", "±sqrt(2) or ±sqrt(3)"),
        ("4*x = -2", r"-\frac12"),
        ("4*x = -2", r"\frac{-1}{2}"),
        ("x + 1 = 1", "0"),
        ("x^2 - 6 = 0", "±6/(sqrt(2)*sqrt(3))"),
        ("x^2 - 1 = 0", "-1 or 1"),
    ],
)  # fmt: skip
def test_all_solutions_are_correct_in_each_notation(statement: str, answer: str) -> None:
    assert ruling(statement, answer) == "CORRECT"


@pytest.mark.parametrize(
    ("statement", "answer"),
    [
        (TWO_ROOTS, "2"),
        (TWO_ROOTS, "x = 2, 2"),
        (TWO_ROOTS, "2, 3, 4"),
        (TWO_ROOTS, "x = -2 or x = 3"),
        (TWO_ROOTS, "no solution"),
        (TWO_ROOTS, "2.0001, 3"),
        (TWO_ROOTS, "2 + sqrt(5), 3"),
        (SURDS, "sqrt(5)"),
        (SURDS, "±2.236"),
        (SURDS, "±sqrt(5), ±sqrt(2)"),
        (NONE, "0"),
        (NONE, "x = ±sqrt(1.0001)"),
        (SYSTEM, "(1, 2)"),
        (SYSTEM, "x = 2, y = -1"),
        (SYSTEM, "no solution"),
        ("3*x = 1", "0.3333333333"),
        ("x = 5 - x/9", "sqrt(20)"),
        ("x^2 = 0", "no solution"),
    ],
)
def test_other_solutions_are_wrong(statement: str, answer: str) -> None:
    assert ruling(statement, answer) == "WRONG"


@pytest.mark.parametrize(
    ("statement", "answer"),
    [
        *((TWO_ROOTS, answer) for answer in (
            "", ".", "(2, 3)", "[2, 3]", "x = 2 and y = 3", "{2}, {3}", "y = {2, 3}", "2 3", "2,,3", "4 - 2, 3", "sqrt(4), 3", "2*1, 3", "x = 2 ± 1", "4/2/1, 3",
            "6/3, 3", "2/1, 3", "2.0/1.0, 3", r"\frac{6}{3}, 3", "(5 ± sqrt(25 - 24))/2", "(5 ± sqrt(1))/2", "2^1, 3", "x = 2 = 2, 3", "x > 1", "--2, 3", "(x - 2)*(x - 3) = 0", "2 or no solution", "x",
            "sqrt(2)*sqrt(2), 3", "2 + sqrt(5) - sqrt(5), 3", "1/(sqrt(2) - sqrt(2)), 3", "1/0, 3", "1,000", "2e0, 3", "\N{ARABIC-INDIC DIGIT TWO}, 3",
            "sqrt(sqrt(16)), 3", "sqrt(-4), 3", "2 3/1", "1, 2, 3, 4, 5, 6, 7, 8, 9", "2, 3 approximately", "9" * 500, "(" * 300,
            "sqrt(2)+sqrt(3)+sqrt(5)+sqrt(7), 3", "+".join(["sqrt(2)"] * 17), "sqrt(999999999999989), 3", "+".join(["1/sqrt(99999999977)"] * 6),
            "sqrt(2)/999999999999999/999999999999999/999999999999999", "sqrt(2)/(99999999999989 + sqrt(3))/(99999999999973 + sqrt(2)), 3",
            "±±2, 3", "± 2 ± 3", "(1 + 2) + sqrt(2)", "(1 + (sqrt(2) + 1)*2)*3*4", "x*sqrt(2)", "sqrt(x)",
        )),
        *((SYSTEM, answer) for answer in (
            "2", "2, 1", "x = 2", "x = 2, y = 1, x = 2", "x = 2, x = 2", "x = 2, z = 1", "(2, 1), (2, 1)", "((2, 1))", "(x, x) = (2, 1)", "(2, 1, 0)", "(2)",
            "x = ±2, y = 1", "x = y + 1, y = 1", "x = y = 1", "{2, 1}",
        )),
        ("x^2 = 20", "2**sqrt(5), -2*sqrt(5)"),
        (NONE, "none"),
        (NONE, "y = \N{EMPTY SET}"),
        (NONE, "x = ±i"),
    ],
)  # fmt: skip
def test_what_states_no_simplified_solutions_is_unreadable(statement: str, answer: str) -> None:
    assert ruling(statement, answer) == "UNREADABLE"


surds = st.builds(
    lambda a, b, c: SurdSum.rational(a) + SurdSum.square_root(b) * SurdSum.rational(c),
    st.fractions(-9, 9, max_denominator=9),
    st.fractions(0, 30, max_denominator=4),
    st.fractions(-9, 9, max_denominator=9),
)


@settings(max_examples=25, deadline=None)
@given(surds, surds, surds)
def test_sums_of_roots_form_a_field(one: SurdSum, other: SurdSum, third: SurdSum) -> None:
    assert (one + other) * third == one * third + other * third
    assert one - one == SurdSum.rational(0)
    mixed = one + other + third
    if mixed.terms:
        assert mixed * mixed.inverse() == SurdSum.rational(1)
    assert (one < other) + (other < one) == (one != other)


def test_a_power_has_no_value_in_an_answer() -> None:
    with pytest.raises(GrammarError):
        value_of(Power(parse("2"), 2), sign=1)


@pytest.mark.parametrize(
    "answer",
    [
        ",".join(f"1/(sqrt({9999999929 - 2 * place})+sqrt({place + 2})+sqrt(7))" for place in range(5)),
        "+".join(f"sqrt({9999999967 * 2 + 2 * place})" for place in range(16)),
        "*".join(["sqrt(30)"] * 16),
        "the solutions are " * 20,
        " or " * 100,
        ", ; " * 100,
        "{" * 200 + "}" * 199,
        "x_1 = " * 60,
    ],
)
def test_a_hostile_answer_is_judged_in_bounded_time(answer: str) -> None:
    problem, started = DOMAIN.problem(TWO_ROOTS), time.process_time()
    assert not DOMAIN.verify(problem, answer).is_correct
    assert time.process_time() - started < 1


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40) | st.text(alphabet="x=23 ,;or{}()/-±sqrt.", max_size=25))
def test_any_text_gets_a_verdict(answer: str) -> None:
    verdict = DOMAIN.verify(DOMAIN.problem(TWO_ROOTS), answer)
    if verdict.is_correct:
        assert {"2", "3"} <= set(answer)
