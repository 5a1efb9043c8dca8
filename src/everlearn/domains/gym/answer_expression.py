"""Whether an answer is an expression that may be read by sympy, which would run any other text as Python.

An expression has whole numbers, `+ - * /` and parentheses. Where the stored answer has letters too, it may have decimals,
powers, the letters that the stored answer has, and usual functions. Letters, powers, decimals, `1e2` and `0x18` in an
answer whose stored form has none would be numbers that the verifier does not count as used.

Its numbers are bounded, so that no power takes for ever.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

_TOKENS = re.compile(r"(?:(?:[0-9]+(?:\.[0-9]+)?|[A-Za-z]+)(?![A-Za-z0-9.])|\*\*|[+\-*/() ])*")
_WORD = re.compile(r"[A-Za-z]+")
_FUNCTIONS = frozenset(
    {
        "Abs",
        "C",
        "E",
        "acos",
        "acosh",
        "asin",
        "asinh",
        "atan",
        "atanh",
        "cos",
        "cosh",
        "cot",
        "csc",
        "exp",
        "ln",
        "log",
    }
    | {"pi", "sec", "sin", "sinh", "sqrt", "tan", "tanh"}
)
_LONGEST = 2000  # characters
_DIGITS = 1000  # of a number that a part of the expression may stand for
_EXPONENT = 100


def is_expression(text: str, *, like: str) -> bool:
    """Return whether a text is an expression; `like` is the stored answer."""
    if len(text) > _LONGEST or not _TOKENS.fullmatch(text):
        return False
    letters = set(_WORD.findall(like))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text.strip(), mode="eval")  # reads the text, and runs nothing
        return _digits(tree.body, names=letters | _FUNCTIONS if letters else frozenset()) <= _DIGITS
    except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError):
        return False


def _digits(node: ast.expr, *, names: AbstractSet[str]) -> float:
    """Return a bound of the digits of the numbers in a part. Raises ValueError where it has what is not allowed."""
    digits = partial(_digits, names=names)
    match node:
        case ast.Constant(value=int() | float() as value) if names or isinstance(value, int):
            found: float = len(str(value))
        case ast.Name(id=name) if name in names:
            found = 1
        case ast.Call(func=ast.Name(id=name), args=[part], keywords=[]) if name in names:
            found = digits(part)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=part):
            found = digits(part)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub(), right=right):
            found = 1 + max(digits(left), digits(right))
        case ast.BinOp(left=left, op=ast.Mult() | ast.Div(), right=right):
            found = digits(left) + digits(right)
        case ast.BinOp(left=left, op=ast.Pow(), right=right) if names:
            found = digits(left) * _exponent(right, names=names)
        case _:
            raise ValueError("no part of an expression")
    return found


def _exponent(node: ast.expr, *, names: AbstractSet[str]) -> float:
    """Return a bound of an exponent, at least 1. Raises ValueError where it is large, or a power itself."""
    _digits(node, names=names)
    if any(isinstance(part, ast.Pow) for part in ast.walk(node)):
        raise ValueError("a power in an exponent")
    numbers = [float(str(part.value)) for part in ast.walk(node) if isinstance(part, ast.Constant)]
    most = math.prod(number + 1 for number in numbers)  # no sum or product of these is larger
    if most > _EXPONENT:
        raise ValueError("an exponent that may be large")
    return most
