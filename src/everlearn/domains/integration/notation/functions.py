"""Reader of functions: the base and the power at their name, and their argument with or without brackets."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from everlearn.domains.integration.grammar import DEFAULT, FUNCTIONS
from everlearn.domains.integration.notation.atoms import AtomReader
from everlearn.domains.integration.notation.cursor import ROOT_SIGNS, Shape
from everlearn.domains.integration.notation.tokens import FUNCTION, NAME, NUMBER, Token

if TYPE_CHECKING:
    from everlearn.domains.integration.grammar import Expression

MOST_FOLDED_POWER = 9  # of a function, as in sin^2 x: more is rather an exponent and an argument


class FunctionReader(AtomReader):
    """Reader of functions, and of the atoms in their arguments."""

    @abstractmethod
    def powered(self, base: Expression) -> Expression:
        """Read the exponent of a base, if there is one."""

    @abstractmethod
    def atom(self) -> Expression:
        """Read an atom or a function."""

    def function(self, token: Token) -> Expression:
        """Read a function: its base or power, if written at its name, and its argument."""
        name, base, power = "log" if token.value == "ln" else token.value, None, None
        following = self.token
        if token.value == "log" and following.kind == NUMBER and following.gap == 0 and not token.tex:
            base = self.base_of_log()
        elif token.value == "log" and self.symbol == "_":
            base = self.index()
        if self.symbol == "^":
            power = self.power_of_function(name)
            name, power = (f"a{name}", None) if power == -1 else (name, power)
        self.depth += 1
        tree: Expression = ("call", name, self.argument(name))
        self.depth -= 1
        if base is not None:
            tree = ("product", tree, ("inverse", ("call", "log", base)))
        return tree if power is None else ("power", tree, ("number", power))

    def base_of_log(self) -> Expression:
        """Read the base in log10(x) and log2(x), where a bracket must follow."""
        number, bracket = self.tokens[self.at], self.tokens[self.at + 1]
        if number.value not in (2, 10) or bracket.value != "(" or bracket.gap:
            raise self.error("is it the base or the argument of log? Write brackets")
        return ("number", self.take().value)

    def power_of_function(self, name: str) -> int:
        """Read the exponent in sin^2 x or sin^{-1} x."""
        self.take()
        tree = self.bracket() if self.symbol in ("(", "{") else self.factor_of_digits()
        power = -tree[1][1] if tree[0] == "negative" and tree[1][0] == "number" else tree[1]
        inverse = power == -1 and f"a{name}" in FUNCTIONS
        if name == "exp" or not (inverse or (tree[0] == "number" and power in range(2, MOST_FOLDED_POWER + 1))):
            raise self.error(f"the exponent of {name} has more than one meaning. Write brackets around the function")
        return int(power)

    def factor_of_digits(self) -> Expression:
        """Read a number with or without a sign."""
        minus = self.symbol == "-" and bool(self.take())
        number: Expression = (NUMBER, self.take().value)
        return ("negative", number) if minus else number

    def argument(self, name: str) -> Expression:
        """Read the argument of a function: a bracket, bars, or what belongs to it without brackets."""
        if self.depth > DEFAULT.depth:
            raise self.error(f"nested deeper than the {DEFAULT.depth} levels that are allowed")
        if self.symbol in ("(", "["):
            return self.bracket()
        if self.symbol == "|":
            return self.bars()
        if self.symbol == "{":
            bracketed = self.tokens[self.at + 1].value == "("
            tree = self.bracket()
            if self.symbol == "^" and not bracketed:
                raise self.error("is the exponent outside? Write brackets")
            return tree
        if self.token.kind == FUNCTION and self.token.value == "abs":
            return self.function(self.take())
        if name == "abs" or self.token.gap > 1:
            raise self.error(f"a bracket is missing after {name}")
        tree = self.argument_without_brackets()
        self.shape = Shape.ARGUMENT
        return tree

    def argument_without_brackets(self) -> Expression:
        """Read 2x, x^2, 2πx, a fraction, a root, e^x or another function."""
        factors: list[Expression] = []
        if self.token.kind == NUMBER:
            factors.append(self.number(self.take()))
        while self.token.kind == NAME and self.token.value not in ("e", "C") and not (factors and self.token.gap):
            factors.append(self.powered(self.name(self.take())))
        if not factors:
            if not (
                self.token.kind == FUNCTION
                or self.token.value == "e"
                or self.symbol == "\\frac"
                or self.symbol in ROOT_SIGNS
            ):
                raise self.error("the argument of the function is missing before it")
            factors.append(self.powered(self.atom()))
        return ("product", *factors) if len(factors) > 1 else factors[0]
