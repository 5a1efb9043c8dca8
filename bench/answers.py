"""Simulated answers of a model in training, labelled without the verifier.

A problem is a sum of up to 12 terms of the default families; its group of answers are right ones in many forms, near
misses (a coefficient, a sign, a forgotten or doubled term, another function's antiderivative) and text that is no
expression of the strict grammar; where it is usual notation, its truth is that of the expression that it was made from.
The truth is computer algebra's: SymPy reads the text and differentiates it, mpmath compares that with the
integrand at several points, to 50 digits. What SymPy cannot read or evaluate is no antiderivative.
"""

from __future__ import annotations

import random
import re
import tokenize
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import mpmath
import sympy

from everlearn.domains.integration.term_sums import Term, draw_term, join_sum

LARGEST = 12
GROUP = 8
DIGITS = 50
POINTS = ("0.37", "0.81", "1.13", "1.79", "2.6")
X = sympy.Symbol("x")
UNREADABLE = (ValueError, TypeError, NameError, AttributeError, SyntaxError, NotImplementedError, tokenize.TokenError)
NAMES = {"x": X, "e": sympy.E, "pi": sympy.pi}

# How the same term may be written: what is replaced, and by what.
FORMS = (
    (r"^(\d+)/(\d+)\*(.+)$", r"\1*\3/\2"),
    (r"^(\d+)/(\d+)\*(.+)$", r"\3*(\1/\2)"),
    (r"^(\d+)\*(.+)$", r"\2*\1"),
    (r"exp\(([^()]*)\)", r"e^(\1)"),
    (r"atan\(x/(\d+)\)", r"atan(1/\1*x)"),
    (r"x\*\(log\(x\)-1\)", r"(x*log(x)-x)"),
    (r"\(x-1\)\*exp\(x\)", r"(x*exp(x)-exp(x))"),
    (r"log\(([^()]*)\)$", r"log(2*(\1))"),
    (r"sin\(2\*x\)", r"2*sin(x)*cos(x)"),
    (r"cos\(2\*x\)", r"(1-2*sin(x)^2)"),
    (r"(?<!/)x\^3", r"x*x^2"),
    (r"/x\^(\d+)$", r"*x^(-\1)"),
)
BREAKS = (  # the ones with True leave usual notation, or text that has two readings
    (r"\)$", "", False),
    (r"\*", "", True),
    (r"^", "<3> ", False),
    (r"$", " +", False),
    (r"^", "= ", True),
    (r"x", "y", False),
    (r"^(.*)$", r"\\frac{\1}{1}", True),
    (r"^(.*)$", r"primitive(\1)", False),
    (r"^.*$", "", False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerCase:
    """One answer to one problem, and its kind. `meant` is the strict form of an answer in usual notation."""

    statement: str
    answer: str
    kind: str  # right, near miss, malformed
    meant: str = ""


def draw(*, count: int, seed: int) -> list[AnswerCase]:
    """Return `count` distinct answers, in groups of 8 that share their problem."""
    rng = random.Random(seed)
    found: dict[tuple[str, str], AnswerCase] = {}
    while len(found) < count:
        pairs = [draw_term(rng) for _ in range(rng.randint(1, LARGEST))]
        statement = join_sum([question for question, _ in pairs])
        for _ in range(GROUP):
            kind = rng.choices(("right", "near miss", "malformed"), weights=(9, 9, 2))[0]
            answer, meant = _written(pairs, kind, rng)
            case = AnswerCase(statement=statement, answer=answer, kind=kind, meant=meant)
            found.setdefault((statement, answer), case)
    return list(found.values())[:count]


def _written(pairs: list[tuple[Term, Term]], kind: str, rng: random.Random) -> tuple[str, str]:
    """Return an answer, and the one that it was made from where it is in usual notation."""
    terms = [answer for _, answer in pairs]
    if kind == "near miss":
        at = rng.randrange(len(terms))
        terms[at : at + 1] = _spoilt(terms[at], pairs[at][0], rng)
    if rng.random() < 0.7:
        terms = [_rewritten(term, rng) if rng.random() < 0.4 else term for term in terms]
    if rng.random() < 0.3:
        rng.shuffle(terms)
    if rng.random() < 0.2:
        terms.append(Term(sign=rng.choice("+-"), body=str(rng.randint(1, 9))))
    text, meant = join_sum(terms) if terms else "0", ""
    if kind == "malformed":
        pattern, by, is_usual = rng.choice(BREAKS)
        text, meant = re.sub(pattern, by, text, count=1), text if is_usual else ""
    return text.replace(" ", "") if rng.random() < 0.2 else text, meant


def _rewritten(term: Term, rng: random.Random) -> Term:
    """Return the same term in another form, if one applies."""
    fitting = [form for form in FORMS if re.search(form[0], term.body)]
    return replace(term, body=re.sub(*rng.choice(fitting), term.body)) if fitting else term


def _spoilt(term: Term, question: Term, rng: random.Random) -> list[Term]:
    """Return the terms that replace a term in a near miss."""
    numbers = [found.span() for found in re.finditer(r"\d+", term.body)]
    how = rng.randrange(7)
    if how <= 1 and numbers:
        start, end = rng.choice(numbers)
        return [replace(term, body=f"{term.body[:start]}{int(term.body[start:end]) + 1}{term.body[end:]}")]
    if how == 2:
        return []
    if how == 3:
        return [term, term]
    if how == 4:
        return [question]
    if how == 5:
        return [draw_term(rng)[1]]
    return [replace(term, sign="-" if term.sign == "+" else "+")]


def is_right(case: AnswerCase) -> bool:
    """Return whether the derivative is the integrand at every point, to 50 digits."""
    try:
        with mpmath.workdps(2 * DIGITS):
            return all(
                abs(_slope(case.meant or case.answer)(mpmath.mpf(point)) - wanted)
                <= mpmath.mpf(10) ** -DIGITS * (1 + abs(wanted))
                for point, wanted in zip(POINTS, _values(case.statement), strict=True)
            )
    except UNREADABLE:
        return False


def read(text: str) -> Any:
    """Return the SymPy expression of a text generated here. Never called on untrusted text: SymPy evaluates it."""
    return sympy.sympify(text.replace("^", "**"), locals=NAMES)


@lru_cache(maxsize=1)
def _slope(answer: str) -> Any:
    return sympy.lambdify(X, sympy.diff(read(answer), X), "mpmath")


@lru_cache(maxsize=1)
def _values(statement: str) -> list[Any]:
    function = sympy.lambdify(X, read(statement), "mpmath")
    return [function(mpmath.mpf(point)) for point in POINTS]
