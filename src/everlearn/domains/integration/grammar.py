"""The grammar of expressions in x, its parser and its writer. Text is never evaluated as code.

    sum     = product (("+" | "-") product)*
    product = factor (("*" | "/") factor)*
    factor  = ("+" | "-") factor  |  atom ["^" factor]          -x^2 is -(x^2); ^ is right-associative
    atom    = number | "x" | "e" | "pi" | "i" | function "(" sum ")" | "(" sum ")"

The imaginary unit `i` is a name of answers only.

A parsed expression is a tree of tuples, hashable and immutable. The first element is the kind:

    ("number", int or Fraction)  ("name", "x")  ("sum", a, b, …)  ("product", a, b, …)  ("negative", a)  ("inverse", a)
    ("power", base, exponent)  ("call", function, argument)

Sums and products are flat, so that the depth of a tree is bounded by the nesting of brackets, signs and powers. Every
limit is checked before the work that it limits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import Any, TypeAlias

from everlearn.errors import GrammarError

Expression: TypeAlias = tuple[Any, ...]

FUNCTIONS = frozenset(
    {
        *("exp", "log", "sqrt", "abs"),
        *("sin", "cos", "tan", "sec", "csc", "cot", "asin", "acos", "atan", "acot", "asec", "acsc"),
        *("sinh", "cosh", "tanh", "sech", "csch", "coth", "asinh", "acosh", "atanh", "acoth", "asech", "acsch"),
    }
)
NAMES = frozenset({"x", "e", "pi"})
ANSWER_NAMES = NAMES | {"i"}  # an antiderivative may use the imaginary unit, an integrand may not
ALLOWED = (
    "allowed are numbers, x, e, pi, + - * / ^ ( ) and the functions exp log sqrt abs, sin cos tan sec csc cot, "
    "asin acos atan acot asec acsc, sinh cosh tanh coth sech csch, asinh acosh atanh acoth asech acsch"
)
_TOKEN = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+|[A-Za-z_][A-Za-z_0-9]*|\S", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of a text: length in characters, nesting depth, digits of one number, magnitude of a constant exponent."""

    length: int = 4000
    depth: int = 48
    digits: int = 30
    exponent: int = 1000


DEFAULT = Limits()


def parse(text: str, *, limits: Limits = DEFAULT, names: frozenset[str] = NAMES) -> Expression:
    """Parse an expression in x. `names` are the variables and constants that it may use.

    Raises:
        GrammarError: the text is not in the grammar, or exceeds a limit; the message names position and remedy.
    """
    if len(text) > limits.length:
        raise GrammarError(f"an expression of {len(text)} characters; at most {limits.length} are allowed")
    return _Parser(text, limits, names).whole()


class _Parser:
    """Recursive-descent parser of one text. The empty token at the end stops every loop."""

    __slots__ = ("at", "depth", "limits", "names", "text", "tokens")

    def __init__(self, text: str, limits: Limits, names: frozenset[str]) -> None:
        self.text = text
        self.limits = limits
        self.names = names
        self.tokens: list[str] = [*_TOKEN.findall(text), ""]
        self.at = 0
        self.depth = 0

    def whole(self) -> Expression:
        """Parse the whole text."""
        tree = self.sum()
        if self.tokens[self.at]:
            raise self.error("an operator is missing before it" if self.starts_factor() else ALLOWED)
        return tree

    def sum(self) -> Expression:
        """Parse terms separated by signs."""
        terms = [self.product()]
        tokens = self.tokens
        while (token := tokens[self.at]) in ("+", "-"):
            self.at += 1
            term = self.product()
            terms.append(term if token == "+" else ("negative", term))  # noqa: S105
        return ("sum", *terms) if len(terms) > 1 else terms[0]

    def product(self) -> Expression:
        """Parse factors separated by * and /."""
        factors = [self.factor()]
        tokens = self.tokens
        while (token := tokens[self.at]) in ("*", "/"):
            self.at += 1
            factor = self.factor()
            factors.append(factor if token == "*" else ("inverse", factor))  # noqa: S105
        return ("product", *factors) if len(factors) > 1 else factors[0]

    def factor(self) -> Expression:
        """Parse a signed factor, or an atom with its exponent."""
        self.depth += 1
        if self.depth > self.limits.depth:
            raise self.error(f"nested deeper than the {self.limits.depth} levels that are allowed")
        token = self.tokens[self.at]
        if token in ("+", "-"):
            self.at += 1
            inner = self.factor()
            tree = inner if token == "+" else ("negative", inner)  # noqa: S105
        else:
            tree = self.atom(token)
            if self.tokens[self.at] == "^":
                self.at += 1
                tree = ("power", tree, self.exponent())
        self.depth -= 1
        return tree

    def exponent(self) -> Expression:
        """Parse the exponent after ^ and check its limit."""
        start = self.at
        tree = self.factor()
        size = constant(tree)
        if size is not None and abs(size) > self.limits.exponent:
            self.at = start
            raise self.error(f"a constant exponent beyond {self.limits.exponent}, the largest that is allowed")
        return tree

    def atom(self, token: str) -> Expression:
        """Parse a number, a name, a call or a bracket."""
        if token in self.names:
            self.at += 1
            return ("name", token)
        if token in FUNCTIONS:
            self.at += 1
            if self.tokens[self.at] != "(":
                raise self.error(f"a bracket must follow {token}")
            return ("call", token, self.bracket())
        if token == "(":  # noqa: S105
            return self.bracket()
        if token and token[0] in ".0123456789" and token != ".":  # noqa: S105
            return self.number(token)
        raise self.error(ALLOWED)

    def bracket(self) -> Expression:
        """Parse a bracket; the current token is the opening one."""
        self.at += 1
        tree = self.sum()
        if self.tokens[self.at] != ")":
            raise self.error("a closing bracket is missing before it")
        self.at += 1
        return tree

    def number(self, token: str) -> Expression:
        """Parse a number and check its limit."""
        if len(token) > self.limits.digits:
            raise self.error(f"a number of {len(token)} digits; at most {self.limits.digits} are allowed")
        self.at += 1
        return ("number", Fraction(token) if "." in token else int(token))

    def starts_factor(self) -> bool:
        """Return whether the current token can begin a factor."""
        return self.tokens[self.at][0].isalnum() or self.tokens[self.at] == "("

    def error(self, why: str) -> GrammarError:
        """Return the error at the current token."""
        found = next(islice(_TOKEN.finditer(self.text), self.at, None), None)
        if found is None:
            return GrammarError(f"the expression ends too early: {why}")
        token = found[0] if len(found[0]) <= 20 else f"{found[0][:20]}…"
        return GrammarError(f"{token!r} at position {found.start() + 1}: {why}")


