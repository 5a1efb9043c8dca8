"""Ask math-verify whether an answer equals a reference.

Its own time limits are off: they set signal handlers, which work in the main thread only and would stop inside a worker
that is watched from outside. The texts are short and were read by our grammar first. Only its LaTeX grammar is used,
because its reader of plain expressions evaluates Python. It rounds decimals to six places, so it alone decides nothing.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from everlearn.domains.equations.grammar import PI, Constant, EquationTree, Power, Quotient, SignedSum, Unknown
from everlearn.domains.numbers.quantities import Quantity
from everlearn.errors import BadInputError

try:  # at import, so that the process that workers are forked from has it
    import math_verify
except ImportError:
    math_verify = None

if TYPE_CHECKING:
    from everlearn.domains.numbers.references import Stated

EXTRA = "numbers"


class MathVerify:
    """math-verify, ready to be asked. Raises BadInputError if it is not installed."""

    def __init__(self) -> None:
        if math_verify is None:
            raise BadInputError(
                f"the domain numbers needs math-verify, which is not installed: pip install 'everlearn[{EXTRA}]'"
            )
        # It warns once a process that its time limits are off.
        logging.getLogger("math_verify").setLevel(logging.ERROR)
        self._config = (math_verify.LatexExtractionConfig(),)
        self._read("1.5")  # loads the tables of its grammar, which takes as long as a hundred answers

    def says_equal(self, reference: Stated, answer: Stated) -> bool | None:
        """Return whether the two are equal; None if math-verify cannot read one of them."""
        expected, given = self._read(latex(reference)), self._read(latex(answer))
        if not expected or not given:
            return None
        try:
            return bool(math_verify.verify(expected, given, timeout_seconds=None, raise_on_error=True))
        except (
            ArithmeticError,
            AttributeError,
            RecursionError,
            TypeError,
            ValueError,
        ):  # of SymPy, on what it cannot compare
            return None

    def _read(self, text: str) -> list[Any]:
        found: list[Any] = math_verify.parse(
            f"${text}$", extraction_config=self._config, fallback_mode="no_fallback", parsing_timeout=None
        )
        return found


def latex(stated: Stated) -> str:
    """Return the text that math-verify reads: the digits of a number as they are written, an expression in LaTeX."""
    if isinstance(stated, Quantity):
        return rf"\frac{{{stated.latex}}}{{100}}" if stated.is_percent else stated.latex
    return expression_latex(stated.tree)


def expression_latex(tree: EquationTree) -> str:
    """Return an expression in LaTeX, with brackets around every part."""
    match tree:
        case Constant(value):
            return str(value) if value.denominator == 1 else rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
        case Unknown(name):
            return r"\pi" if name == PI else name
        case SignedSum(terms):
            return " ".join(f"{'-' if sign < 0 else '+'} {_bracketed(term)}" for sign, term in terms).removeprefix("+ ")
        case Quotient(factors):
            text = "1"
            for place, (operation, factor) in enumerate(factors):
                part = _bracketed(factor)
                text = rf"\frac{{{text}}}{{{part}}}" if operation == "/" else rf"{text} \cdot {part}" if place else part
            return text
        case Power(base, exponent):
            return f"{_bracketed(base)}^{{{exponent}}}"
    return rf"\sqrt{{{expression_latex(tree.radicand)}}}"


def _bracketed(tree: EquationTree) -> str:
    text = expression_latex(tree)
    return text if isinstance(tree, Unknown) or (isinstance(tree, Constant) and text.isdecimal()) else f"({text})"
