from __future__ import annotations

import json
import random
import time
from math import comb
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.domains.integration.grammar import parse
from everlearn.domains.integration.numeric_safety import is_numerically_safe
from everlearn.domains.integration.numeric_verifier import _common_cache, verify
from everlearn.domains.integration.recheck import recheck
from everlearn.domains.integration.term_sums import draw_term, join_sum
from everlearn.errors import GrammarError
from everlearn.problem import Ruling

ITEMS = [json.loads(line) for line in (Path(__file__).parents[3] / "data/integrals.jsonl").read_text().splitlines()]

# Each is accepted by some verifier that looks at too few points, at too few digits or at one side of a cut.
WRONG = {
    "right on a part of the axis": [
        ("-1", "asin(cos(x+1/10))"),
        ("x", "x*sqrt(x^2)/2"),
        ("1/(x*sqrt(x^2-1))", "asec(x)"),
    ],
    "folded far away": [("1", "100*asin(sin(x/100))"), ("1", "sqrt((x+150)^2)"), ("2*x", "(150*atan(tan(x/150)))^2")],
    "fades into a constant": [("1", "x*tanh(25+x^2)"), ("1", "x*tanh(20)"), ("exp(x)", "exp(x)*tanh(9+x^2)")],
    "the integrand is tiny": [
        ("1/cosh(x)^2", "0"),
        ("x/(x^4+4)", "0"),
        ("exp(-x^2)", "0"),
        ("exp(-1000*x^2)", "0"),
        ("x/10^300", "0"),
        ("1/9^400", "0"),
    ],
    "nearly the coefficient": [
        ("x^2", "0.333333333333333333333333*x^3"),
        ("1", "x*355/113/pi"),
        ("1", "x^(1+1/99999/99999)"),
        ("2*x", "x^2+x*10^(-60)"),
        ("1", "x*cos(1/99999/99999)"),
    ],
    "nearly one at the points": [
        ("1", "x*cos(x/99/99/99)"),
        ("1", "x*cos(x/70/70)*(exp(x/70/70)+exp(-x/70/70))/2"),
        (
            "1",
            "x*(1+" + "+".join(f"{comb(12, k) * (-1) ** k}*exp({k}*x/99)" for k in range(13)).replace("+-", "-") + ")",
        ),
    ],
    "tiny differences": [
        ("2*x", "x^2+x/10^9"),
        ("2*x", "x^2+(x/1000)^3"),
        ("2*x", "x^2+x/9/9/9/9/9/9/9/9/9/9"),
        ("2*x", "x^2*(1+1/99/99/99/99)"),
        ("2*x", "x^2+log(x+10^9)"),
        ("1", "x+exp(x-99)"),
        ("cos(x)", "sin(x)+(x/99)^12"),
        ("cos(x)", "sin(x*(1+1/99/99/99/99/99))"),
        ("1/x", "log(x)*exp(x/99/99/99/99)"),
    ],
    "right at whole numbers": [
        ("2*x", "x^2+(x*(x-1)*(x-2)*(x-3)*(x-4)*(x+1)*(x+2)*(x+3)*(x+4))^2"),
        ("2*x", "x^2+sin(pi*x)^2"),
        ("2*x", "x^2+sin(10*pi*x)^2/10^6"),
    ],
    "the question itself": [("log(x)", "log(x)"), ("x^2", "x^2"), ("0", "x")],
    "a sign, a coefficient, a term": [
        ("cos(x)", "-sin(x)"),
        ("6*x", "2*x^2"),
        ("x + 1", "x^2/2"),
        ("x + sin(x)", "x^2/2 + cos(x)"),
    ],
    "no expression": [
        ("x", "x^2/2 + ∫x"),
        ("x", "integrate(x)"),
        ("x", ""),
        ("x", "2x"),
        ("x", "(" * 2000),
        ("x", "9^9^9"),
    ],
    "hardly ever real": [("log(-1-x^2)", "0"), ("sqrt(-1-x^2)", "sqrt(-1-x^2)")],
}
UNSEEN = [
    ("exp(-x^2-800)", "5"),
    ("1", "x*tanh(200)"),
    ("1", "x*tanh(99+x^2)"),
    ("1", "x*coth(99)"),
    ("2*x", "x^2+exp(-1000-x^2)"),
    ("1", "x+1/(10^60+x^2)"),
    ("1", "x*cos(9^(-70))"),
    ("1", "x*(1+9^(-999))"),
    ("1/(x^2+1)", "atan(x)+atan((x+500)^300)"),
]
UNDEFINED = [
    ("x", "x^2/2 + 1/0"),
    ("x", "x^2/2 + 0*log(0)"),
    ("x", "1/(x-x)"),
    ("x", "x^2/2 + 0^(-1)"),
    ("x", "x^2/2 + 0*asin(1/x)*exp(exp(exp(9*x^2+9)))"),
    ("1/x", "log(0*x)"),
    ("1/(x-x)", "x"),
    ("0^0", "x"),
    ("sqrt(x-x-1)*0^(-1)", "x"),
]


