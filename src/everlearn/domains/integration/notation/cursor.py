"""The tokens of a formula, the place that was reached in them, and how the last factor ended."""

from __future__ import annotations

from enum import Enum, auto

from everlearn.domains.integration.notation.tokens import END, SYMBOL, Token
from everlearn.errors import GrammarError

CLOSING = {"(": ")", "[": "]", "{": "}"}
ROOT_SIGNS = {"√": 2, "∛": 3, "∜": 4, "\\sqrt": 2}


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


class Cursor:
    """A list of tokens, of which one is the current one. `symbol` is its text if it is a symbol, else empty."""

    def __init__(self, found: list[Token]) -> None:
        self.tokens = found
        self.last_bar = max((at for at, token in enumerate(found) if token.value == "|"), default=-1)
        self.is_tex = any(token.tex for token in found)  # where spaces mean nothing
        self.depth = 0
        self.in_bars = False
        self.shape = Shape.OTHER
        self.move(0)

    def move(self, at: int) -> None:
        """Go to a token."""
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
