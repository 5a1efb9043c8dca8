from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.domains.contract import load_domain
from everlearn.domains.integration.grammar import DEFAULT, FUNCTIONS, Limits, constant, parse, render
from everlearn.errors import GrammarError, UnknownDomainError

numbers = st.integers(0, 999).map(str) | st.sampled_from(["0.5", ".25", "3."])
texts = st.recursive(
    numbers | st.sampled_from(["x", "e", "pi"]),
    lambda inner: (
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]}{t[1]}{t[2]})")
        | inner.map(lambda t: f"-{t}")
        | st.tuples(st.sampled_from(sorted(FUNCTIONS)), inner).map(lambda t: f"{t[0]}({t[1]})")
        | inner.map(lambda t: f"({t})^x")
    ),
    max_leaves=12,
)


@given(texts)
def test_what_is_rendered_parses_to_what_renders_the_same(text: str) -> None:
    once = render(parse(text))

    assert render(parse(once)) == once


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("1 - 2 - 3", "1 - 2 - 3"),
        ("1-(2-3)", "1 - (2 - 3)"),
        ("x/2/3", "x/2/3"),
        ("x/(2/3)", "x/(2/3)"),
        ("x/(2*3)", "x/(2*3)"),
        ("-x^2", "-x^2"),
        ("(-x)^2", "(-x)^2"),
        ("x^-2", "x^(-2)"),
        ("x*-2", "x*(-2)"),
        ("x--2", "x - (-2)"),
        ("(-1)/x", "-1/x"),
        ("+x", "x"),
        ("2^3^x", "2^(3^x)"),
        ("(2^3)^x", "(2^3)^x"),
        ("0.5*x", "(1/2)*x"),
        ("e^(2*x)", "e^(2*x)"),
    ],
)
def test_signs_and_powers_bind_as_in_mathematics(text: str, rendered: str) -> None:
    assert render(parse(text)) == rendered


def test_a_tree_may_be_rendered_that_no_text_parses_to() -> None:
    assert render(("product", ("number", -2), ("inverse", ("name", "x")), ("inverse", ("inverse", ("name", "e"))))) == (
        "(-2)/x/(1/e)"
    )


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "ends too early"),
        ("(x", "ends too early"),
        ("x)", "position 2"),
        ("2x", "'x' at position 2: an operator is missing"),
        ("x(2)", "'\\(' at position 2: an operator is missing"),
        ("sin x", "a bracket must follow sin"),
        ("sin(x,x)", "',' at position 6: a closing bracket"),
        ("x**2", "'\\*' at position 3: allowed are"),
        ("x ≤ 2", "'≤' at position 3: allowed are"),
        ("∫x", "'∫' at position 1"),
        ("integrate(x)", "'integrate' at position 1"),
        ("\uff58", "position 1"),
        ("\u0445^2", "position 1"),
        ("x²", "position 2"),
        ("1e5", "'e5' at position 2"),
        (".", "'.' at position 1"),
        ("y", "'y' at position 1"),
        ("__import__('os')", "'__import__' at position 1"),
        ("a" * 100, "aaa…' at position 1"),
    ],
)
def test_anything_else_is_refused_at_its_place(text: str, place: str) -> None:
    with pytest.raises(GrammarError, match=place):
        parse(text)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("x" * 4001, "4001 characters"),
        ("(" * 3000, "deeper than"),
        ("-" * 3000, "deeper than"),
        ("x^" * 100 + "x", "deeper than"),
        ("1" * 31, "31 digits"),
        ("x^1001", "exponent beyond 1000"),
        ("x^-1001", "exponent beyond 1000"),
        ("9^9^9", "exponent beyond 1000"),
        ("x^(9^(9^(9*9)))", "exponent beyond 1000"),
        ("x^(10^400*10^400)", "exponent beyond 1000"),
        ("x^(1/0)", "exponent beyond 1000"),
        ("x^(500+501)", "exponent beyond 1000"),
    ],
)
def test_every_limit_is_named(text: str, limit: str) -> None:
    with pytest.raises(GrammarError, match=limit):
        parse(text)


def test_limits_can_be_tightened() -> None:
    with pytest.raises(GrammarError, match="at most 3"):
        parse("x + x", limits=Limits(length=3))


def test_a_long_flat_sum_is_not_deep() -> None:
    assert len(parse("+".join(["x"] * 2000))) == 2001


def test_a_billion_characters_are_refused_at_once() -> None:
    text = "x" * 10**9
    start = time.perf_counter()
    with pytest.raises(GrammarError, match="1000000000 characters"):
        parse(text)
    assert time.perf_counter() - start < 0.1


@pytest.mark.parametrize(("text", "size"), [("3-5", -2), ("6/4", 1.5), ("2*3*4", 24), ("-2^3", -8), ("sin(1)", None)])
def test_the_size_of_numbers_alone_is_known(text: str, size: float | None) -> None:
    assert constant(parse(text)) == size


def test_a_constant_exponent_at_the_limit_is_read() -> None:
    assert parse(f"x^{DEFAULT.exponent}")[0] == "power"


def test_a_domain_is_loaded_by_name() -> None:
    assert load_domain("integration").name == "integration"


def test_an_unknown_domain_error_lists_the_known_ones() -> None:
    with pytest.raises(UnknownDomainError, match=r"'chess': use one of .*integration"):
        load_domain("chess")


def test_a_long_domain_name_is_truncated() -> None:
    with pytest.raises(UnknownDomainError, match=r"c{40}…"):
        load_domain("c" * 1000)
