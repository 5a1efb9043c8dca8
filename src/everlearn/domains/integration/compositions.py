"""Compositions: products whose antiderivative is a function of a function, and sums that only the product rule explains.

    depth 1   6*x*cos(x^2)                          sin(x^2)*3                substitution
    depth 3   exp(x)*sin(sin(exp(x)))*cos(exp(x))   -cos(sin(exp(x)))         nested composition
    by parts  2*x*exp(x^3) + x^2*exp(x^3)*3*x^2     x^2*exp(x^3)

No part of such a problem has an antiderivative that helps: most parts have none that is elementary. What makes a
composition easier is to take its outermost function away. The derivative of a chain has one factor a function, each
with another argument, and they stand in any order; its *depth* is their number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Self

from everlearn.domains.integration.term_sums import Term, join_sum, split_sum

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

_DERIVATIVES = {"sin": ("cos({})", 1), "cos": ("sin({})", -1), "exp": ("exp({})", 1), "atan": ("1/({}^2+1)", 1)}
"""Each function's derivative as text, and its sign."""
_OUTERMOST = {"cos": "sin", "sin": "cos", "exp": "exp"}
"""Which function a factor is the derivative of."""
_INNERMOST = {
    "x": ("", 1),
    "x^2": ("x", 2),
    "x^3": ("x^2", 3),
    **{f"{scale}*x": ("", scale) for scale in range(2, 6)},
}
"""Each innermost argument's derivative as text, and the factor before it."""
_CALL = re.compile(r"([a-z]+)\((.*)\)")
_FRACTION = re.compile(r"1/\((.*)\^2\+1\)")
_FIRST_FACTORS = {"x": "1", "x^2": "2*x", "exp(x)": "exp(x)", "sin(x)": "cos(x)"}
"""The first factor of a product, and its derivative."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """`scale` times the functions, outermost first, of `inner`; the integer `scale * (factor of inner')` is not 0."""

    functions: tuple[str, ...]
    inner: str
    scale: Fraction

    @classmethod
    def draw(cls, rng: random.Random, *, depth: int) -> Self:
        """Return a random chain.

        `exp` is never the argument of `exp`: it would soon exceed every limit. `cos` is outermost only: it turns the sign.
        """
        inner = rng.choice(list(_INNERMOST))
        functions: list[str] = []
        while len(functions) < depth:
            outermost = ["cos"] if len(functions) == depth - 1 else []
            allowed = [
                "sin",
                *outermost,
                *(["atan"] if functions else []),
                *(["exp"] if functions[:1] != ["exp"] else []),
            ]
            functions.insert(0, rng.choice(allowed))
        scale = Fraction(rng.choice((-1, 1)) * rng.randint(1, 9), _INNERMOST[inner][1])
        return cls(functions=tuple(functions), inner=inner, scale=scale)

    @property
    def body(self) -> str:
        """The functions of `inner`, without `scale`."""
        return "".join(f"{name}(" for name in self.functions) + self.inner + ")" * len(self.functions)

    def factors(self) -> list[str]:
        """Return the factors of the derivative, outermost first, without its sign; last the one without a function."""
        made, argument = list[str](), self.inner
        for name in reversed(self.functions):
            made.insert(0, _DERIVATIVES[name][0].format(argument))
            argument = f"{name}({argument})"
        below, factor = _INNERMOST[self.inner]
        number = abs(self.scale * factor)
        plain = "*".join(part for part in ("" if number == 1 else str(number), below) if part)
        return [*made, plain] if plain else made

    def is_negative(self) -> bool:
        """Return whether the derivative has a minus sign."""
        signs = sum(_DERIVATIVES[name][1] < 0 for name in self.functions)
        return (self.scale < 0) != (signs % 2 == 1)

    def antiderivative(self) -> Term:
        """Return the chain itself, which is what an answer has to be, up to a constant; its number comes last."""
        number = abs(self.scale)
        return Term(sign="-" if self.scale < 0 else "+", body=self.body if number == 1 else f"{self.body}*{number}")


def draw_composition(rng: random.Random, *, depth: int) -> tuple[list[Term], Term]:
    """Return the signed parts of a random composition, in random order, and its antiderivative."""
    chain = Chain.draw(rng, depth=depth)
    factors = chain.factors()
    rng.shuffle(factors)
    return as_parts(factors, negative=chain.is_negative()), chain.antiderivative()


def draw_product(rng: random.Random, *, depth: int) -> str:
    """Return a random composition as a problem."""
    return join_parts(draw_composition(rng, depth=depth)[0])


def draw_by_parts(rng: random.Random, *, depth: int) -> tuple[list[Term], Term]:
    """Return the two terms of the derivative of `x`, `x^2`, `exp(x)` or `sin(x)` times a chain, and that product."""
    first = rng.choice(list(_FIRST_FACTORS))
    chain = replace(Chain.draw(rng, depth=depth), scale=Fraction(rng.choice((-1, 1))))
    sign, other = ("-" if chain.scale < 0 else "+"), ("-" if chain.is_negative() else "+")
    terms = [
        Term(sign=sign, body=_product([_FIRST_FACTORS[first], chain.body])),
        Term(sign=other, body=_product([first, *chain.factors()])),
    ]
    rng.shuffle(terms)
    return terms, Term(sign=sign, body=_product([first, chain.body]))


def read_composition(statement: str) -> Chain | None:
    """Return the chain whose derivative the statement is, in the notation of this module; None for any other problem."""
    terms = split_sum(statement)
    if len(terms) != 1:
        return None
    parts = _parts_of(terms[0])
    outermost = max((part.body for part in parts), key=len)
    call, fraction = _CALL.fullmatch(outermost), _FRACTION.fullmatch(outermost)
    if call is not None and call[1] in _OUTERMOST:
        body = f"{_OUTERMOST[call[1]]}({call[2]})"
    elif fraction is not None:
        body = f"atan({fraction[1]})"
    else:
        return None
    functions: list[str] = []
    while (call := _CALL.fullmatch(body)) is not None:
        functions.append(call[1])
        body = call[2]
    if body not in _INNERMOST or not set(functions) <= set(_DERIVATIVES):
        return None
    number = next((int(found[0]) for part in parts if (found := re.match(r"\d+(?=$|\*x)", part.body))), 1)
    chain = Chain(functions=tuple(functions), inner=body, scale=Fraction(number, _INNERMOST[body][1]))
    if chain.is_negative() != (parts[0].sign == "-"):
        chain = replace(chain, scale=-chain.scale)
    return chain if sorted(chain.factors()) == sorted(part.body for part in parts) else None


def split_product(statement: str) -> list[Term]:
    """Return the parts of one product of several functions; the terms of any other statement.

    Each factor with a function is a part, and so is a run of factors without one. The first part has the sign of the
    product, the others have the sign `*`.
    """
    terms = split_sum(statement)
    parts = _parts_of(terms[0]) if len(terms) == 1 else []
    return parts if _functions_in(parts) > 1 else terms


def size_of(parts: Sequence[Term]) -> int:
    """Return the number of terms of a sum, and the number of factors with a function of a product."""
    return _functions_in(parts) if is_product(parts) else len(parts)


def is_product(parts: Sequence[Term]) -> bool:
    """Return whether parts are those of a product."""
    return any(part.sign == "*" for part in parts)


def _parts_of(term: Term) -> list[Term]:
    factors: list[str] = []
    for factor in _split_factors(term.body):
        if factors and not _has_function(factor) and not _has_function(factors[-1]):
            factors[-1] += f"*{factor}"
        else:
            factors.append(factor)
    return as_parts(factors, negative=term.sign == "-")


def as_parts(factors: Sequence[str], *, negative: bool) -> list[Term]:
    """Return the factors as parts of one product."""
    signs = ["-" if negative else "+", *["*"] * (len(factors) - 1)]
    return [Term(sign=sign, body=body) for sign, body in zip(signs, factors, strict=True)]


def read_parts(text: str) -> list[Term]:
    """Return the factor that a text with the sign `*` is, or the terms of a sum."""
    return [Term(sign="*", body=text[1:].strip())] if text.startswith("*") else split_sum(text)


def join_parts(parts: Sequence[Term]) -> str:
    """Return the product or the sum of parts, of which any may be missing."""
    if not is_product(parts):
        return join_sum(list(parts))
    return ("-" if parts[0].sign == "-" else "") + "*".join(part.body for part in parts)


def outermost(parts: Sequence[Term]) -> int:
    """Return the place of the part that belongs to the outermost function."""
    return max(range(len(parts)), key=lambda at: len(parts[at].body))


def _split_factors(body: str) -> list[str]:
    factors, depth, start = list[str](), 0, 0
    for at, char in enumerate(body):
        depth += (char == "(") - (char == ")")
        if depth == 0 and char == "*":
            factors.append(body[start:at])
            start = at + 1
    return [*factors, body[start:]]


def _functions_in(parts: Sequence[Term]) -> int:
    return sum(_has_function(part.body) for part in parts)


def _has_function(factor: str) -> bool:
    return re.search(r"[a-z]{2,}\(", factor) is not None


def _product(factors: Sequence[str]) -> str:
    return "*".join(factor for factor in factors if factor != "1") or "1"
