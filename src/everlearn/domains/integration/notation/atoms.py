"""Reader of the atoms of a formula: numbers, names, brackets, bars, fractions and roots."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from everlearn.domains.integration.notation.cursor import CLOSING, ROOT_SIGNS, Cursor, Shape
from everlearn.domains.integration.notation.tokens import NAME, NUMBER, Token

if TYPE_CHECKING:
    from everlearn.domains.integration.grammar import Expression


class AtomReader(Cursor, ABC):
    """Reader of everything that is no function. A bracket holds a sum, which `reader.py` reads."""

    @abstractmethod
    def sum(self) -> Expression:
        """Read terms separated by signs."""

    @abstractmethod
    def starts_factor(self) -> bool:
        """Return whether the current token begins a factor."""

    def number(self, token: Token) -> Expression:
        """Return a number, or the hundredth of it before %."""
        self.shape = Shape.NUMBER
        if self.symbol == "%":
            self.take()
            if self.starts_factor():
                raise self.error("% before a factor: write * between them")
            return ("product", ("number", token.value), ("inverse", ("number", 100)))
        return ("number", token.value)

    def name(self, token: Token) -> Expression:
        """Return x, e, pi, the imaginary unit, or the constant of integration with its index."""
        self.shape = Shape.E if token.value == "e" else Shape.OTHER
        if token.value == "C" and (self.symbol == "_" or (self.token.kind == NUMBER and self.token.gap == 0)):
            self.index()
        return ("name", token.value)

    def index(self) -> Expression:
        """Read a number as an index, with or without _ and braces."""
        if self.symbol == "_":
            self.take()
        tree = self.bracket() if self.symbol == "{" else ("number", self.take().value)
        self.shape = Shape.OTHER
        if tree[0] != "number" or not isinstance(tree[1], int):
            raise self.error("an index that is no number before it")
        return tree

    def bracket(self) -> Expression:
        """Read a bracket of any kind."""
        closing = CLOSING[self.take().value]
        outer, self.in_bars = self.in_bars, False
        tree = self.sum()
        self.in_bars = outer
        if self.symbol != closing:
            raise self.error(f"a closing {closing} is missing before it")
        self.take()
        self.shape = Shape.CLOSED
        return tree

    def bars(self) -> Expression:
        """Read |…|."""
        self.take()
        outer, self.in_bars = self.in_bars, True
        tree = self.sum()
        self.in_bars = outer
        if self.symbol != "|":
            raise self.error("a closing | is missing before it")
        self.take()
        self.shape = Shape.BARS
        return ("call", "abs", tree)

    def fraction(self) -> Expression:
        r"""Read the two arguments of \frac."""
        self.take()
        above, below = self.argument_of_command(), self.argument_of_command()
        numeric = above[0] == below[0] == "number"
        self.shape = Shape.FRACTION if numeric else Shape.CLOSED
        return ("product", above, ("inverse", below))

    def argument_of_command(self) -> Expression:
        """Read braces, or one digit or name."""
        if self.symbol == "{":
            return self.bracket()
        token = self.take()
        if token.kind == NAME or (token.kind == NUMBER and token.value in range(10)):
            return (token.kind, token.value)
        raise self.error("braces are missing before it")

    def root(self, name: str | None = None) -> Expression:
        """Read a root and what is under it; `name` is that of a function that was already taken."""
        degree, tex = 3 if name == "cbrt" else 2, False
        if name is None:
            sign = self.take()
            degree, tex = ROOT_SIGNS[sign.value], sign.tex
            if tex and self.symbol == "[":
                degree = self.degree()
        tree = self.radicand(tex=tex)
        return ("call", "sqrt", tree) if degree == 2 else ("power", tree, _reciprocal(degree))

    def degree(self) -> int:
        r"""Read the degree in \sqrt[3]{x}."""
        tree = self.bracket()
        if tree[0] != "number" or tree[1] not in range(2, 100):
            raise self.error("a root whose degree is no small number before it")
        return int(tree[1])

    def radicand(self, *, tex: bool) -> Expression:
        """Read what is under a root: a bracket, or one number, name or fraction."""
        if self.symbol in CLOSING:
            return self.bracket()
        if self.symbol == "|":
            return self.bars()
        if self.symbol == "\\frac":
            return self.fraction()
        token = self.take()
        if token.kind == NUMBER and not (tex and token.value not in range(10)):
            tree = ("number", token.value)
        elif token.kind == NAME:
            tree = self.name(token)
        else:
            raise self.error("a bracket is missing after the root")
        self.shape = Shape.ROOT
        return tree


def _reciprocal(degree: int) -> Expression:
    return ("product", ("number", 1), ("inverse", ("number", degree)))
