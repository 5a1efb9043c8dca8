"""New problems like given ones: the same families, other numbers, nothing harder."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.domains.contract import load_domain
from everlearn.domains.integration.numeric_verifier import is_defined, verify
from everlearn.domains.integration.similar_problems import draw_similar
from everlearn.domains.integration.term_sums import draw_sum
from everlearn.domains.integration.term_templates import summands_of

if TYPE_CHECKING:
    from collections.abc import Sequence

# Terms that the default generator does not know, each with its family's antiderivative for scale a and exponent 2.
UNKNOWN = (
    *[f"{c}*tan({a}*x)" for c, a in ((3, 2), (5, 1), (2, 4), (7, 3))],
    *[f"{c}*sinh({a}*x)" for c, a in ((2, 1), (4, 5), (9, 2))],
    *[f"sqrt({a}*x + {b})" for a, b in ((2, 3), (1, 7), (5, 1))],
    *[f"{c}*x^2*exp({a}*x)" for c, a in ((1, 1), (6, 3), (3, 2))],
    *[f"sin(x)^{n}" for n in (2, 3, 5)],
    *["tan(x) + 2*sinh(3*x)", "x^2*exp(-2*x) - sqrt(x + 1)", "sin(x)^3 - 2*x^2*exp(-x) + 4*tan(5*x)"],
    *[
        "x^2*exp(x^3)",
        "x^3*exp(x^4) - tan(x)",
        "x/(x^2 + 9)",
        "1/(x^2 + 4)",
        "sqrt(1 - x^2)*asin(x)",
        "exp(x)*sin(2*x)",
    ],
    *[
        "2/3*x",
        "7",
        "-(x + 1)*(x^2 + 3)",
        "--x + 3*x^-2",
        "(2*x - 1)^3 + 1/x",
        "acosh(x) - (x + (1 - x))",
    ],
)
seeds = st.integers(0, 2**32)
models = st.lists(st.sampled_from(UNKNOWN), min_size=1, max_size=8)


def templates(statements: Sequence[str]) -> set[object]:
    return {term.template for statement in statements for term in summands_of(statement)}


@given(seeds, models)
def test_a_similar_problem_is_no_harder_in_form(seed: int, statements: list[str]) -> None:
    drawn = draw_similar(random.Random(seed), statements)
    load_domain("integration").problem(drawn)
    assert is_defined(drawn)
    assert templates([drawn]) <= templates(statements)
    assert len(summands_of(drawn)) in {len(summands_of(statement)) for statement in statements}
    largest = max(
        int(digits) for digits in "".join(c if c.isdigit() else " " for c in " ".join([*statements, "1"])).split()
    )
    assert all(value <= largest for term in summands_of(drawn) for value in (*(term.argument or ()), *term.exponents))


@pytest.mark.parametrize("statement", [*UNKNOWN, "0.5*cos(x)", "-3", "x - 2*(x - 1)/exp(-x + 3)"])
def test_a_term_is_its_template_with_its_numbers(statement: str) -> None:
    domain = load_domain("integration")
    bodies = [("-" if term.negative else "+") + term.to_text() for term in summands_of(statement)]
    assert domain.canonical("0" + "".join(bodies)) == domain.canonical(statement)


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (UNKNOWN[:4], {"tan"}),
        (UNKNOWN[4:7], {"sinh"}),
        (UNKNOWN[7:10], {"sqrt"}),
        (UNKNOWN[10:13], {"x", "exp"}),
        (("sin(x)^2", "sin(2*x)^3", "sin(x)^6"), {"sin"}),
    ],
    ids=["tan", "sinh", "sqrt", "x^2*exp", "sin^n"],
)
def test_families_unknown_to_the_default_generator_are_continued(statements: tuple[str, ...], words: set[str]) -> None:
    rng, domain = random.Random(0), load_domain("integration")
    drawn = {draw_similar(rng, statements) for _ in range(80)}
    fresh = {domain.canonical(text) for text in drawn} - {domain.canonical(text) for text in statements}
    assert len(fresh) > 6
    assert all(
        words <= {*text.replace("(", " ").replace("*", " ").replace("^", " ").replace(")", " ").split()}
        for text in drawn
    )


@pytest.mark.parametrize(
    ("statements", "drawn"),
    [
        (("x^2*exp(x^3)", "x^3*exp(x^4)"), {"x^2*exp(x^3)", "x^3*exp(x^4)"}),
        (("1/(x^2 + 4)", "1/(x^2 + 9)"), {"1/(x^2 + 4)", "1/(x^2 + 9)"}),
        (("x^2", "x^5"), {"x^2", "x^5"}),
        (("x^2", "x^3", "x^5"), {"x^2", "x^3", "x^4", "x^5"}),
        (("exp(x)*sin(2*x)",), {"exp(x)*sin(2*x)"}),
        (("x*exp(x)", "sin(5*x)"), {"x*exp(x)", "sin(5*x)"}),
        (
            ("sqrt(1 - x^2)*asin(x)", "tan(5*x)"),
            {"sqrt(1 - x^2)*asin(x)", *(f"tan({a}*x)" for a in range(2, 6)), "tan(x)"},
        ),
    ],
    ids=[
        "exponents that belong together",
        "constants",
        "parity",
        "a range",
        "two arguments",
        "numbers of another term",
        "x beside the argument",
    ],
)
def test_numbers_that_decide_about_the_method_stay(statements: tuple[str, ...], drawn: set[str]) -> None:
    rng = random.Random(0)
    assert {draw_similar(rng, statements) for _ in range(200)} <= drawn


def test_an_undefined_combination_is_not_drawn() -> None:
    rng = random.Random(0)
    drawn = {draw_similar(rng, ("asin(x) + 1", "acosh(x + 1) + 1")) for _ in range(40)}
    assert drawn
    assert all(map(is_defined, drawn)), "asin(x) + acosh(x) is real at one point only"


def test_without_a_defined_combination_a_given_problem_is_returned() -> None:
    assert draw_similar(random.Random(0), ("sqrt(-1 - x^2)",)) == "sqrt(-1 - x^2)"


def test_without_models_the_default_families_are_drawn() -> None:
    domain = load_domain("integration")
    assert domain.generate(random.Random(3), size=5).statement == draw_sum(random.Random(3), size=5)
    assert domain.generate(random.Random(3), like=[domain.problem("5*tan(x)")]).statement == "5*tan(x)"


def test_a_family_keeps_its_elementary_antiderivative() -> None:
    rng = random.Random(0)
    for _ in range(50):
        [term] = summands_of(draw_similar(rng, ("3*x*sin(2*x)", "x*sin(x)", "8*x*sin(7*x)")))
        assert term.coefficient
        assert term.argument
        c, a = term.coefficient, term.argument[0]
        assert verify(term.to_text(), f"{c}*(sin({a}*x)/{a}^2 - x*cos({a}*x)/{a})").is_correct
