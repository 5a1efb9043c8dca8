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

from enum import Enum, auto
from typing import TYPE_CHECKING

from everlearn.domains.integration.grammar import DEFAULT, FUNCTIONS
from everlearn.domains.integration.notation.tokens import END, FUNCTION, NAME, NUMBER, SYMBOL, Token, tokens
from everlearn.errors import GrammarError

if TYPE_CHECKING:
    from everlearn.domains.integration.grammar import Expression

MOST_FOLDED_POWER = 9  # of a function, as in sin^2 x: more is rather an exponent and an argument
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_TWO: Expression = ("number", 2)
IMAGINARY_UNIT: Expression = ("call", "sqrt", ("negative", ("number", 1)))
_ROOT_SIGNS = {"√": 2, "∛": 3, "∜": 4, "\\sqrt": 2}


_OPENING = frozenset({*_CLOSING, *_ROOT_SIGNS, "\\frac"})


class Shape(Enum):
    """How the last factor ended, which decides what may follow it."""

    OTHER = auto()
    NUMBER = auto()
    CLOSED = auto()  # in brackets, or a fraction
    BARS = auto()
    FRACTION = auto()
    E = auto()  # the name e without exponent
    NUMERIC_POWER = auto()  # an exponent that is a number without brackets
    NUMERIC_POWER_OF_E = auto()
    NAMED_POWER = auto()  # an exponent that is a name without brackets
    ARGUMENT = auto()  # a function whose argument has no brackets
    ARGUMENT_IN_POWER = auto()
    ROOT = auto()  # a root without brackets


def read(text: str, *, variable: str = "x") -> Expression:
    """Return the tree of a formula. The constant of integration is the name `C` in it.

    Raises:
        GrammarError: the formula cannot be read, has two readings, or exceeds a limit.
    """
    return _Reader(tokens(text, variable=variable)).whole()


class _Reader:
    """Recursive-descent reader of one list of tokens."""

    def __init__(self, found: list[Token]) -> None:
        self.tokens = found
        self.last_bar = max((at for at, token in enumerate(found) if token.value == "|"), default=-1)
        self.depth = 0
        self.in_bars = False
        self.shape = Shape.OTHER
        self.move(0)

    def move(self, at: int) -> None:
        """Go to a token. `symbol` is its text if it is a symbol, else empty."""
        self.at = at
        self.token = self.tokens[at]
        self.symbol = self.token.value if self.token.kind == SYMBOL else ""

    def take(self) -> Token:
        """Return the current token and go on to the next."""
        taken = self.token
        if taken.kind == END:
            raise self.error("the formula ends too early")
        self.move(self.at + 1)
        return taken

    def error(self, why: str) -> GrammarError:
        """Return the error at the current token."""
        return GrammarError(f"at {str(self.token.value)[:20]!r}: {why}" if self.token.value else f"at the end: {why}")

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
        if self.token.gap == following.gap == 1 and not self.written_in_tex():
            return
        if self.token.value == "*" and following.kind == FUNCTION and self.shape is Shape.ARGUMENT:
            return
        raise self.error("does the argument of the function end before it? Write brackets")

    def written_in_tex(self) -> bool:
        """Return whether the formula is LaTeX, where spaces mean nothing."""
        return any(token.tex for token in self.tokens)

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
        if self.symbol in _CLOSING:
            return self.bracket()
        if self.symbol == "|":
            return self.bars()
        if self.symbol == "\\frac":
            return self.fraction()
        if self.symbol in _ROOT_SIGNS:
            return self.root()
        if self.token.kind in (SYMBOL, END):
            raise self.error("a number, a name or a bracket is missing before it")
        token = self.take()
        if token.kind == FUNCTION:
            return self.root(token.value) if token.value in ("sqrt", "cbrt") else self.function(token)
        return self.number(token) if token.kind == NUMBER else self.name(token)

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
        return IMAGINARY_UNIT if token.value == "i" else ("name", token.value)

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
        closing = _CLOSING[self.take().value]
        outer, self.in_bars = self.in_bars, False
        tree = self.sum()
        self.in_bars = outer
        if self.symbol != closing:
            raise self.error(f"a closing {closing} is missing before it")
        self.take()
        self.shape = Shape.CLOSED
        return tree

    def bars(self) -> Expression:
        """Read |…| as the root of the square, which it is for real arguments."""
        self.take()
        outer, self.in_bars = self.in_bars, True
        tree = self.sum()
        self.in_bars = outer
        if self.symbol != "|":
            raise self.error("a closing | is missing before it")
        self.take()
        self.shape = Shape.BARS
        return _absolute(tree)

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
            return IMAGINARY_UNIT if token.value == "i" else (token.kind, token.value)
        raise self.error("braces are missing before it")

    def root(self, name: str | None = None) -> Expression:
        """Read a root and what is under it; `name` is that of a function that was already taken."""
        degree, tex = 3 if name == "cbrt" else 2, False
        if name is None:
            sign = self.take()
            degree, tex = _ROOT_SIGNS[sign.value], sign.tex
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
        if self.symbol in _CLOSING:
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

    def function(self, token: Token) -> Expression:
        """Read a function: its base or power, if written at its name, and its argument."""
        name, base, power = token.value, None, None
        following = self.token
        if name == "log" and following.kind == NUMBER and following.gap == 0 and not token.tex:
            base = self.base_of_log()
        elif name == "log" and self.symbol == "_":
            base = self.index()
        if self.symbol == "^":
            power = self.power_of_function(name)
            name, power = (f"a{name}", None) if power == -1 else (name, power)
        self.depth += 1
        tree = _call(name, self.argument(name))
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
                or self.symbol in _ROOT_SIGNS
            ):
                raise self.error("the argument of the function is missing before it")
            factors.append(self.powered(self.atom()))
        return ("product", *factors) if len(factors) > 1 else factors[0]


def _absolute(tree: Expression) -> Expression:
    return ("call", "sqrt", ("power", tree, _TWO))


def _reciprocal(degree: int) -> Expression:
    return ("product", ("number", 1), ("inverse", ("number", degree)))


def _call(name: str, argument: Expression) -> Expression:
    """Return a function of an argument. Raises GrammarError if the strict grammar has no such function."""
    if name == "abs":
        return _absolute(argument)
    if name not in FUNCTIONS:
        raise GrammarError(f"there is no theory of {name} here")
    return ("call", name, argument)
