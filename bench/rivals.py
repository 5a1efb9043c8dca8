"""Alternative verifiers for comparison: math-verify and SymPy's `simplify`, each in a child process with a time limit.

math-verify reads the answer as LaTeX, which is written from our notation here, before the clock starts; its
expression is differentiated and compared with the integrand by `math_verify.verify`. SymPy reads the text, and
`simplify(diff(answer) - integrand) == 0` is its verdict. An answer that is not judged in time counts as undecided, and
its time as the limit.
"""

from __future__ import annotations

import multiprocessing
import re
import time
from typing import TYPE_CHECKING, Any, Self

import sympy

from bench.answers import UNREADABLE, X, read

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

_LATEX = (
    (r"\^\(([^()]*)\)", r"^{\1}"),
    (r"\^(\d+|x)", r"^{\1}"),
    (r"\batan\(", r"\\arctan("),
    (r"\blog\(", r"\\ln("),
    (r"\bexp\(([^()]*)\)", r"e^{\1}"),
    (r"\b(sin|cos)\(", r"\\\1("),
    (r"\*", r" \\cdot "),
)


def latex(text: str) -> str:
    """Convert an expression of the grammar to LaTeX."""
    for pattern, written in _LATEX:
        text = re.sub(pattern, written, text)
    return text


def by_sympy(statement: str, answer: str) -> Callable[[], bool]:
    """Return the function to time."""
    wanted = read(statement)
    return lambda: bool(sympy.simplify(sympy.diff(read(answer), X) - wanted) == 0)


def by_math_verify(statement: str, answer: str) -> Callable[[], bool]:
    """Return the function to time. The integrand is parsed before, because a group of answers shares it."""
    from math_verify import LatexExtractionConfig, parse, verify

    config = [LatexExtractionConfig()]
    wanted, text = parse(f"${latex(statement)}$", extraction_config=config)[:1], f"${latex(answer)}$"

    def judged() -> bool:
        given = [found for found in parse(text, extraction_config=config) if isinstance(found, sympy.Expr)]
        (x,) = wanted[0].free_symbols
        return bool(given and verify(wanted, [sympy.diff(given[0], x)]))

    return judged


WAYS = {"math_verify": by_math_verify, "sympy": by_sympy}


def work(pipe: Connection) -> None:
    """Run the child process: receive (way, statement, answer), send (verdict, seconds)."""
    while True:
        try:
            way, statement, answer = pipe.recv()
        except EOFError:
            return
        judge = WAYS[way](statement, answer)
        started = time.perf_counter()
        try:
            verdict = judge()
        except UNREADABLE:
            verdict = False
        pipe.send((verdict, time.perf_counter() - started))


class Rival:
    """One alternative verifier in a child process."""

    def __init__(self, way: str, *, limit_s: float) -> None:
        self.way = way
        self._limit_s = limit_s
        self._start()

    def __enter__(self) -> Self:
        self.judge("2*x", "x^2")  # import its library before the clock starts
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    def judge(self, statement: str, answer: str) -> tuple[bool | None, float]:
        """Return the verdict, None on failure or time-out, and the seconds."""
        self._pipe.send((self.way, statement, answer))
        try:
            if self._pipe.poll(self._limit_s + 2.0):  # the integrand is read outside of the measured time
                found: tuple[Any, float] = self._pipe.recv()
                return found
        except EOFError:
            pass
        self._process.kill()
        self._process.join()
        self._start()
        return None, self._limit_s

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
