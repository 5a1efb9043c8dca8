from __future__ import annotations

import numpy as np
import pytest

from everlearn.domains.contract import load_domain
from everlearn.domains.integration.dual_numbers import DualEvaluator
from everlearn.domains.integration.grammar import FUNCTIONS, parse
from everlearn.domains.integration.high_precision import HighPrecisionEvaluator, UndefinedError
from everlearn.domains.integration.recheck import flat, recheck, spread
from everlearn.problem import Ruling

POINTS = [0.3 + 0.1j, 0.7 + 0.4j, -0.6 + 1.1j, 1.7 - 0.2j]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_both_evaluators_mean_the_same_by_a_function(name: str) -> None:
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
def test_both_evaluators_mean_the_same_by_an_expression(text: str) -> None:
    values = np.broadcast_to(DualEvaluator(np.array(POINTS, dtype=complex), slopes=False).at(parse(text))[0], 4)

    for point, value in zip(POINTS, values, strict=True):
        assert complex(HighPrecisionEvaluator(50).at(parse(text), point)) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("text", ["1/x", "log(x)", "x^-1", "0^x", "tan(1/x)", "exp(exp(exp(9)))", "cot(x)"])
def test_what_has_no_value_says_so(text: str) -> None:
    with pytest.raises(UndefinedError):
        HighPrecisionEvaluator(50).at(parse(text), 0)


@pytest.mark.parametrize("text", ["1/10^7*x", "x*10^10", "x + exp(-x^2-99)", "x*(9^10+9^10)"])
def test_double_precision_knows_what_it_cannot_see(text: str) -> None:
    duals = DualEvaluator(np.array(POINTS, dtype=complex), slopes=False)
    duals.at(parse(text))

    assert duals.faint


def test_more_digits_can_be_asked_for() -> None:
    assert "to 80 digits" in recheck("2*x", "x^2", digits=80).reason


def test_an_answer_that_cannot_be_read_is_wrong_unless_there_is_no_theory_of_it() -> None:
    assert recheck("2*x", "x^").ruling is Ruling.WRONG
    assert recheck("1/log(x)", "Li(x)").ruling is Ruling.UNDECIDED


def test_constants_beyond_all_digits_are_not_decided() -> None:
    assert "span more than" in recheck("1", "x*(10^700+1)/10^700").reason


def test_an_integrand_that_is_hardly_ever_real_is_judged_in_the_plane() -> None:
    assert "complex points" in recheck("x/sqrt(-1-x^2)", "-sqrt(-1-x^2)").reason
    assert recheck("x/sqrt(-1-x^2)", "sqrt(-1-x^2)").ruling is Ruling.WRONG
    assert recheck("x/sqrt(-1-x^2)", "sqrt(-1-x^2)*sqrt(x^2)/x").ruling is Ruling.UNDECIDED
    assert recheck("x/sqrt(-1-x^2)", "1/(x-x)").ruling is Ruling.UNDECIDED


@pytest.mark.parametrize(
    ("text", "digits"),
    [("x", 0), ("100*x", 2), ("1/100", 2), ("(x+100)^10", 21), ("exp(-100)", 43), ("log(1)", 0), ("0*x", 0)],
)
def test_what_constants_can_hide_is_counted(text: str, digits: int) -> None:
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
def test_a_constant_next_to_a_whole_number_is_noticed(text: str, *, near: bool) -> None:
    assert flat(parse(text)) is near


def test_the_domain_judges_a_second_time_by_the_proof() -> None:
    verdict = load_domain("integration").recheck("2*x", "x^2 + 7", digits=60)
    assert verdict == recheck("2*x", "x^2 + 7", digits=60)
    assert verdict.is_correct
