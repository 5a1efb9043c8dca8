r"""Read and print the expressions of equations and their solutions. Nothing is evaluated as code.

    2*x + 3    2x + 3    3(x - 1)    x^2    x**2    3/4    0.5    sqrt(5)    \frac{1}{2}    1 ± sqrt(2)

An expression becomes a tree. Implicit products are read, but not after a division: `1/2x` has two readings and is
refused. `unparse` prints a tree in one form, and reading that form gives the same text again.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from everlearn.errors import GrammarError

MAX_DIGITS = 15
"""Most digits of a number."""
MAX_DEPTH = 8
"""Most brackets around one number."""
MAX_EXPONENT = 4
PI = "pi"
"""Name of the circle constant, which no equation may have, and references of the domain `numbers` may."""

_SUPERSCRIPTS = {"\N{SUPERSCRIPT TWO}": "^2", "\N{SUPERSCRIPT THREE}": "^3", "\N{SUPERSCRIPT FOUR}": "^4"}
_CHARACTERS = str.maketrans(
    {
        "\N{MINUS SIGN}": "-",
        "\N{EN DASH}": "-",
        "\N{MULTIPLICATION SIGN}": "*",
        "\N{MIDDLE DOT}": "*",
        "\N{DOT OPERATOR}": "*",
        "\N{DIVISION SIGN}": "/",
        "\N{SQUARE ROOT}": "sqrt",
        "\N{GREEK SMALL LETTER PI}": " pi ",
        "\N{NO-BREAK SPACE}": " ",
        **_SUPERSCRIPTS,
    }
)
_VULGAR = "\N{VULGAR FRACTION ONE HALF}\N{VULGAR FRACTION ONE QUARTER}\N{VULGAR FRACTION THREE QUARTERS}"
_LATEX = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        (r"\\(?:left|right)(?![A-Za-z])", ""),
        (r"\\(?:[,;:! ]|q?quad(?![A-Za-z]))", " "),
        (r"\\(?:cdot|times)(?![A-Za-z])", "*"),
        (r"\\div(?![A-Za-z])", "/"),
        (r"\\pm(?![A-Za-z])", "±"),
        (r"\\[dt]frac(?![A-Za-z])", r"\\frac"),
        (r"\\frac ?([0-9])([0-9])(?![0-9])", r"\\frac{\1}{\2}"),
        (r"\\sqrt(?![A-Za-z])", "sqrt"),
        (r"\\pi(?![A-Za-z])", " pi "),
    )
)
_TOKEN = re.compile(
    rf"\s*(?:(?P<number>[0-9]+(?:\.[0-9]+)?|\.[0-9]+)|(?P<vulgar>[{_VULGAR}])|(?P<word>[A-Za-z]+)"
    r"|(?P<symbol>\*\*|\\frac|[-+*/^(){}±]))"
)
_NOT_UNKNOWN = frozenset("ei")
_CLOSING = {"(": ")", "{": "}"}


@dataclass(frozen=True, slots=True)
class Constant:
    """A non-negative rational number."""

    value: Fraction


@dataclass(frozen=True, slots=True)
class Unknown:
    """An unknown: one small letter, or `pi`."""

    name: str


@dataclass(frozen=True, slots=True)
class SignedSum:
    """Terms with their signs: 1, -1, or 0 for ±. A negative number is a sum of one term."""

    terms: tuple[tuple[int, EquationTree], ...]


@dataclass(frozen=True, slots=True)
class Quotient:
    """Factors, each with `*` or `/` before it. The first one has `*`."""

    factors: tuple[tuple[str, EquationTree], ...]


@dataclass(frozen=True, slots=True)
class Power:
    """A power with a whole exponent from 0 to `MAX_EXPONENT`."""

    base: EquationTree
    exponent: int


@dataclass(frozen=True, slots=True)
class SquareRoot:
    """A square root."""

    radicand: EquationTree


EquationTree: TypeAlias = Constant | Unknown | SignedSum | Quotient | Power | SquareRoot


def plain(text: str) -> str:
    """Return the text with LaTeX commands and typographic characters replaced by the plain ones."""
    text = text.translate(_CHARACTERS)
    for pattern, by in _LATEX:
        text = pattern.sub(by, text)
    return text


def parse(text: str) -> EquationTree:
    """Return the tree of an expression. The caller bounds the length of the text.

    Raises:
        GrammarError: it is none, has two readings, or exceeds a limit.
    """
    return _Parser(plain(text)).whole()


def product_of(factors: list[tuple[str, EquationTree]]) -> EquationTree:
    """Return the product, with each number that is divided by a number as one fraction."""
    kept: list[tuple[str, EquationTree]] = []
    for operation, factor in factors:
        before = kept[-1] if kept else None
        if operation == "/" and isinstance(factor, Constant):
            if factor.value == 0:
                raise GrammarError("a division by zero")
            if before and before[0] == "*" and isinstance(before[1], Constant):
                kept[-1] = ("*", Constant(before[1].value / factor.value))
                continue
        kept.append((operation, factor))
    return kept[0][1] if len(kept) == 1 else Quotient(tuple(kept))


def sum_of(terms: list[tuple[int, EquationTree]]) -> EquationTree:
    """Return the sum; a single term with the sign 1 is the term itself."""
    return terms[0][1] if len(terms) == 1 and terms[0][0] == 1 else SignedSum(tuple(terms))


def parts_of(tree: EquationTree) -> list[EquationTree]:
    """Return the trees directly below a tree."""
    match tree:
        case SignedSum(pairs):
            return [part for _, part in pairs]
        case Quotient(factors):
            return [part for _, part in factors]
        case Power(part, _) | SquareRoot(part):
            return [part]
    return []


def unparse(tree: EquationTree) -> str:
    """Return the text of a tree."""
    match tree:
        case Constant(value):
            return str(value)
        case Unknown(name):
            return name
        case SquareRoot(radicand):
            return f"sqrt({unparse(radicand)})"
        case Power(base, exponent):
            inside = unparse(base)
            simple = isinstance(base, Unknown | SquareRoot) or (isinstance(base, Constant) and "/" not in inside)
            return f"{inside}^{exponent}" if simple else f"({inside})^{exponent}"
        case Quotient(factors):
            return "".join(_factor_text(*each, first=place == 0) for place, each in enumerate(factors))
    return "".join(_term_text(*each, first=place == 0) for place, each in enumerate(tree.terms))


def _factor_text(operation: str, factor: EquationTree, *, first: bool) -> str:
    text = unparse(factor)
    is_fraction = isinstance(factor, Constant) and "/" in text
    if isinstance(factor, SignedSum | Quotient) or (is_fraction and operation == "/"):
        text = f"({text})"
    return text if first else f"{operation}{text}"


def _term_text(sign: int, term: EquationTree, *, first: bool) -> str:
    text = f"({unparse(term)})" if isinstance(term, SignedSum) else unparse(term)
    symbol = {1: "+", -1: "-", 0: "±"}[sign]
    if first:
        return text if sign == 1 else f"{symbol}{text}"
    return f" {symbol} {text}"


class _Parser:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0

    def whole(self) -> EquationTree:
        tree = self._sum()
        if self._kind:
            raise GrammarError(f"{self._value!r} is not expected in an expression")
        return tree

    @property
    def _kind(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    @property
    def _value(self) -> str:
        return self._tokens[self._at][1] if self._kind else ""

    def _take(self) -> str:
        value = self._value
        self._at += 1
        return value

    def _sum(self) -> EquationTree:
        terms: list[tuple[int, EquationTree]] = []
        while not terms or self._value in ("+", "-", "±"):
            sign = {"+": 1, "-": -1, "±": 0}[self._take()] if self._value in ("+", "-", "±") else 1
            terms.append((sign, self._product()))
        return sum_of(terms)

    def _product(self) -> EquationTree:
        factors: list[tuple[str, EquationTree]] = [("*", self._power())]
        was_divided = False
        while True:
            if self._value in ("*", "/"):
                operation = self._take()
                was_divided = was_divided or operation == "/"
            elif self._starts_implicit_factor():
                if was_divided:
                    raise GrammarError("an implicit product after a division has two readings: write * or brackets")
                operation = "*"
            else:
                return product_of(factors)
            factors.append((operation, self._power()))

    def _starts_implicit_factor(self) -> bool:
        """Return whether a factor follows without an operator. Two names, or a number after a factor, are refused."""
        before = self._tokens[self._at - 1]
        if self._kind == "number" or (self._kind == before[0] == "name" and before[1] != PI):
            raise GrammarError(f"{self._value!r} follows a factor: write * between them")
        return self._kind in ("name", "root") or self._value in ("(", "\\frac")

    def _power(self) -> EquationTree:
        base = self._atom()
        if self._value != "^":
            return base
        self._take()
        closing = _CLOSING.get(self._value)
        if closing:
            self._take()
        exponent = self._take()
        if not (exponent.isdecimal() and len(exponent) == 1 and int(exponent) <= MAX_EXPONENT):
            raise GrammarError(f"an exponent is a whole number from 0 to {MAX_EXPONENT}")
        if closing and self._take() != closing:
            raise GrammarError("a bracket is not closed")
        if self._value == "^":
            raise GrammarError("a power of a power has two readings: write brackets")
        return Power(base, int(exponent))

    def _atom(self) -> EquationTree:
        kind, value = self._kind, self._take()
        if kind == "number":
            return Constant(Fraction(value))
        if kind == "name":
            return Unknown(value)
        if kind == "root":
            return SquareRoot(self._group("{" if self._value == "{" else "("))
        if value == "\\frac":
            return product_of([("*", self._group("{")), ("/", self._group("{"))])
        if value == "(":
            self._at -= 1
            return self._group("(")
        raise GrammarError(f"{value!r} is not expected in an expression" if value else "an expression is not complete")

    def _group(self, opening: str) -> EquationTree:
        """Return what is in brackets. A square root may also have one number without brackets."""
        if opening == "(" and self._kind == "number":
            return Constant(Fraction(self._take()))
        if self._take() != opening:
            raise GrammarError("a bracket is missing")
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise GrammarError(f"more than {MAX_DEPTH} brackets in each other")
        tree = self._sum()
        self._depth -= 1
        if self._take() != _CLOSING[opening]:
            raise GrammarError("a bracket is not closed")
        return tree


def _tokens(text: str) -> list[tuple[str, str]]:
    found, at, text = [], 0, text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise GrammarError(f"{text[at:].lstrip()[:1]!r} cannot be read in an expression")
        at = match.end()
        found.append(_token(str(match.lastgroup), match[str(match.lastgroup)]))
    return found


def _token(kind: str, value: str) -> tuple[str, str]:
    if kind == "number" and len(value) > MAX_DIGITS:
        raise GrammarError(f"a number of {len(value)} characters: at most {MAX_DIGITS} are accepted")
    if kind == "vulgar":
        return "number", unicodedata.normalize("NFKC", value).replace("\N{FRACTION SLASH}", "/")
    if kind == "word" and value == "sqrt":
        return "root", value
    if kind == "word" and value == PI:
        return "name", value
    if kind == "word":
        if len(value) > 1 or not value.islower() or value in _NOT_UNKNOWN:
            raise GrammarError(f"{value[:20]!r} is no unknown: use one small letter, but not e or i")
        return "name", value
    return kind, "^" if value == "**" else value
