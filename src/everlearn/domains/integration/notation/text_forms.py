r"""Text of the strict grammar for an answer or a statement in usual notation.

    x^2/2 + C    ln|x|    2x    e^{2x}    sin^2 x    \frac{1}{2}\arctan(x)    √x    ∫ 3t² dt    Answer: $F(x) = x^2$

The result is rendered from the tree that was read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from everlearn.domains.integration.grammar import ANSWER_NAMES, Expression, parse, render
from everlearn.domains.integration.notation.integration_constant import CONSTANT, contains, without_constant
from everlearn.domains.integration.notation.markup import formula, integrand
from everlearn.domains.integration.notation.reader import read
from everlearn.errors import GrammarError

_LONE_LETTER = re.compile(r"(?<![A-Za-z\\])[A-Za-zθφ](?![A-Za-z])")
_NO_VARIABLES = frozenset("eEiId")
_DIFFERENTIAL = re.compile(r"(?:\\mathrm ?\{d\}|(?<![A-Za-z])d)\s?([A-Za-zθφ])(?![A-Za-z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """An integrand in the strict grammar, and the variable in which it was written."""

    text: str
    variable: str = "x"


@lru_cache(maxsize=4096)
def read_statement(text: str) -> Statement:
    """Return the statement as it is if the strict grammar reads it, else the normal form of its usual notation.

    Raises:
        GrammarError: neither can read it. The message is that of the strict grammar.
    """
    try:
        parse(text)
    except GrammarError as error:
        try:
            return _usual_statement(text)
        except GrammarError as why:
            raise GrammarError(f"{error} (in usual notation: {why})") from None
    return Statement(text=text)


def read_answer(text: str, *, variable: str = "x") -> str:
    """Return an answer in usual notation as text of the strict grammar, without the constant of integration.

    `variable` is that of the statement, which is read as x. Who parses the text checks the limits of numbers and exponents.

    Raises:
        GrammarError: it cannot be read, has two readings, or is too long or deep.
    """
    usual, fault = _read_or_fault(text, variable)
    if fault is not None:
        raise GrammarError(fault)
    return usual


@lru_cache(maxsize=4096)
def _read_or_fault(text: str, variable: str) -> tuple[str, str | None]:
    """Return the text, or why it cannot be read: a model repeats its malformed answers, too."""
    try:
        usual = render(without_constant(read(formula(text), variable=variable)))
    except GrammarError as error:
        return "", str(error)
    return usual.replace(" ", ""), None  # so that its terms are found in the cache of the verifier


def strict_answer(text: str, *, variable: str = "x") -> str:
    """Return an answer as it is if the strict grammar reads it, else as `read_answer` does."""
    try:
        parse(text, names=ANSWER_NAMES)
    except GrammarError:
        return read_answer(text, variable=variable)
    return text


def _usual_statement(text: str) -> Statement:
    body, named = integrand(text)
    variable = named or _variable_of(body)
    inside = [found for found in _DIFFERENTIAL.finditer(body) if not named]
    if inside:  # dx/x
        variable = inside[0][1]
        body = _DIFFERENTIAL.sub("(1)", body)
    tree = read(body, variable=variable)
    if len(inside) > 1 or (inside and tree[0] == "sum"):
        raise GrammarError("the differential does not belong to the whole integrand")
    if contains(tree, CONSTANT):
        raise GrammarError("a letter that is not the variable")
    return Statement(text=_strict(tree), variable=variable)


def _variable_of(text: str) -> str:
    """Return the only letter that stands alone, or x."""
    letters = set(_LONE_LETTER.findall(text)) - _NO_VARIABLES
    return letters.pop() if len(letters) == 1 and "X" not in letters else "x"


def _strict(tree: Expression) -> str:
    """Return the text of a tree, checked against the strict grammar and all its limits."""
    text = render(tree)
    parse(text)
    return text
