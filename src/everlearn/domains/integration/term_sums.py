"""Sums of terms from eleven families: the problems of the default base model and of the demo.

The antiderivative of each family is about as long as the term, so the difficulty of a problem is its number of terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One signed term: `sign` is `+` or `-`, `body` an expression without a leading sign."""

    sign: str
    body: str

    def __str__(self) -> str:
        return f"{self.sign} {self.body}"


def _scaled(scale: Fraction, body: str, *, sign: str = "+") -> Term:
    """Return `scale` times `body`, with the sign separated and a factor of one omitted."""
    if scale < 0:
        sign = "-" if sign == "+" else "+"
        scale = -scale
    if scale == 1:
        return Term(sign=sign, body=body)
    return Term(sign=sign, body=f"{scale}*{body}")


def _over(scale: Fraction, below: str) -> Term:
    """Return `scale / below`, with integer numerator and denominator."""
    body = f"{abs(scale.numerator)}/({below})" if scale.denominator == 1 else f"{abs(scale)}/({below})"
    return Term(sign="-" if scale < 0 else "+", body=body)


def _times(factor: int, body: str = "x") -> str:
    return body if factor == 1 else f"{factor}*{body}"


def _power(exponent: int) -> str:
    return "x" if exponent == 1 else f"x^{exponent}"


def _of_power(rng: random.Random) -> tuple[Term, Term]:
    c, k = rng.randint(1, 9), rng.randint(1, 6)
    return _scaled(Fraction(c), _power(k)), _scaled(Fraction(c, k + 1), _power(k + 1))


def _of_inverse_power(rng: random.Random) -> tuple[Term, Term]:
    c, k = rng.randint(1, 9), rng.randint(2, 5)
    return Term(sign="+", body=f"{c}/x^{k}"), _scaled_over_power(Fraction(-c, k - 1), k - 1)


def _scaled_over_power(scale: Fraction, exponent: int) -> Term:
    return Term(sign="-" if scale < 0 else "+", body=f"{abs(scale)}/{_power(exponent)}")


def _of_sine(rng: random.Random) -> tuple[Term, Term]:
    c, a = rng.randint(1, 9), rng.randint(1, 5)
    return _scaled(Fraction(c), f"sin({_times(a)})"), _scaled(Fraction(-c, a), f"cos({_times(a)})")


def _of_cosine(rng: random.Random) -> tuple[Term, Term]:
    c, a = rng.randint(1, 9), rng.randint(1, 5)
    return _scaled(Fraction(c), f"cos({_times(a)})"), _scaled(Fraction(c, a), f"sin({_times(a)})")


def _of_exponential(rng: random.Random) -> tuple[Term, Term]:
    c, a = rng.randint(1, 9), rng.randint(1, 5)
    return _scaled(Fraction(c), f"exp({_times(a)})"), _scaled(Fraction(c, a), f"exp({_times(a)})")


def _of_linear_below(rng: random.Random) -> tuple[Term, Term]:
    c, a, b = rng.randint(1, 9), rng.randint(1, 5), rng.randint(1, 9)
    below = f"{_times(a)}+{b}"
    return _over(Fraction(c), below), _scaled(Fraction(c, a), f"log({below})")


def _of_circle_below(rng: random.Random) -> tuple[Term, Term]:
    c, a = rng.randint(1, 9), rng.randint(1, 5)
    inside = "x" if a == 1 else f"x/{a}"
    return _over(Fraction(c), f"x^2+{a * a}"), _scaled(Fraction(c, a), f"atan({inside})")


def _of_logarithm(rng: random.Random) -> tuple[Term, Term]:
    c = rng.randint(1, 9)
    return _scaled(Fraction(c), "log(x)"), _scaled(Fraction(c), "x*(log(x)-1)")


def _of_x_exponential(rng: random.Random) -> tuple[Term, Term]:
    c = rng.randint(1, 9)
    return _scaled(Fraction(c), "x*exp(x)"), _scaled(Fraction(c), "(x-1)*exp(x)")


def _of_x_sine(rng: random.Random) -> tuple[Term, Term]:
    c = rng.randint(1, 9)
    return _scaled(Fraction(c), "x*sin(x)"), _scaled(Fraction(c), "(sin(x)-x*cos(x))")


def _of_x_cosine(rng: random.Random) -> tuple[Term, Term]:
    c = rng.randint(1, 9)
    return _scaled(Fraction(c), "x*cos(x)"), _scaled(Fraction(c), "(cos(x)+x*sin(x))")


FAMILIES: tuple[Callable[[random.Random], tuple[Term, Term]], ...] = (
    _of_power,
    _of_inverse_power,
    _of_sine,
    _of_cosine,
    _of_exponential,
    _of_linear_below,
    _of_circle_below,
    _of_logarithm,
    _of_x_exponential,
    _of_x_sine,
    _of_x_cosine,
)
EASIEST: tuple[Callable[[random.Random], tuple[Term, Term]], ...] = (_of_power, _of_sine, _of_cosine, _of_exponential)


def draw_term(rng: random.Random, *, easy: bool = False) -> tuple[Term, Term]:
    """Return a random term and its antiderivative, both signed."""
    question, answer = rng.choice(EASIEST if easy else FAMILIES)(rng)
    if rng.random() < 0.5:
        return question, answer
    return _negated(question), _negated(answer)


def _negated(term: Term) -> Term:
    return Term(sign="-" if term.sign == "+" else "+", body=term.body)


def split_sum(statement: str) -> list[Term]:
    """Return the signed top-level terms of a sum in the domain's grammar, without white space.

    Splits at `+` and `-` outside brackets and does not parse the terms, so that their notation is preserved.
    """
    terms: list[Term] = []
    depth, sign, body = 0, "+", ""
    for char in "".join(statement.split()):
        if depth == 0 and char in "+-" and not body.endswith(("*", "/", "^")):
            if body:
                terms.append(Term(sign=sign, body=body))
                sign = char
            else:
                sign = char if sign == "+" else "+-"[char == "+"]
            body = ""
            continue
        depth += (char == "(") - (char == ")")
        body += char
    return [*terms, Term(sign=sign, body=body)] if body else terms


def join_sum(terms: list[Term]) -> str:
    """Return the terms as one statement of the grammar; without any term, nothing, which is no problem."""
    if not terms:
        return ""
    head, *rest = terms
    first = head.body if head.sign == "+" else f"-{head.body}"
    return " ".join([first, *map(str, rest)])


def draw_sum(rng: random.Random, *, size: int) -> str:
    """Return a random problem of `size` terms."""
    return join_sum([draw_term(rng)[0] for _ in range(size)])
