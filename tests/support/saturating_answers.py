"""Answers whose derivative cancels or saturates far from zero, right and wrong ones, with the truth by computer algebra.

`{u}` is a linear function of x with slope `{a}`. Each row is an integrand and its antiderivatives. The wrong answers
are right ones with a change that fades away where the functions saturate, or that is tiny everywhere. SymPy
differentiates the texts and mpmath compares at 160 digits, near zero, where nothing saturates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import mpmath
import sympy

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOPES = (("x", "1"), ("(x/2)", "(1/2)"), ("(1-9*x)", "(-9)"))
ROWS = {
    "sech({u})^2": ("tanh({u})/{a}+1", "(tanh({u})-1)/{a}", "-2/({a}*(e^(2*{u})+1))", "sinh({u})/cosh({u})/{a}"),
    "4/(e^{u}+e^(-{u}))^2": ("tanh({u})/{a}-1", "2/({a}*(1+e^(-2*{u})))"),
    "1-tanh({u})^2": ("tanh({u})/{a}", "1/{a}-2/({a}*(exp(2*{u})+1))"),
    "csch({u})": (
        "log(tanh({u}/2))/{a}",
        "-log(coth({u}/2))/{a}",
        "log(abs(tanh({u}/2)))/{a}",
        "-2*atanh(e^{u})/{a}",
        "-2*acoth(e^{u})/{a}",
        "log((cosh({u})-1)/(cosh({u})+1))/(2*{a})",
        "-acoth(cosh({u}))/{a}",
    ),
    "sech({u})": (
        "2*atan(e^{u})/{a}",
        "asin(tanh({u}))/{a}",
        "-2*acot(e^{u})/{a}",
        "atan(sinh({u}))/{a}",
        "(2*atan(e^{u})-pi)/{a}",
    ),
    "sqrt(1-tanh({u})^2)": ("2*atan(tanh({u}/2))/{a}", "-2*atan(e^(-{u}))/{a}"),
    "csch({u})^2": ("-coth({u})/{a}", "(1-coth({u}))/{a}", "-2/({a}*(e^(2*{u})-1))"),
    "tanh({u})": (
        "log(cosh({u}))/{a}",
        "-log(sech({u}))/{a}",
        "x+log(1+e^(-2*{u}))/{a}",
        "-log(1-tanh({u})^2)/(2*{a})",
    ),
    "1-tanh({u})": ("x-log(cosh({u}))/{a}", "-log(1+e^(-2*{u}))/{a}", "log(1+tanh({u}))/{a}"),
    "coth({u})-1": ("log(sinh({u}))/{a}-x", "log(abs(1-e^(-2*{u})))/{a}"),
    "sech({u})*tanh({u})": ("-sech({u})/{a}", "1-1/({a}*cosh({u}))"),
    "csch({u})*coth({u})": ("-csch({u})/{a}", "-1/({a}*sinh({u}))"),
    "sech({u})^2*tanh({u})": ("tanh({u})^2/(2*{a})", "(tanh({u})^2-1)/(2*{a})", "-sech({u})^2/(2*{a})"),
    "tanh({u})^2": ("x-tanh({u})/{a}", "x-(1+tanh({u}))/{a}"),
    "1/(e^{u}+1)": ("x-log(1+e^{u})/{a}", "-log(1+e^(-{u}))/{a}", "x/2-log(cosh({u}/2))/{a}"),
    "e^{u}/(1+e^{u})^2": ("-1/({a}*(1+e^{u}))", "e^{u}/({a}*(1+e^{u}))", "(tanh({u}/2)-1)/(2*{a})"),
    "e^{u}/(e^(2*{u})-1)": ("log(tanh({u}/2))/(2*{a})", "(log(abs(e^{u}-1))-log(e^{u}+1))/(2*{a})"),
    "cosh({u})^2-sinh({u})^2": ("x", "{u}/{a}*(cosh({u})^2-sinh({u})^2)"),
    "e^{u}*sech({u})": ("log(1+e^(2*{u}))/{a}", "x+log(cosh({u}))/{a}"),
    "1/({u}^2+1)": ("(atan({u})-pi/2)/{a}", "-atan(1/{u})/{a}", "-acot({u})/{a}", "atan({u}+10^9)/{a}*0+atan({u})/{a}"),
    "1/sqrt({u}^2+1)": ("asinh({u})/{a}", "log({u}+sqrt({u}^2+1))/{a}", "-log(sqrt({u}^2+1)-{u})/{a}"),
    "{u}/sqrt({u}^2+1)-1": ("sqrt({u}^2+1)/{a}-x", "1/({a}*({u}+sqrt({u}^2+1)))"),
    "exp(-1/{u})/{u}^2": ("exp(-1/{u})/{a}", "(exp(-1/{u})-1)/{a}"),
    "exp(-{u}^2)*{u}": ("-exp(-{u}^2)/(2*{a})", "(1-exp(-{u}^2))/(2*{a})"),
    "({u}+1000)^3": ("(({u}+1000)^4-1000^4)/(4*{a})",),
    "1/(1-{u}^2)": ("atanh({u})/{a}", "acoth({u})/{a}", "(log(abs(1+{u}))-log(abs(1-{u})))/(2*{a})"),
}
CHANGES = (
    "{answer}+sech({u})",
    "{answer}+exp(-{u}^2)/1000",
    "{answer}+x/10^9",
    "{answer}+tanh({u})/10^12",
    "({answer})*1.000001",
    "-({answer})+x*10^(-30)",
)
POINTS = ("0.31", "-0.43", "0.77", "-1.21", "1.37", "2.3")
X = sympy.Symbol("x", real=True)
NAMES = {"x": X, "e": sympy.E, "pi": sympy.pi, "abs": sympy.Abs}


@dataclass(frozen=True, slots=True, kw_only=True)
class SaturatingAnswer:
    """An answer that saturates, and whether it is right."""

    integrand: str
    answer: str
    right: bool


def saturating_answers() -> Iterator[SaturatingAnswer]:
    """Yield right and wrong answers, always the same ones, about half of each."""
    number = 0
    for u, a in SLOPES:
        for question, answers in ROWS.items():
            for answer in answers:
                right = answer.format(u=u, a=a)
                change = CHANGES[number % len(CHANGES)].format(answer=right, u=u)
                number += 1
                for text in (right, change):
                    yield SaturatingAnswer(integrand=question.format(u=u, a=a), answer=text, right=text == right)


def is_right(case: SaturatingAnswer) -> bool:
    """Return whether the derivative is the integrand at every point where the integrand is real, to 60 digits."""
    with mpmath.workdps(160):
        pairs = [(_slope(case.answer)(x), _function(case.integrand)(x)) for x in map(mpmath.mpf, POINTS)]
        judged = [(given, wanted) for given, wanted in pairs if not mpmath.im(wanted)]
        assert len(judged) >= 3
        return all(abs(given - wanted) <= mpmath.mpf(10) ** -60 * (1 + abs(wanted)) for given, wanted in judged)


@lru_cache(maxsize=4)
def _slope(text: str) -> Any:
    return sympy.lambdify(X, sympy.diff(_read(text), X), "mpmath")


@lru_cache(maxsize=4)
def _function(text: str) -> Any:
    return sympy.lambdify(X, _read(text), "mpmath")


def _read(text: str) -> Any:
    """Return the SymPy expression of a text written here. Never called on untrusted text: SymPy evaluates it."""
    return sympy.sympify(text.replace("^", "**"), locals=NAMES, rational=True)
