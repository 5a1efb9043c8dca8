"""Reader of a formula in usual notation. It returns a tree of `grammar.py`, and evaluates nothing.

    sum      = product (("+" | "-") product)*
    product  = factor (("*" | "/" | nothing) factor)*
    factor   = ("+" | "-") factor  |  atom ["^" factor]
    atom     = number | name | bracket | "|" sum "|" | fraction | root | function argument

This is the strict grammar with products by juxtaposition, functions without brackets, bars, fractions and roots. What
mathematicians read in two ways is refused, since a guess could reward a wrong answer:

    1/2x   1/x sin x            what follows the denominator: `1/2 x` and `(1/2)x` are one half of x
    e^2x   x^2x                 what is in the exponent: `e^2 sin(x)`, `e^(2x)` and `e^{2x}` are clear
    sin x/2   sin 2*x   sin x(x+1)   what is in the argument: `sin x / 2`, `sin x cos x`, `sin 2x` and `(sin x)/2` are clear
    √2x   √x^2                  what is under the root
    |x|x|x|                     which bars belong together: `|x|·x·|x|` and `abs(x)x|x|` are clear
    x2   2 3   (x+1)2   2 1/2x  a number after a factor, which may be an exponent
    ex   e(x)                   e before a factor, which may be its exponent
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.domains.integration.grammar import DEFAULT
from everlearn.domains.integration.notation.cursor import CLOSING, ROOT_SIGNS, Shape
from everlearn.domains.integration.notation.functions import FunctionReader
from everlearn.domains.integration.notation.tokens import END, FUNCTION, NAME, NUMBER, SYMBOL, Token, tokens

if TYPE_CHECKING:
    from everlearn.domains.integration.grammar import Expression

_OPENING = frozenset({*CLOSING, *ROOT_SIGNS, "\\frac"})


def read(text: str, *, variable: str = "x") -> Expression:
    """Return the tree of a formula. The constant of integration is the name `C` in it.

    Raises:
        GrammarError: the formula cannot be read, has two readings, or exceeds a limit.
    """
    return _Reader(tokens(text, variable=variable)).whole()


class _Reader(FunctionReader):
    """Recursive-descent reader of one list of tokens."""

    def whole(self) -> Expression:
        """Read all tokens."""
        tree = self.sum()
        if self.token.kind != END:
            raise self.error("nothing of the kind may follow here")
        return tree

    def sum(self) -> Expression:
        """Read terms separated by signs."""
        terms = [self.product()]
        while self.symbol in ("+", "-"):
            minus = self.take().value == "-"
            term = self.product()
            terms.append(("negative", term) if minus else term)
        return ("sum", *terms) if len(terms) > 1 else terms[0]

    def product(self) -> Expression:
        """Read factors that are multiplied, divided, or written side by side."""
        factors = [self.factor()]
        slash: Token | None = None  # before the last factor
        while True:
            if self.symbol in ("*", "/"):
                self.check_operator()
                operator = self.take()
                factor = self.factor()
                slash = operator if operator.value == "/" else None
                factors.append(("inverse", factor) if slash else factor)
            elif self.starts_factor():
                self.check_neighbour(slash)
                factors.append(self.neighbour())
                slash = None
            else:
                return ("product", *factors) if len(factors) > 1 else factors[0]

    def starts_factor(self) -> bool:
        """Return whether the current token begins a factor."""
        if self.symbol == "|":
            return not self.in_bars
        return self.token.kind in (NUMBER, NAME, FUNCTION) or self.symbol in _OPENING

    def check_operator(self) -> None:
        """Refuse * and / after an argument without brackets, unless spaces or a function separate them."""
        if self.shape not in (Shape.ARGUMENT, Shape.ARGUMENT_IN_POWER):
            return
        following = self.tokens[self.at + 1]
        if self.token.gap == following.gap == 1 and not self.is_tex:
            return
        if self.token.value == "*" and following.kind == FUNCTION and self.shape is Shape.ARGUMENT:
            return
        raise self.error("does the argument of the function end before it? Write brackets")

    def check_neighbour(self, slash: Token | None) -> None:
        """Refuse a factor beside the last one, without an operator, if there are two readings."""
        token, shape = self.token, self.shape
        function = token.kind == FUNCTION or self.symbol == "\\sqrt"
        apart = token.gap == 1 or token.tex
        if token.kind == NUMBER or token.gap > 1:
            raise self.error("a number or a new line after a factor: write an operator between them")
        if slash and (slash.gap or not apart or shape not in (Shape.NUMBER, Shape.CLOSED, Shape.BARS)):
            raise self.error("is it below the fraction bar? Write brackets")
        if shape is Shape.BARS and self.at <= self.last_bar and not function:
            raise self.error("which bars belong together? Write abs( )")
        if shape is Shape.E:
            raise self.error("e before a factor: write e^ or e*")
        if shape is Shape.ARGUMENT_IN_POWER or (shape is Shape.ARGUMENT and not function):
            raise self.error("does the argument of the function end before it? Write brackets")
        if shape is Shape.ROOT and not apart and not function:
            raise self.error("is it under the root? Write brackets")
        named = token.kind == NAME and token.value != "e"
        if (shape in (Shape.NUMERIC_POWER, Shape.NUMERIC_POWER_OF_E, Shape.NAMED_POWER) and named and not apart) or (
            shape is Shape.NUMERIC_POWER_OF_E and not function
        ):
            raise self.error("is it in the exponent? Write brackets")

    def neighbour(self) -> Expression:
        """Read the factor beside the last one."""
        after_number = self.shape is Shape.NUMBER
        tree = self.factor()
        if after_number and self.shape is Shape.FRACTION:
            raise self.error("a fraction after a number: write + or * between them")
        return tree

    def factor(self) -> Expression:
        """Read a signed factor, or an atom with its exponent."""
        self.depth += 1
        if self.depth > DEFAULT.depth:
            raise self.error(f"nested deeper than the {DEFAULT.depth} levels that are allowed")
        if self.symbol in ("+", "-"):
            minus = self.take().value == "-"
            inner = self.factor()
            tree = ("negative", inner) if minus else inner
        else:
            tree = self.powered(self.atom())
        self.depth -= 1
        return tree

    def powered(self, base: Expression) -> Expression:
        """Read the exponent of a base, if there is one."""
        if self.symbol != "^":
            return base
        if self.shape in (Shape.ROOT, Shape.ARGUMENT):
            raise self.error("is the exponent outside? Write brackets")
        self.take()
        exponent = self.factor()
        numeric = Shape.NUMERIC_POWER_OF_E if base == ("name", "e") else Shape.NUMERIC_POWER
        self.shape = {
            Shape.NUMBER: numeric,
            Shape.ROOT: Shape.ARGUMENT_IN_POWER,
            Shape.ARGUMENT: Shape.ARGUMENT_IN_POWER,
            Shape.E: Shape.ARGUMENT_IN_POWER,
            Shape.CLOSED: Shape.CLOSED,
            Shape.BARS: Shape.CLOSED,
        }.get(self.shape, Shape.NAMED_POWER)
        return ("power", base, exponent)

    def atom(self) -> Expression:
        """Read a number, a name, a bracket, bars, a fraction, a root or a function with its argument."""
        if self.symbol in CLOSING:
            return self.bracket()
        if self.symbol == "|":
            return self.bars()
        if self.symbol == "\\frac":
            return self.fraction()
        if self.symbol in ROOT_SIGNS:
            return self.root()
        if self.token.kind in (SYMBOL, END):
            raise self.error("a number, a name or a bracket is missing before it")
        token = self.take()
        if token.kind == FUNCTION:
            return self.root(token.value) if token.value in ("sqrt", "cbrt") else self.function(token)
        return self.number(token) if token.kind == NUMBER else self.name(token)
