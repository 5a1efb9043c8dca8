"""Canonical text of an expression, equal for expressions that differ only in notation.

Sums and products are flattened, sorted and collected with exact coefficients; signs, quotients and integer powers are
distributed; `exp(x)` becomes `e^x`, `sqrt(x)` becomes `x^(1/2)`, `sec(x)` becomes `cos(x)^(-1)`. Products of sums are
not expanded, and no identity is used that holds on a part of the complex plane only. Equal expressions may therefore
have different canonical texts, which lets a duplicate pass; different ones never share a text.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Self, TypeAlias

from everlearn.domains.integration.grammar import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from everlearn.domains.integration.grammar import Expression

# A coefficient and the sorted powers of a product: (base, exponent), the exponent normal too.
Normal: TypeAlias = "tuple[Fraction, tuple[tuple[Base, Normal], ...]]"


class Base(str):
    """Text of the base of a power.

    `inside` is its normal form if it is a product or a number; `terms` are its terms if it is a sum, the first with
    the coefficient one.
    """

    __slots__ = ("inside", "terms")
    inside: Normal | None
    terms: tuple[Normal, ...]

    def __new__(cls, text: str, *, inside: Normal | None = None, terms: tuple[Normal, ...] = ()) -> Self:
        """Create the base."""
        made = super().__new__(cls, text)
        made.inside = inside
        made.terms = terms
        return made


_ONE = Fraction(1)
NOTHING: Normal = (Fraction(0), ())
UNIT: Normal = (_ONE, ())
_HALF: Normal = (Fraction(1, 2), ())
_MINUS: Normal = (Fraction(-1), ())
_E = Base("e")
_LARGEST_BITS = 90  # about the 30 digits that the grammar allows
_ODD = frozenset({"sin", "tan", "asin", "atan", "acot", "acsc", "sinh", "tanh", "asinh", "atanh", "acoth", "acsch"})
_EVEN = frozenset({"cos", "cosh", "abs"})
_OVER = {"sec": "cos", "csc": "sin", "cot": "tan", "sech": "cosh", "csch": "sinh", "coth": "tanh"}


@lru_cache(maxsize=65536)
def canonical(text: str) -> str:
    """Return the canonical text: again an expression of the grammar, and its own canonical text, if within the limits.

    Raises:
        GrammarError: the text is not in the grammar.
    """
    return _show(_normal_of(text))


@lru_cache(maxsize=65536)
def without_factor(text: str) -> str:
    """Return the canonical text without constant factor: `4*x + 6` and `-pi*(2*x + 3)` share it.

    Raises:
        GrammarError: the text is not in the grammar.
    """
    return _show(_freed(text))


def terms_without_factor(text: str) -> list[tuple[Fraction, str]]:
    """Return the terms of `without_factor(text)`: the coefficient of each, and its text without coefficient.

    Raises:
        GrammarError: the text is not in the grammar.
    """
    return [(coefficient, _show((_ONE, factors))) for coefficient, factors in _terms(_freed(text))]


@lru_cache(maxsize=4096)
def _normal_of(text: str) -> Normal:
    return _normal(parse(text))


def _freed(text: str) -> Normal:
    """Return the normal form without constant factor."""
    coefficient, factors = _normal_of(text)
    kept = tuple((base, exponent) for base, exponent in factors if "x" in base or "x" in _show(exponent))
    freed = [(base, _varying(exponent)) if base == _E else (base, exponent) for base, exponent in kept]
    return (_ONE, tuple(freed)) if coefficient else NOTHING


def is_zero(tree: Expression) -> bool:
    """Return whether the normal form of a tree is zero, as that of x - x is."""
    return _normal(tree) == NOTHING


def _varying(exponent: Normal) -> Normal:
    """Return an exponent of e without its constant terms, which are a constant factor of the power."""
    terms = _terms(exponent)
    return _sum([(coefficient, factors) for coefficient, factors in terms if "x" in _show((_ONE, factors))])


def _normal(tree: Expression) -> Normal:
    return _KINDS[tree[0]](tree)


def _of_name(tree: Expression) -> Normal:
    return _ONE, ((Base(tree[1]), UNIT),)


def _negative(normal: Normal) -> Normal:
    return -normal[0], normal[1]


def _terms(normal: Normal) -> Iterable[Normal]:
    """Return the terms of a sum, or the only term."""
    coefficient, factors = normal
    if len(factors) == 1 and factors[0][0].terms and factors[0][1] == UNIT:
        return [(coefficient * part, inner) for part, inner in factors[0][0].terms]
    return [normal]


def _sum(normals: list[Normal]) -> Normal:
    collected: dict[tuple[tuple[Base, Normal], ...], Fraction] = {}
    for normal in normals:
        for coefficient, factors in _terms(normal):
            collected[factors] = collected[factors] + coefficient if factors in collected else coefficient
    kept = sorted((not factors, _show((_ONE, factors)), factors) for factors, total in collected.items() if total)
    if not kept:
        return NOTHING
    lead = collected[kept[0][2]]
    if len(kept) == 1:
        return lead, kept[0][2]
    terms = tuple((collected[factors] / lead, factors) for _, _, factors in kept)
    return lead, ((Base(f"({_join(terms)})", terms=terms), UNIT),)


def _product(normals: list[Normal]) -> Normal:
    coefficient = _ONE
    powers: dict[Base, Normal] = {}
    for part, factors in normals:
        coefficient *= part
        for base, exponent in factors:
            powers[base] = _sum([powers[base], exponent]) if base in powers else exponent
    if not coefficient:
        return NOTHING
    loose = [base for base, exponent in powers.items() if base.inside is not None and _whole(exponent) is not None]
    rest = tuple(sorted((base, powers[base]) for base in powers if base not in loose and powers[base] != NOTHING))
    made: Normal = (coefficient, rest)
    opened = [(base.inside, powers[base]) for base in loose if base.inside is not None]
    return _product([made, *(_power(inside, exponent) for inside, exponent in opened)]) if opened else made


def _whole(normal: Normal) -> int | None:
    """Return the value of a normal form that is an integer, or None."""
    return int(normal[0]) if not normal[1] and normal[0].denominator == 1 else None


def _power(base: Normal, exponent: Normal) -> Normal:
    coefficient, factors = base
    if base == UNIT or exponent == NOTHING:
        return UNIT
    whole = _whole(exponent)
    if whole is None or not _fits(coefficient, whole):
        return _closed(base, exponent)
    raised = tuple((inner, _product([power, exponent])) for inner, power in factors)
    return _product([(coefficient**whole, raised)])


def _fits(coefficient: Fraction, whole: int) -> bool:
    """Return whether the coefficient can be raised to the power: defined, and within `_LARGEST_BITS`."""
    bits = coefficient.numerator.bit_length() + coefficient.denominator.bit_length()
    return (coefficient != 0 or whole > 0) and (coefficient in (-1, 1) or bits * abs(whole) <= _LARGEST_BITS)


def _closed(base: Normal, exponent: Normal) -> Normal:
    """Return a power that cannot be distributed over its base."""
    coefficient, factors = base
    if coefficient == 1 and len(factors) == 1 and factors[0][1] == UNIT:
        return _ONE, ((factors[0][0], exponent),)
    whole = _whole(exponent)
    if whole is not None and factors:  # only the coefficient is too large to be raised
        raised = _power((_ONE, factors), exponent)
        return _product([raised, _closed((coefficient, ()), exponent)])
    text = str(coefficient) if not factors and coefficient >= 0 and coefficient.denominator == 1 else f"({_show(base)})"
    return _ONE, ((Base(text, inside=None if whole is not None else base), exponent),)


def _of_call(tree: Expression) -> Normal:
    name, argument = tree[1], _normal(tree[2])
    if name == "exp":
        return _closed((_ONE, ((_E, UNIT),)), argument) if argument != NOTHING else UNIT
    if name == "sqrt":
        return _power(argument, _HALF)
    if name in _OVER:
        return _power(_function(_OVER[name], argument), _MINUS)
    return _function(name, argument)


def _function(name: str, argument: Normal) -> Normal:
    flipped = argument[0] < 0 and (name in _ODD or name in _EVEN)
    inside = _negative(argument) if flipped else argument
    sign = -_ONE if flipped and name in _ODD else _ONE
    return sign, ((Base(f"{name}({_show(inside)})"), UNIT),)


def _show(normal: Normal) -> str:
    coefficient, factors = normal
    if not factors:
        return str(coefficient)
    terms = _terms(normal)
    return _join(terms) if len(list(terms)) > 1 else _show_term(coefficient, factors)


def _show_term(coefficient: Fraction, factors: tuple[tuple[Base, Normal], ...]) -> str:
    body = "*".join(base if exponent == UNIT else f"{base}^{_show_exponent(exponent)}" for base, exponent in factors)
    if not body:
        return str(coefficient)
    if coefficient in (1, -1):
        return body if coefficient == 1 else f"-{body}"
    return f"{coefficient}*{body}"


def _show_exponent(exponent: Normal) -> str:
    text = _show(exponent)
    return text if text.isalnum() else f"({text})"


def _join(terms: Iterable[Normal]) -> str:
    first, *rest = (_show_term(*term) for term in terms)
    return first + "".join(f" - {text[1:]}" if text.startswith("-") else f" + {text}" for text in rest)


_KINDS: dict[str, Callable[[Expression], Normal]] = {
    "number": lambda tree: (Fraction(tree[1]), ()),
    "name": _of_name,
    "negative": lambda tree: _negative(_normal(tree[1])),
    "sum": lambda tree: _sum([_normal(term) for term in tree[1:]]),
    "product": lambda tree: _product([_normal(factor) for factor in tree[1:]]),
    "inverse": lambda tree: _power(_normal(tree[1]), _MINUS),
    "power": lambda tree: _power(_normal(tree[1]), _normal(tree[2])),
    "call": _of_call,
}
