"""The tests in a reference: calls of one function with their results, as JSON or as lines of `assert`.

    [{"args": [5, 0, 3], "result": 3}, …]    ["assert clamp(5, 0, 3) == 3", …]    lines of such asserts

An assert is parsed, and is a call of the function with literals that is compared with a literal: nothing is evaluated.
"""

from __future__ import annotations

import ast
import json
import warnings
from dataclasses import dataclass
from typing import Any

from everlearn.domains.programs.harness import UnwritableError, encode
from everlearn.errors import GrammarError

FEWEST, MOST = 3, 200
"""How many tests a reference may have."""
_LONGEST = 60_000  # characters of a reference
_LONGEST_ASSERT = 4_000
_DEEPEST = 30  # of literals


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A test: arguments of a call and its result."""

    arguments: list[Any]
    result: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenTests:
    """The tests of a reference and, if asserts name it, the function they call."""

    cases: list[Case]
    name: str | None


def read_tests(reference: str) -> HiddenTests:
    """Return the tests of a reference. Raises GrammarError, which does not quote it."""
    if len(reference) > _LONGEST:
        raise GrammarError(f"the tests have {len(reference)} characters: at most {_LONGEST} are accepted")
    read = [_case(each) for each in _items(reference)]
    names = {name for name, _ in read if name is not None}
    cases = [case for _, case in read]
    if len(names) > 1:
        raise GrammarError("the asserts call several functions: they have to call one")
    if not FEWEST <= len(cases) <= MOST:
        raise GrammarError(f"there are {len(cases)} tests: {FEWEST} to {MOST} are needed")
    if len({len(case.arguments) for case in cases}) > 1:
        raise GrammarError("the tests differ in the number of arguments")
    try:
        written = [encode(case.arguments) for case in cases], {encode(case.result) for case in cases}
    except UnwritableError:
        raise GrammarError("a test has a value that is too large, or of a type that cannot be compared") from None
    if len(set(written[0])) < len(cases):
        raise GrammarError("two tests have the same arguments")
    if len(written[1]) == 1:
        raise GrammarError("all tests have the same result: a constant would pass them")
    return HiddenTests(cases=cases, name=names.pop() if names else None)


def _items(reference: str) -> list[Any]:
    try:
        items = json.loads(reference, parse_constant=float)
    except (ValueError, RecursionError):
        return [line for line in reference.splitlines() if line.strip()]
    if not isinstance(items, list):
        raise GrammarError('tests are a list of {"args": […], "result": …} or of asserts')
    return items


def _case(item: Any) -> tuple[str | None, Case]:
    if isinstance(item, str):
        return _read_assert(item)
    if isinstance(item, dict) and item.keys() == {"args", "result"} and isinstance(item["args"], list):
        return None, Case(arguments=item["args"], result=item["result"])
    raise GrammarError('a test is {"args": […], "result": …}, or an assert such as `assert f(1) == 2`')


def _read_assert(text: str) -> tuple[str, Case]:
    match _parsed(text):
        case ast.Module(
            body=[
                ast.Assert(
                    msg=None,
                    test=ast.Compare(
                        left=ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]),
                        ops=[ast.Eq()],
                        comparators=[result],
                    ),
                )
            ]
        ):
            return name, Case(arguments=[_literal(each) for each in arguments], result=_literal(result))
    raise GrammarError("an assert compares a call of the function with a literal: `assert f(1, [2]) == 3`")


def _parsed(text: str) -> ast.Module | None:
    if len(text) > _LONGEST_ASSERT:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in texts
            return ast.parse(text.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _literal(node: ast.expr, depth: int = 0) -> Any:
    """Return the value of a literal. Raises GrammarError for any other expression."""
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)) if (
            type(value) is not bool
        ):
            return -value
        case ast.List() | ast.Tuple() | ast.Set() | ast.Dict() if depth < _DEEPEST:
            return _container(node, depth + 1)
        case ast.Call(func=ast.Name(id="set"), args=[], keywords=[]):
            return set()
    raise GrammarError("the arguments and the result of an assert are literals, such as 1, 'a', [1, 2] or {'a': None}")


def _container(node: ast.List | ast.Tuple | ast.Set | ast.Dict, depth: int) -> Any:
    if isinstance(node, ast.Dict):
        named = _keys([key for key in node.keys if key is not None], depth)
        if len(named) < len(node.values):
            raise GrammarError("a dict in an assert has keys and values alone")
        return dict(zip(named, (_literal(value, depth) for value in node.values), strict=True))
    if isinstance(node, ast.Set):
        return set(_keys(node.elts, depth))
    parts = [_literal(part, depth) for part in node.elts]
    return tuple(parts) if isinstance(node, ast.Tuple) else parts


def _keys(nodes: list[ast.expr], depth: int) -> list[Any]:
    values = [_literal(node, depth) for node in nodes]
    try:
        different = len(set(values)) == len(values)
    except TypeError:
        different = False
    if not different:
        raise GrammarError("the members of a set and the keys of a dict are different, and no lists")
    return values