ABSOLUTE_VALUES = [
    ("1/x", "log(abs(x))", "-log(abs(x))"),
    ("1/x", "log(abs(3*x))", "log(abs(x+3))"),
    ("tan(x)", "-log(abs(cos(x)))", "log(abs(cos(x)))"),
    ("abs(x)", "x*abs(x)/2", "x^2/2"),
    ("sqrt(x^2)", "x*abs(x)/2", "x^2/2"),
    ("abs(x)/x", "abs(x)", "x"),
    ("1/sqrt(x^2-1)", "log(abs(x+sqrt(x^2-1)))", "log(abs(x-sqrt(x^2-1)))"),
]
IMAGINARY = [
    ("1", "-i*log(exp(i*x))", "i*x"),
    ("1/(1+x^2)", "i/2*(log(1-i*x)-log(1+i*x))", "i/2*(log(1+i*x)-log(1-i*x))"),
    ("cos(x)", "(e^(i*x)-e^(-i*x))/(2*i)", "(e^(i*x)+e^(-i*x))/(2*i)"),
    ("x", "x^2/2+i", "i"),
    ("x", "x^2/2+log(-2)", "x*log(-2)"),
]


@pytest.mark.parametrize(("integrand", "right", "wrong"), ABSOLUTE_VALUES + IMAGINARY)
def test_absolute_values_and_imaginary_units_are_decided(integrand: str, right: str, wrong: str) -> None:
    for judge in (verify, recheck):
        assert judge(integrand, right).ruling is Ruling.CORRECT
        assert judge(integrand, wrong).ruling is Ruling.WRONG


@pytest.mark.parametrize("below", [99, 99999, 10**15])
@pytest.mark.parametrize("scale", ["", "/10^40"])
def test_an_answer_fitted_to_the_points_is_not_correct(below: int, scale: str) -> None:
    points = _common_cache(0).points
    roots = [f"(x-({round(point.real * below)}/{below}))^2" for point in points if point.imag == 0]
    pairs = [
        f"((x-({round(point.real * below)}/{below}))^2+({round(point.imag * below)}/{below})^2)^2"
        for point in points
        if point.imag
    ]

    answer = f"x^2+{'*'.join(roots + pairs)}{scale}"

    assert not verify("2*x", answer).is_correct
    assert not recheck("2*x", answer).is_correct


def test_an_integrand_has_no_imaginary_unit() -> None:
    assert verify("x", "x^2/2 + i*x - i*x").is_correct
    for judge in (verify, recheck):
        with pytest.raises(GrammarError):
            judge("i*x", "i*x^2/2")


@pytest.mark.parametrize("item", ITEMS, ids=[item["id"] for item in ITEMS])
def test_published_answers_are_correct(item: dict[str, str]) -> None:
    expected = Ruling.UNDECIDED if item["id"] == "no-theory" else Ruling.CORRECT

    assert verify(item["integrand"], item["antiderivative"]).ruling is expected
    assert recheck(item["integrand"], item["antiderivative"]).ruling is expected


@pytest.mark.parametrize(("integrand", "answer"), [pair for pairs in WRONG.values() for pair in pairs])
def test_traps_are_never_correct(integrand: str, answer: str) -> None:
    assert verify(integrand, answer).ruling.is_not_right
    assert not recheck(integrand, answer).is_correct


@pytest.mark.parametrize(
    ("integrand", "answer"),
    [("1/sqrt(x^2-1)", "acosh(x)"), ("1/x", "sqrt(x^2)/x*log(x)"), ("1/x", "-log(1/x)*x/abs(x)")],
)
def test_an_answer_right_where_it_is_real_is_undecided(integrand: str, answer: str) -> None:
    for judge in (verify, recheck):
        assert judge(integrand, answer).ruling is Ruling.UNDECIDED


@pytest.mark.parametrize(
    ("integrand", "answer"),
    [
        ("1/x", "log(x)"),
        ("1/x", "log(-x)"),
        ("1/x", "log(x) + x/abs(x)"),
        ("1/(1+x^2)", "-atan(1/x)"),
        ("1/x", "log(x^2)/2"),
        ("sqrt(x)*sqrt(1+x)", "-1/4*asinh(sqrt(x))+1/2*x^(3/2)*sqrt(1+x)+1/4*sqrt(x)*sqrt(1+x)"),
    ],
)
def test_constants_may_differ_from_piece_to_piece(integrand: str, answer: str) -> None:
    for judge in (verify, recheck):
        assert judge(integrand, answer).ruling is Ruling.CORRECT


