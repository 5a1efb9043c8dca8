"""Read the solutions that an answer states.

    x = 2    2    x = 2 or x = 3    x = 2, 3    {2, 3}    x = 1/2    0.5    (-1+sqrt(5))/2    1 ± sqrt(2)    no solution
    x = 2, y = 1    y=1; x=2    (2, 1)    (x, y) = (2, 1)

Each solution is one simplified number: an integer, a decimal or a fraction, or a sum with square roots of such numbers. So
`7 - 3`, `sqrt(4)` and `(5 + sqrt(25 - 24))/2` are no solutions: the equation would be copied and not solved.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from everlearn.domains.equations.grammar import (
    Constant,
    EquationTree,
    Quotient,
    SignedSum,
    SquareRoot,
    parse,
    plain,
)
from everlearn.domains.equations.surds import SurdSum
from everlearn.errors import GrammarError

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_ANSWER = 400  # characters
MAX_VALUES = 8
"""Most solutions that an answer may state."""
MAX_RADICANDS = 3
"""Most different square roots that a solution may have."""
MAX_ROOTS = 16
"""Most square roots in an answer."""
LARGEST_PART = 10**40
"""Largest numerator or denominator of a part of a solution."""

_MARKUP = re.compile(r"\$|\\[()\[\]]|\\(?:left|right|displaystyle)(?![A-Za-z])")
_BOLD = re.compile(r"^\*\*|\*\*(?=\.?$)")  # at the ends of a line only: elsewhere it is a power
_LATEX_WORDS = re.compile(r"\\(?:text|mathrm|textrm) ?\{ ?(or|and|no (?:real )?solutions?) ?\}", re.IGNORECASE)
_OR = re.compile(r"\\(?:lor|vee)(?![A-Za-z])|\N{LOGICAL OR}")
_BEFORE = re.compile(
    r"(?:(?:so|thus|hence|therefore),? )?(?:the )?(?:all )?(?:real )?(?:solutions?|roots?|answers?)(?: set)?"
    r"(?: of the (?:equation|system))?(?: (?:is|are))? ?:? ",
    re.IGNORECASE,
)
_MEMBER = r"(?:([a-z]) ?(?:=|\\in(?![a-z])|\N{ELEMENT OF}) ?)?"
_NOTHING = re.compile(
    rf"(?:there (?:is|are) )?no (?:real )?(?:solutions?|roots?)|{_MEMBER}(?:\{{ ?\}}|\\\{{ ?\\\}})"
    rf"|{_MEMBER}(?:\\emptyset|\\varnothing|\N{{EMPTY SET}}|(?:the )?empty set)",
    re.IGNORECASE,
)
_SET = re.compile(rf"{_MEMBER}\\?\{{(.*?)\\?\}}")
_GROUPED = re.compile(r"(?<![0-9.])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])")
_TUPLE = re.compile(r"(?:\( ?([a-z](?: ?, ?[a-z]){1,2}) ?\) ?= ?)?\((.*)\)")
_BETWEEN = re.compile(r" ?[,;] ?(?:and |or )?| (?:and|or) ", re.IGNORECASE)
_ASSIGNED = re.compile(r"([a-z])(?:_?(?:[1-8]|\{[1-8]\}))? ?= ?(.*)")
_SUBSCRIPTS = str.maketrans({chr(0x2080 + digit): str(digit) for digit in range(10)})
_NOT_SIMPLIFIED = "a solution that is not simplified: write each one as one number, such as 5, -1/2 or 3 + sqrt(2)"


@dataclass(frozen=True, slots=True)
class StatedValue:
    """A number as it is written; `sign` is what ± stands for, if it is there."""

    tree: EquationTree
    sign: int

    @property
    def value(self) -> SurdSum:
        """The exact value. Raises GrammarError if it is not a real number or exceeds a limit."""
        return value_of(self.tree, sign=self.sign)


@dataclass(frozen=True, slots=True)
class Claim:
    """All solutions that an answer states: none for "no solution". A solution has a value for each unknown."""

    points: tuple[tuple[StatedValue, ...], ...]

    @property
    def values(self) -> frozenset[tuple[SurdSum, ...]]:
        """The different solutions."""
        return frozenset(tuple(each.value for each in point) for point in self.points)


def read_claim(text: str, unknowns: Sequence[str]) -> Claim:
    """Return the solutions that an answer states, with values in the order of the unknowns.

    Raises:
        GrammarError: it states none in a notation that is read.
    """
    if len(text) > LONGEST_ANSWER:
        raise GrammarError(f"an answer of {len(text)} characters: at most {LONGEST_ANSWER} are accepted")
    body = _without_markup(text)
    nothing = _NOTHING.fullmatch(body)
    if nothing and (nothing[1] or nothing[2] or unknowns[0]) in unknowns:
        return Claim(())
    body = _BEFORE.sub("", body, count=1) if _BEFORE.match(body) else body
    if body.count("sqrt") > MAX_ROOTS:
        raise GrammarError(f"more than {MAX_ROOTS} square roots in an answer")
    if _GROUPED.search(body):
        raise GrammarError("a comma between digits has two readings: write 1234, or 1, 234")
    points = _roots(body, unknowns[0]) if len(unknowns) == 1 else (_point(body, unknowns),)
    return Claim(points)


def _without_markup(text: str) -> str:
    """Return the text in one line, without marks of LaTeX and Markdown, with " ; " between lines."""
    text = _OR.sub(" or ", _LATEX_WORDS.sub(r" \1 ", text.translate(_SUBSCRIPTS)))
    lines = [_BOLD.sub("", " ".join(line.split())).strip(" ;,") for line in _MARKUP.sub(" ", text).splitlines()]
    return " ".join(plain(" ; ".join(filter(None, lines))).split()).removesuffix(".").rstrip()


def _roots(body: str, unknown: str) -> tuple[tuple[StatedValue, ...], ...]:
    """Return the solutions of one equation."""
    in_set = _SET.fullmatch(body)
    if in_set and in_set[1] in (None, unknown):
        pieces = _pieces(in_set[2])
    else:
        pieces = [_value_text(piece, unknown) for piece in _pieces(body)]
    found = [value for piece in pieces for value in _stated(piece)]
    if len(found) > MAX_VALUES:
        raise GrammarError(f"{len(found)} solutions: at most {MAX_VALUES} are read")
    return tuple((value,) for value in found)


def _value_text(piece: str, unknown: str) -> str:
    assigned = _ASSIGNED.fullmatch(piece)
    if assigned is None:
        return piece
    if assigned[1] != unknown:
        raise GrammarError(f"{assigned[1]!r} is not the unknown {unknown!r}")
    return assigned[2]


def _point(body: str, unknowns: Sequence[str]) -> tuple[StatedValue, ...]:
    """Return the solution of a system: a value for each unknown."""
    listed = _TUPLE.fullmatch(body)
    pieces = _pieces(listed[2] if listed else body)
    if listed:
        names = re.findall("[a-z]", listed[1]) if listed[1] else list(unknowns)
        pairs = list(zip(names, pieces, strict=False))
    else:
        pairs = [(found[1], found[2]) for found in map(_ASSIGNED.fullmatch, pieces) if found]
    stated = dict(pairs)
    if sorted(name for name, _ in pairs) != list(unknowns) or len(pieces) != len(unknowns):
        shown = ", ".join(f"{name} = …" for name in unknowns)
        raise GrammarError(f"a solution of the system has one value for each unknown: write {shown}")
    values = [_stated(stated[name]) for name in unknowns]
    if any(len(each) > 1 for each in values):
        raise GrammarError("± is not read in the solution of a system")
    return tuple(each[0] for each in values)


def _pieces(text: str) -> list[str]:
    """Split at commas, semicolons, "and" and "or". No number that is read contains one of these."""
    return [piece.strip() for piece in _BETWEEN.split(text)]


def _stated(piece: str) -> list[StatedValue]:
    """Return the number, or the two numbers that ± stands for, simplified."""
    tree = parse(piece)
    if piece.count("±") > 1:
        raise GrammarError("more than one ± in a solution has two readings: write the solutions apart")
    found = [StatedValue(tree, sign) for sign in ((1, -1) if "±" in piece else (1,))]
    is_plain = _is_plain(tree)
    if is_plain:
        _check_reduced(piece)
    else:
        _check_irrational(tree)
    if any(not is_plain and each.value.as_fraction is not None for each in found):
        raise GrammarError(_NOT_SIMPLIFIED)
    return found


def _check_reduced(piece: str) -> None:
    """Check that a fraction is one of whole numbers in lowest terms. Raises GrammarError."""
    if "/" in piece or "frac" in piece:
        numbers = [int(digits) for digits in re.findall("[0-9]+", piece)]
        if "." in piece or len(numbers) != 2 or math.gcd(*numbers) != 1 or numbers[1] == 1:
            raise GrammarError(_NOT_SIMPLIFIED)


def _is_plain(tree: EquationTree) -> bool:
    """Return whether a number is written as an integer, a decimal or a fraction, with or without a sign."""
    match tree:
        case Constant():
            return True
        case SignedSum(((_, term),)):
            return _is_plain(term)
        case Quotient((("*", one), ("/", other))):
            return _is_plain(one) and _is_plain(other)
    return False


def _check_irrational(tree: EquationTree) -> None:
    """Check that no operation on rational numbers is left: at most one in a sum, and one above and below a fraction bar.

    Raises:
        GrammarError: there is one, or the tree has an unknown, a power, or a root of something else than a number.
    """
    match tree:
        case SquareRoot(Constant()):
            return
        case SignedSum(terms):
            rational, others = _parted([("", term) for _, term in terms])
        case Quotient(factors):
            rational, others = _parted(factors)
        case _:
            raise GrammarError(_NOT_SIMPLIFIED)
    if len(set(rational)) < len(rational) or not others:
        raise GrammarError(_NOT_SIMPLIFIED)
    for part in others:
        _check_irrational(part)


def _parted(parts: Sequence[tuple[str, EquationTree]]) -> tuple[list[str], list[EquationTree]]:
    """Return the operations of the rational numbers, and the other parts."""
    return [operation for operation, part in parts if _is_plain(part)], [
        part for _, part in parts if not _is_plain(part)
    ]


def value_of(tree: EquationTree, *, sign: int) -> SurdSum:
    """Return the value of a number that `read_claim` accepts, where ± stands for `sign`.

    Raises:
        GrammarError: it is not a real number, divides by zero, or exceeds a limit.
    """
    match tree:
        case Constant(value):
            return SurdSum.rational(value)
        case SquareRoot(Constant(value)):
            return SurdSum.square_root(value)
        case SignedSum(terms):
            total = SurdSum.rational(0)
            for signed, term in terms:
                part = value_of(term, sign=sign)
                total = total + (part if (signed or sign) == 1 else -part)
            return _bounded(total)
        case Quotient(factors):
            product = SurdSum.rational(1)
            for operation, factor in factors:
                part = value_of(factor, sign=sign)
                if operation == "/" and not part.terms:
                    raise GrammarError("a division by zero")
                product = _bounded(product * (part.inverse() if operation == "/" else part))
            return product
    raise GrammarError(_NOT_SIMPLIFIED)


def _bounded(value: SurdSum) -> SurdSum:
    digits = max((max(abs(factor.numerator), factor.denominator) for _, factor in value.terms), default=0)
    if len(value.radicands) > MAX_RADICANDS or digits > LARGEST_PART:
        raise GrammarError(f"a number with more than {MAX_RADICANDS} different square roots, or with too many digits")
    return value
