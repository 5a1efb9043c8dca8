"""Keep answers from being run as code by the library's verifiers.

Some verifiers of the library call `eval` on the answer, and some give it to sympy's `parse_expr`, which runs it as Python
too. A model would be paid for naming the verifier's own variable that holds the right answer, and could run anything. What
a verifier does is read from the compiled code of `score_answer` and of the library's functions that it reaches:

- `eval` is replaced, while an answer is scored, by a function that evaluates texts of the entry only;
- an answer that sympy reads has to be an expression (`answer_expression.py`);
- a verifier that uses anything else that runs text is given no answer.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import cache
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from everlearn.domains.gym.answer_expression import is_expression

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LIBRARY = "reasoning_gym"
EVALUATES = "eval"
PARSES = frozenset({"parse_expr", "sympify", "parse_latex", "parse_mathematica"})
RUNS = frozenset({"exec", "__import__", "import_module", "system", "popen", "Popen", "check_output", "unsafe_load"})


class RefusedAnswerError(Exception):
    """An answer that is given to no verifier. Internal to the package: its message becomes a reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierReach:
    """The names that a verifier's code uses, and the global names of the modules that it is in."""

    names: frozenset[str]
    modules: tuple[dict[str, Any], ...]


def check_answer(data_set: Any, answer: str, *, stored: object) -> None:
    """Raise RefusedAnswerError for an answer that the data set's verifier would run as code, or may."""
    names = reach_of(data_set.__class__).names
    if runs := sorted(names & RUNS):
        raise RefusedAnswerError(f"the library's verifier uses {', '.join(runs)}: it is given no answers")
    if names & PARSES and answer != stored and not is_expression(answer, like=str(stored)):
        raise RefusedAnswerError("the answer is no expression: the library's verifier would run it as code")


@contextlib.contextmanager
def guarded(data_set: Any, *, entry: Mapping[str, Any]) -> Iterator[None]:
    """Replace `eval` in the modules of the data set's verifier by a function that evaluates texts of the entry only."""
    reach = reach_of(data_set.__class__)
    if EVALUATES not in reach.names:
        yield
        return
    known = frozenset(_texts(entry))

    def evaluated(text: object, *_: object) -> object:
        if text not in known:
            raise ValueError("only texts of the library are evaluated")
        return eval(str(text), {"__builtins__": {}})  # noqa: S307 (a text that the library wrote, and no answer)

    for names in reach.modules:
        names[EVALUATES] = evaluated
    try:
        yield
    finally:
        for names in reach.modules:
            del names[EVALUATES]


@cache
def reach_of(kind: Any) -> VerifierReach:
    """Return what `score_answer` of a data set uses, in its own code and in that of the library that it calls."""
    names: set[str] = set()
    seen: dict[CodeType, FunctionType] = {}
    pending: list[object] = [kind.score_answer]
    while pending:
        function = pending.pop()
        if isinstance(function, type):
            pending += vars(function).values()
        if not isinstance(function, FunctionType) or function.__code__ in seen or not _is_of_library(function):
            continue
        seen[function.__code__] = function
        used = set(_names(function.__code__))
        known = {name: function.__globals__[name] for name in used & function.__globals__.keys()}
        modules = [value for value in known.values() if isinstance(value, ModuleType) and _is_of_library(value)]
        called = [*known.values(), *(getattr(place, name, None) for place in (kind, *modules) for name in used)]
        pending += called
        names |= used - {name for name, value in known.items() if _is_of_library(value)}
    places = {id(function.__globals__): function.__globals__ for function in seen.values()}
    return VerifierReach(names=frozenset(names), modules=tuple(places.values()))


def _is_of_library(value: object) -> bool:
    place = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return isinstance(place, str) and place.partition(".")[0] == LIBRARY


def _names(code: CodeType) -> Iterator[str]:
    """Yield the names of globals and attributes in a function's code and in that of the functions inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _texts(value: object) -> Iterator[str]:
    """Yield all texts in an entry."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
