"""Read references and answers: one number, or a short symbolic expression such as `36*pi`, `2*sqrt(3)` or `x^2 + 1`."""

from __future__ import annotations

import contextlib
import math
import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from everlearn.domains.equations.grammar import (
    PI,
    Constant,
    EquationTree,
    Power,
    Quotient,
    SignedSum,
    SquareRoot,
    Unknown,
    parse,
    parts_of,
    plain,
)
from everlearn.domains.numbers.quantities import LONGEST_ANSWER, Quantity, one_line, read_quantity
from everlearn.errors import GrammarError

LONGEST_REFERENCE = 20_000  # characters, of a worked solution that ends in "#### 42"
MAX_LEAVES = 10
"""Most numbers and letters of a symbolic expression."""
MAX_LETTERS = 3
_MARK = "####"
_FRAMES = re.compile(r"\$|\\[()\[\]]")
_APART = re.compile(r"(?!sqrt(?![a-z])|pi(?![a-z])|frac(?![a-z]))(?<![A-Za-z])[A-Za-z]{2,}|[,;:?!=<>\n]")
_FRAC = re.compile(r"\\frac ?\{ ?([0-9.]+) ?\} ?\{ ?([0-9.]+) ?\}")
_LONE = re.compile(r"(?<!sqrt)[({] ?([0-9.]+) ?[)}]")
_FRACTION = re.compile(r"(?<![0-9.^])(?<!sqrt)(?<!sqrt )([0-9]+) ?/ ?([0-9]+)(?![0-9.])")
_DECIMAL_FRACTION = re.compile(r"\.[0-9]+ ?/ ?[0-9.]|[0-9] ?/ ?[0-9]*\.")
_ARITHMETIC = "arithmetic that is not carried out: write the result"


@dataclass(frozen=True, slots=True)
class Symbolic:
    """An expression with a letter, pi or a square root."""

    tree: EquationTree


Stated: TypeAlias = Quantity | Symbolic


def read_reference(text: str) -> Stated:
    """Return a reference: what stands after the last `####`, or all of it.

    Raises:
        GrammarError: it is no number and no short symbolic expression. The message does not quote it.
    """
    if len(text) > LONGEST_REFERENCE:
        raise GrammarError(f"a reference of {len(text)} characters: at most {LONGEST_REFERENCE} are accepted")
    try:
        return _read(text.rpartition(_MARK)[2])
    except GrammarError:
        raise GrammarError(
            "the reference is no number and no short symbolic expression: write it as 42, 3/4 or 2*pi"
        ) from None


def read_stated(text: str) -> Stated:
    """Return an answer: a number in lowest terms, or a symbolic expression. Raises GrammarError if it is none."""
    found = _read(text.rpartition(_MARK)[2] if text.lstrip().startswith(_MARK) else text)
    if isinstance(found, Quantity) and not found.is_reduced:
        raise GrammarError("a fraction that is not in lowest terms: write 1/2 for 2/4, and 3 for 6/2")
    if isinstance(found, Symbolic) and not (_is_carried_out(found.tree) and _has_reduced_fractions(text)):
        raise GrammarError(_ARITHMETIC)
    return found


def _read(text: str) -> Stated:
    if len(text) > LONGEST_ANSWER:
        raise GrammarError(f"an answer of {len(text)} characters: at most {LONGEST_ANSWER} are accepted")
    line = one_line(text)
    quantity = read_quantity(line)
    if quantity is not None:
        return quantity
    tree = parse(line)
    leaves = leaves_of(tree)
    letters = {leaf.name for leaf in leaves if isinstance(leaf, Unknown)}
    if not letters and not _has_root(tree):
        raise GrammarError(_ARITHMETIC)
    if len(leaves) > MAX_LEAVES or len(letters - {PI}) > MAX_LETTERS:
        raise GrammarError(
            f"an expression with more than {MAX_LEAVES} numbers and letters, or {MAX_LETTERS} different letters"
        )
    if _has_power_of_power(tree):
        raise GrammarError("a power of a power: write one exponent")
    return Symbolic(tree)


def expressions_in(statement: str) -> list[EquationTree]:
    """Return the expressions that stand in a problem, as far as they can be read."""
    found = []
    for piece in _APART.split(plain(one_line(_FRAMES.sub(" ; ", statement)))):
        with contextlib.suppress(GrammarError):
            found.append(parse(piece.strip(" .")))
    return found


def material_of(tree: EquationTree) -> Counter[str]:
    """Return the numbers, letters and roots of an expression, with how often they occur: of x^2, x twice.

    Expressions with equal ones differ in their order and notation. A factor or divisor of 1 counts for nothing.
    """
    match tree:
        case Constant(value):
            return Counter(str(part) for part in (value.numerator, value.denominator) if part != 1 or value == 1)
        case Unknown(name):
            return Counter([name])
        case Power(base, exponent):
            return Counter({part: count * exponent for part, count in material_of(base).items()})
    parts = [part for part in parts_of(tree) if isinstance(tree, SignedSum) or part != Constant(Fraction(1))]
    return sum(map(material_of, parts), Counter(["sqrt"] if isinstance(tree, SquareRoot) else []))


def leaves_of(tree: EquationTree) -> list[Constant | Unknown]:
    """Return the numbers and letters. Raises GrammarError for ±."""
    if isinstance(tree, Constant | Unknown):
        return [tree]
    if isinstance(tree, SignedSum) and any(sign == 0 for sign, _ in tree.terms):
        raise GrammarError("± states two numbers: write one")
    return [leaf for part in parts_of(tree) for leaf in leaves_of(part)]


def _has_root(tree: EquationTree) -> bool:
    return isinstance(tree, SquareRoot) or any(map(_has_root, parts_of(tree)))


def _has_power_of_power(tree: EquationTree, *, inside: bool = False) -> bool:
    is_power = isinstance(tree, Power)
    return (inside and is_power) or any(_has_power_of_power(part, inside=inside or is_power) for part in parts_of(tree))


def _has_reduced_fractions(text: str) -> bool:
    """Return whether the fractions of numbers are in lowest terms: in the tree, 72/2 is 36."""
    line = _FRAC.sub(r" (\1)/(\2) ", plain(one_line(text)))
    while (shorter := _LONE.sub(r"\1", line)) != line:
        line = shorter
    return not _DECIMAL_FRACTION.search(line) and all(
        math.gcd(int(top), int(bottom)) == 1 for top, bottom in _FRACTION.findall(line)
    )


def _is_carried_out(tree: EquationTree) -> bool:
    """Return whether numbers stand for themselves: none is added to, multiplied by or divided by another one."""
    match tree:
        case Power(Constant(), _):
            return False
        case SignedSum(terms) if sum(isinstance(term, Constant) for _, term in terms) > 1:
            return False
        case Quotient(factors):
            above = [part.value for operation, part in factors if operation == "*" and isinstance(part, Constant)]
            below = [part.value for operation, part in factors if operation == "/" and isinstance(part, Constant)]
            if len(above) > 1 or len(below) > 1 or (above and below and (above[0] / below[0]).denominator != below[0]):
                return False
    return all(map(_is_carried_out, parts_of(tree)))
