from __future__ import annotations

import numpy as np
import pytest

from everlearn.domains.contract import load_domain
from everlearn.domains.integration.dual_numbers import DualEvaluator
from everlearn.domains.integration.grammar import FUNCTIONS, parse
from everlearn.domains.integration.high_precision import HighPrecisionEvaluator, UndefinedError
from everlearn.domains.integration.recheck import flat, recheck, spread
from everlearn.problem import Ruling

DOMAIN = load_domain("integration")
POINTS = [0.3 + 0.1j, 0.7 + 0.4j, -0.6 + 1.1j, 1.7 - 0.2j]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_both_evaluators_agree_on_functions(name: str) -> None:
    tree = parse(f"{name}(x)")
    points = np.array(POINTS, dtype=complex)

    values, slopes = DualEvaluator(points, slopes=True).at(tree)

    for point, value, slope in zip(POINTS, values, slopes, strict=True):
        precise = HighPrecisionEvaluator(50)
        step, place = precise.context.mpf(10) ** -15, precise.context.mpc(point)
        difference = (precise.at(tree, place + step) - precise.at(tree, place - step)) / (2 * step)
        assert complex(precise.at(tree, point)) == pytest.approx(value, rel=1e-12)
        assert complex(difference) == pytest.approx(slope, rel=1e-9)


@pytest.mark.parametrize(
    "text",
    [
        "x^3/(x+1)",
        "2^x",
        "x^x",
        "e^(x^2)",
        "(x+1)^(1/2)",
        "x^-2",
        "pi*e/x",
        "x^(2/3)",
        "3/2",
        "0*x + 0",
        "sin(1)*x",
        "-x^2*2/3",
        "1/2/x/(x-3)",
    ],
)
def test_both_evaluators_agree_on_expressions(text: str) -> None:
    values = np.broadcast_to(DualEvaluator(np.array(POINTS, dtype=complex), slopes=False).at(parse(text))[0], 4)

    for point, value in zip(POINTS, values, strict=True):
        assert complex(HighPrecisionEvaluator(50).at(parse(text), point)) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("text", ["1/x", "log(x)", "x^-1", "0^x", "tan(1/x)", "exp(exp(exp(9)))", "cot(x)"])
def test_undefined_values_raise(text: str) -> None:
    with pytest.raises(UndefinedError):
        HighPrecisionEvaluator(50).at(parse(text), 0)


@pytest.mark.parametrize("text", ["1/10^7*x", "x*10^10", "x + exp(-x^2-99)", "x*(9^10+9^10)"])
def test_double_precision_flags_lost_terms(text: str) -> None:
    duals = DualEvaluator(np.array(POINTS, dtype=complex), slopes=False)
    duals.at(parse(text))

    assert duals.faint


def test_the_number_of_digits_is_an_argument() -> None:
    assert "to 80 digits" in recheck("2*x", "x^2", digits=80).reason


def test_invalid_answers_are_unreadable_or_undecided() -> None:
    assert recheck("2*x", "x^").ruling is Ruling.UNREADABLE
    assert recheck("1/log(x)", "Li(x)").ruling is Ruling.UNDECIDED


def test_extreme_constants_are_undecided() -> None:
    assert "span more than" in recheck("1", "x*(10^700+1)/10^700").reason


def test_rarely_real_integrands_use_complex_points() -> None:
    assert "complex points" in recheck("x/sqrt(-1-x^2)", "-sqrt(-1-x^2)").reason
    assert recheck("x/sqrt(-1-x^2)", "sqrt(-1-x^2)").ruling is Ruling.WRONG
    assert recheck("x/sqrt(-1-x^2)", "sqrt(-1-x^2)*sqrt(x^2)/x").ruling is Ruling.UNDECIDED
    assert recheck("x/sqrt(-1-x^2)", "1/(x-x)").ruling is Ruling.UNDECIDED


@pytest.mark.parametrize(
    ("text", "digits"),
    [("x", 0), ("100*x", 2), ("1/100", 2), ("(x+100)^10", 21), ("exp(-100)", 43), ("log(1)", 0), ("0*x", 0)],
)
def test_the_span_of_constants_is_counted(text: str, digits: int) -> None:
    assert round(spread(parse(text))) == digits


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("tanh(99)", True),
        ("x*cos(1/10^20)", True),
        ("log(e)", False),
        ("cos(0)", False),
        ("sqrt(4)", False),
        ("sin(2)", False),
    ],
)
def test_constants_almost_integer_are_detected(text: str, *, near: bool) -> None:
    assert flat(parse(text)) is near


def test_the_domain_rechecks_at_high_precision() -> None:
    verdict = DOMAIN.recheck(DOMAIN.stated("2*x"), "x^2 + 7", digits=60)
    assert verdict == recheck("2*x", "x^2 + 7", digits=60)
    assert verdict.is_correct