@pytest.mark.parametrize(
    ("integrand", "answer"),
    [
        ("exp(99*x)*(sin(x)^2+cos(x)^2-1)", "1"),
        ("exp(60*x)*(1-tanh(30*x)^2)", "(log(1+exp(60*x)) + 1/(1+exp(60*x)))/15"),
        ("exp(10*x)^3 - exp(30*x) + 1", "x"),
        ("10^10*(1-tanh(50*x)^2)", "10^10*tanh(50*x)/50"),
        ("exp(-1000*x)*exp(600*x)*exp(400*x)", "x"),
        ("(9*10^8+1/10000-9*10^8)*x", "x^2/20000"),
    ],
)
def test_rounding_noise_never_refuses_a_right_answer(integrand: str, answer: str) -> None:
    for judge in (verify, recheck):
        assert judge(integrand, answer).ruling is not Ruling.WRONG


@pytest.mark.parametrize(("integrand", "answer"), UNSEEN)
def test_differences_below_precision_are_undecided(integrand: str, answer: str) -> None:
    assert verify(integrand, answer).ruling is Ruling.UNDECIDED


@pytest.mark.parametrize(("integrand", "answer"), UNDEFINED)
def test_rarely_defined_integrands_are_undecided(integrand: str, answer: str) -> None:
    assert verify(integrand, answer).ruling is Ruling.UNDECIDED


@given(st.integers(0, 2**32), st.integers(1, 16), st.integers(0, 3))
def test_answers_of_the_families_are_correct(seed: int, size: int, points: int) -> None:
    rng = random.Random(seed)
    drawn = [draw_term(rng) for _ in range(size)]

    verdict = verify(join_sum([q for q, _ in drawn]), join_sum([a for _, a in drawn]) + " + 5", seed=points)

    assert verdict.ruling is Ruling.CORRECT
    assert is_numerically_safe(parse(join_sum([a for _, a in drawn])))


@given(st.integers(0, 2**32), st.integers(2, 16))
def test_an_answer_with_a_term_missing_is_wrong(seed: int, size: int) -> None:
    rng = random.Random(seed)
    drawn = [draw_term(rng) for _ in range(size)]

    assert verify(join_sum([q for q, _ in drawn]), join_sum([a for _, a in drawn[1:]])).ruling is Ruling.WRONG


@pytest.mark.parametrize("seed", range(20))
def test_the_ruling_does_not_depend_on_the_seed(seed: int) -> None:
    assert verify("asin(x)", "x*asin(x) + sqrt(1-x^2)", seed=seed).ruling is Ruling.CORRECT
    assert verify("asin(x)", "x*asin(x) - sqrt(1-x^2)", seed=seed).ruling is Ruling.WRONG


def test_a_verdict_names_its_points() -> None:
    assert "its derivative agrees with the integrand at 16 real" in verify("2*x", "x^2").reason
    assert verify("2*x", "x^3").reason.startswith("at x = ")
    assert "though it agrees at" in verify("1", "sqrt((x+150)^2)").reason
    assert "j, the integrand" in verify("x", "x*log(-2)").reason


@pytest.mark.parametrize("answer", ["Li(x)", "CannotIntegrate(log(x), x)", "x*erf (x)", "sign(x)"])
def test_unknown_special_functions_are_undecided(answer: str) -> None:
    assert verify("1/log(x)", answer).ruling is Ruling.UNDECIDED


def test_an_invalid_integrand_is_an_error() -> None:
    with pytest.raises(GrammarError):
        verify("2x", "x^2")
    with pytest.raises(GrammarError):
        recheck("2x", "x^2")


def test_an_answer_of_zero_is_right_for_zero() -> None:
    assert verify("0", "0").is_correct
    assert verify("0", "sin(x)^2 + cos(x)^2").is_correct
    assert verify("x - x", "pi").is_correct
    assert verify("2*x + 0^2", "x^2").ruling is not Ruling.WRONG


@pytest.mark.parametrize(
    "answer",
    [
        "x" * 10**8,
        "9^" * 1000 + "9",
        "exp(" * 30 + "x" + ")" * 30,
        "x^1000" + "*x^1000" * 500,
        "(x+1)^999^x",
        "+".join(["x^x"] * 900),
    ],
)
def test_hostile_answers_are_judged_quickly(answer: str) -> None:
    start = time.perf_counter()

    assert not verify("x", answer).is_correct
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize(
    "text",
    [
        "tanh(x)",
        "sin(x^2)",
        "exp(999*x)",
        "x^13",
        "x^(1/2)",
        "x^x",
        "atan(x*x)",
        "sin(1)",
        "exp(1/x)",
        "log(2^x)",
        "cos(x/99)",
        "sin(x*x)",
        "exp(1/(x-x))",
        "atan(99*99*x)",
        "e^(x^2)",
    ],
)
def test_expressions_with_hidden_scales_are_not_safe(text: str) -> None:
    assert not is_numerically_safe(parse(text))


@pytest.mark.parametrize(
    "text", ["-x^2/(1+x)^-2", "e^(2*x)", "log(3*x+1)", "atan(-x/2)", "sin(pi*x)", "2*(x-1)*exp(x)"]
)
def test_common_forms_are_numerically_safe(text: str) -> None:
    assert is_numerically_safe(parse(text))