def constant(tree: Expression) -> float | None:
    """Return the approximate value of a tree of numbers, infinite on overflow; None for any other tree."""
    kind = tree[0]
    if kind == "number":
        return float(tree[1])
    if kind in ("name", "call"):
        return None
    inner = [constant(child) for child in tree[1:]]
    known = [value for value in inner if value is not None]
    if len(known) < len(inner):
        return None
    try:
        return _folded(kind, known)
    except (OverflowError, ZeroDivisionError, ValueError):
        return float("inf")


def _folded(kind: str, values: list[float]) -> float:
    if kind == "sum":
        return sum(values)
    if kind == "negative":
        return -values[0]
    if kind == "inverse":
        return 1 / values[0]
    if kind == "power":
        return float(abs(values[0]) ** values[1])
    product = 1.0
    for value in values:
        product *= value
    return product


_LOOSE, _SUM, _PRODUCT, _FACTOR, _ATOM = range(5)


def render(tree: Expression) -> str:
    """Return text that parses to an equal expression."""
    return _render(tree, _LOOSE)


def _render(tree: Expression, tightness: int) -> str:
    """Return the text of a tree, in brackets unless it binds at least as tightly as `tightness`."""
    kind = tree[0]
    text, binds = _WRITERS[kind](tree)
    return text if binds >= tightness else f"({text})"


def _write_number(tree: Expression) -> tuple[str, int]:
    value: int | Fraction = tree[1]
    if value < 0:
        return str(value), _SUM
    return str(value), _ATOM if value.denominator == 1 else _PRODUCT


def _write_sum(tree: Expression) -> tuple[str, int]:
    text = _render(tree[1], _SUM if _begins_with_minus(tree[1]) else _PRODUCT)
    for term in tree[2:]:
        minus = term[0] == "negative"
        text += f" - {_render(term[1], _PRODUCT)}" if minus else f" + {_render(term, _PRODUCT)}"
    return text, _SUM


def _write_product(tree: Expression) -> tuple[str, int]:
    minus = tree[1][0] == "negative"
    text = _render(tree[1], _SUM if minus else _FACTOR)
    for factor in tree[2:]:
        over = factor[0] == "inverse"
        text += f"/{_render(factor[1], _FACTOR)}" if over else f"*{_render(factor, _FACTOR)}"
    return text, _SUM if minus else _PRODUCT


def _begins_with_minus(tree: Expression) -> bool:
    return "negative" in (tree[0], tree[1][0] if tree[0] == "product" else "")


_WRITERS = {
    "number": _write_number,
    "name": lambda tree: (tree[1], _ATOM),
    "call": lambda tree: (f"{tree[1]}({_render(tree[2], _LOOSE)})", _ATOM),
    "power": lambda tree: (f"{_render(tree[1], _ATOM)}^{_render(tree[2], _ATOM)}", _FACTOR),
    "inverse": lambda tree: (f"1/{_render(tree[1], _FACTOR)}", _PRODUCT),
    "negative": lambda tree: (f"-{_render(tree[1], _FACTOR)}", _SUM),
    "sum": _write_sum,
    "product": _write_product,
}
