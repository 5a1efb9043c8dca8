"""Tokens of a formula in usual notation: plain text, LaTeX, Unicode, or the syntax of a computer algebra system.

A token has a kind, a value, and the gap before it: 0 for none, 1 for white space, 2 for a line break. Spaces decide some
readings (`reader.py`). Letters that stand together are one name, or names that can be told apart: `xsinx` is `x sin x`.
Any other character or word is an error, so that nothing is left out silently.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

from everlearn.domains.integration.grammar import DEFAULT, FUNCTIONS
from everlearn.errors import GrammarError

NUMBER, NAME, FUNCTION, SYMBOL, END = "number", "name", "function", "symbol", "end"
CONSTANT_OF_INTEGRATION = "C"


class Token(NamedTuple):
    """One token. `tex`: it was written as a LaTeX command."""

    kind: str
    value: Any
    gap: int
    tex: bool = False


_TRIGONOMETRIC = ("sin", "cos", "tan", "cot", "sec", "csc")
_HYPERBOLIC = tuple(f"{name}h" for name in _TRIGONOMETRIC)
_OTHER_NAMES = dict(
    pair.split("=")
    for pair in (
        *("ln=ln", "log=log", "exp=exp", "sqrt=sqrt", "cbrt=cbrt", "abs=abs"),
        *("tg=tan", "ctg=cot", "cotg=cot", "cotan=cot", "cosec=csc", "cosech=csch"),
        *("arctg=atan", "arcctg=acot", "arccotan=acot", "arccosec=acsc"),
        *("sh=sinh", "ch=cosh", "th=tanh", "cth=coth"),
    )
)
_NAMED: dict[str, str] = {
    **{name: name for name in (*_TRIGONOMETRIC, *_HYPERBOLIC)},
    **{f"{arc}{name}": f"a{name}" for name in (*_TRIGONOMETRIC, *_HYPERBOLIC) for arc in ("a", "arc")},
    **{f"ar{name}": f"a{name}" for name in _HYPERBOLIC},
    **_OTHER_NAMES,
}
FUNCTION_NAMES = {name: strict for name, strict in _NAMED.items() if strict in FUNCTIONS | {"ln", "cbrt"}}
"""The names that are read, and the function of the strict grammar that each one is; `ln` and `cbrt` are rewritten."""
_CONSTANTS = {"e": "e", "E": "e", "pi": "pi", "Pi": "pi", "PI": "pi", "π": "pi", "i": "i", "I": "i"}
_OF_INTEGRATION = frozenset({"C", "c", "K", "k", "const", "Const", "constant", "Constant"})

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ˣᐟ", "0123456789+-()x/")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("−–‐‑﹣", "-"),
        **dict.fromkeys("×·⋅∙•∗✕", "*"),
        **dict.fromkeys("÷∕⁄", "/"),
        **dict.fromkeys("∣", "|"),
        **dict.fromkeys("\u200b\u2060\u2061\u2062\u2063\u2064\ufeff", None),
        "ˆ": "^",
        "ℯ": "e",
        "ⅇ": "e",
        "ⅈ": "i",
        **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
    }
)
_VULGAR = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"

_BAR = r"(?:\||\\[lr]?vert(?![A-Za-z]))"
_SIZE = r"(?:left|right|[bB]igg?[lr]?|middle|displaystyle|textstyle|limits|nolimits)(?![A-Za-z])"
_TEXT = r"\\(?:mathrm|operatorname\*?|text|textrm|textit|mathit|mathop|mathbf|mathsf|boldsymbol)"
_REWRITES: tuple[tuple[re.Pattern[str], Any], ...] = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        (r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ˣᐟ]+", lambda found: f"^({found[0].translate(_SUPERSCRIPTS)})"),
        (r"[₀₁₂₃₄₅₆₇₈₉]+", lambda found: f"_{{{found[0].translate(_SUBSCRIPTS)}}}"),
        (r"[\U0001D400-\U0001D7FF]", lambda found: unicodedata.normalize("NFKC", found[0])),
        (_TEXT + r" ?\{ ?([A-Za-z]{1,12})\.? ?\}", lambda found: found[1] if len(found[1]) == 1 else f"\\{found[1]} "),
        (rf"\\(?:left|[bB]igg?l) ?{_BAR}|\\lvert(?![A-Za-z])", r"\\abs("),
        (rf"\\(?:right|[bB]igg?r) ?{_BAR}|\\rvert(?![A-Za-z])", ")"),
        (rf"\\{_SIZE}", ""),
        (r"\\[,;:! ]|\\q?quad(?![A-Za-z])|~", " "),
        (r"\\\{", "("),
        (r"\\\}", ")"),
        (r"\\%", "%"),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\frac ?([0-9]) ?([0-9a-z])", r"\\frac{\1}{\2}"),
        (r"\\(?:cdot|times|ast)(?![A-Za-z])", "*"),
        (r"\\div(?![A-Za-z])", "/"),
        (r"\\vert(?![A-Za-z])", "|"),
    )
)
_MODULE = re.compile(r"\b(?:math|cmath|Math|np|numpy|sp|sympy)\.(?=[A-Za-z])")
_TOKEN = re.compile(
    rf"""\s*(?:
        (?P<grouped>[1-9][0-9]{{0,2}}(?:,[0-9]{{3}})+(?:\.[0-9]+)?(?![0-9,]))
      | (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?P<power>[eE][+-]?[0-9]+(?![0-9.]))?)
      | (?P<vulgar>[{_VULGAR}])
      | \\(?P<command>[A-Za-z]+)
      | (?P<word>[A-Za-zπθφ]+)
      | (?P<symbol>\*\*|[-+*/^()\[\]{{}}|_%√∛∜])
    )""",
    re.VERBOSE,
)
_ROOTS = {"√": 2, "∛": 3, "∜": 4}
_LARGEST_POWER_OF_TEN = DEFAULT.digits


def tokens(text: str, *, variable: str = "x") -> list[Token]:
    """Return the tokens of a formula, and one that marks the end. `variable` is read as x.

    Raises:
        GrammarError: a character or word is no part of any notation that is read, or a limit is exceeded.
    """
    if len(text) > DEFAULT.length:
        raise GrammarError(f"an expression of {len(text)} characters; at most {DEFAULT.length} are allowed")
    return _lex(_plain(text).rstrip(), variable.lower())


def _plain(text: str) -> str:
    """Return the text with the characters and commands that have a plainer equivalent replaced."""
    plain = _MODULE.sub("", text) if "." in text else text
    if plain.isascii() and "\\" not in plain and "~" not in plain:
        return plain
    plain = plain.translate(_CHARACTERS)
    for pattern, by in _REWRITES:
        plain = pattern.sub(by, plain)
    return plain


def _lex(text: str, variable: str) -> list[Token]:
    at = 0
    found: list[Token] = []
    letters: set[str] = set()
    for match in _TOKEN.finditer(text):
        if match.start() != at:
            break
        kind = str(match.lastgroup)
        start, end = match.span(kind)
        gap = 0 if start == at else 2 if "\n" in text[at:start] else 1
        at = end
        if kind == "symbol":
            found.append(_symbol(match[kind], gap))
        elif kind == "word":
            named = _named(match[kind], gap, variable)
            found += named.tokens
            letters.update(named.letters)
        elif kind == "command":
            found.append(_command(match[kind], gap))
        else:
            found.append(Token(NUMBER, _number(match, following=text[end : end + 1]), gap))
    if at < len(text):
        raise GrammarError(f"{text[at:].lstrip()[:1]!r} cannot be read in a formula")
    if len(letters) > 1:
        raise GrammarError(f"more than one variable: {', '.join(sorted(letters))}")
    return [*found, Token(END, "", 1)]


@lru_cache(maxsize=128)
def _symbol(symbol: str, gap: int) -> Token:
    return Token(SYMBOL, "^" if symbol == "**" else symbol, gap)


@lru_cache(maxsize=256)
def _command(name: str, gap: int) -> Token:
    """Return the token of a LaTeX command."""
    if name in ("frac", "sqrt"):
        return Token(SYMBOL, f"\\{name}", gap, tex=True)
    if name in FUNCTION_NAMES:
        return Token(FUNCTION, FUNCTION_NAMES[name], gap, tex=True)
    if name in ("pi", "const", "constant"):
        return Token(NAME, "pi" if name == "pi" else CONSTANT_OF_INTEGRATION, gap)
    raise GrammarError(f"the command \\{name[:20]} is not known")


class _Named(NamedTuple):
    """The tokens of letters that stand together, and the variables among them as they are written."""

    tokens: tuple[Token, ...]
    letters: tuple[str, ...]


@lru_cache(maxsize=1024)
def _named(word: str, gap: int, variable: str) -> _Named:
    """Return the name that the letters are, or the names in them."""
    whole = _name(word, gap, variable)
    if whole is None and word.lower() in FUNCTION_NAMES:
        whole = Token(FUNCTION, FUNCTION_NAMES[word.lower()], gap)
    if whole is not None:
        return _Named((whole,), (word,) if whole.value == "x" else ())
    pieces = _splitter(variable).findall(word)
    if sum(map(len, pieces)) < len(word):
        raise GrammarError(f"{word[:20]!r} is not known")
    gaps = (gap, *[0] * (len(pieces) - 1))
    names = [
        _name(piece, before, variable) or Token(FUNCTION, FUNCTION_NAMES[piece], before)
        for piece, before in zip(pieces, gaps, strict=True)
    ]
    return _Named(tuple(names), tuple(piece for piece in pieces if piece in ("x", variable)))


def _name(word: str, gap: int, variable: str) -> Token | None:
    """Return the token of a variable or constant, or None."""
    if word.lower() in ("x", variable):
        return Token(NAME, "x", gap)
    if word in _CONSTANTS:
        return Token(NAME, _CONSTANTS[word], gap)
    return Token(NAME, CONSTANT_OF_INTEGRATION, gap) if word in _OF_INTEGRATION else None


@lru_cache(maxsize=64)
def _splitter(variable: str) -> re.Pattern[str]:
    """Return the pattern of a name within letters that stand together, the longest one first.

    `e` is the last one, since `ex` is what remains of e^x where superscripts were lost; `i` is only in `ix`.
    """
    names = sorted((name for name in FUNCTION_NAMES if len(name) > 2 or name == "ln"), key=len, reverse=True)
    return re.compile(rf"{'|'.join(names)}|pi|π|{'|'.join({'x', variable})}|e$|^i(?=x$)")


def _number(match: re.Match[str], *, following: str) -> Fraction | int:
    """Return the value of a number, within the limits. `following` is the character after it."""
    if match["power"] and (following.isalpha() or following in tuple("([{\\|")):
        raise GrammarError(f"{match['number']!r} before a factor: write * between them")
    if match["vulgar"]:
        return Fraction(unicodedata.normalize("NFKC", match["vulgar"]).replace("⁄", "/"))
    text = (match["grouped"] or match["number"]).replace(",", "")
    if text.isdecimal() and len(text) <= DEFAULT.digits:
        return int(text)
    if len(text) > DEFAULT.digits or abs(int((match["power"] or "e0")[1:])) > _LARGEST_POWER_OF_TEN:
        raise GrammarError(f"a number of more than {DEFAULT.digits} digits")
    value = Fraction(text.rstrip(".") if not match["power"] else text.lower().replace(".e", "e"))
    return int(value) if value.denominator == 1 else value
