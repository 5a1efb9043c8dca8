r"""Read a number as it is written in an answer: `42`, `-7`, `1,234.50`, `3/4`, `2 1/2`, `50%`, `$18`, `5 km/h`.

A currency sign, a percent sign and one unit are read apart from the number. Words that change the number, as `5 million`
does, are no unit.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from everlearn.errors import GrammarError

MAX_DIGITS = 30
"""Most characters of a number."""
LONGEST_ANSWER = 200  # characters

_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+"
_FRACTION = r"(?:[0-9]+ ?/ ?[0-9]+|\\frac ?\{ ?[0-9]+ ?\} ?\{ ?[0-9]+ ?\})"
CURRENCY = "$\N{EURO SIGN}\N{POUND SIGN}\N{YEN SIGN}\N{INDIAN RUPEE SIGN}"
_UNIT = (
    r"(?:(?:square |cubic )?[A-Za-z]{1,20}(?:\^[23])?(?: ?(?:/|per ) ?[A-Za-z]{1,20}(?:\^[23])?)?|\N{DEGREE SIGN}[CF]?)"
)
_QUANTITY = re.compile(
    rf"(?:(?:[A-Za-z] ?)?= ?)?(?P<sign>[+-]?) ?(?P<before>[{CURRENCY}]?) ?(?P<inner>-?)"
    rf"(?:(?P<whole>[0-9]{{1,9}})(?: |(?=\\))(?P<part>{_FRACTION})|(?P<fraction>{_FRACTION})|(?P<number>{_DIGITS}))"
    rf" ?(?P<after>[{CURRENCY}]|%|percent\b)?(?: ?(?P<unit>{_UNIT}))?"
)
_SHORT_UNITS = frozenset(
    {
        *(
            "mm",
            "cm",
            "dm",
            "km",
            "mg",
            "kg",
            "ml",
            "mL",
            "cl",
            "dl",
            "ft",
            "yd",
            "mi",
            "lb",
            "lbs",
            "oz",
            "hr",
            "hrs",
            "min",
            "sec",
        ),
        *(
            "mph",
            "kph",
            "USD",
            "EUR",
            "GBP",
            "day",
            "men",
            "cup",
            "car",
            "egg",
            "pie",
            "pen",
            "hat",
            "box",
            "bag",
            "boy",
            "bus",
            "cow",
        ),
    }
)
"""Units of fewer than four letters; others of that length could be a product of letters, as in `3xy`."""
_NO_UNITS = frozenset(
    {
        *(
            "hundred",
            "hundreds",
            "thousand",
            "thousands",
            "million",
            "millions",
            "billion",
            "billions",
            "trillion",
            "trillions",
        ),
        *(
            "dozen",
            "dozens",
            "score",
            "gross",
            "half",
            "halves",
            "third",
            "thirds",
            "quarter",
            "quarters",
            "fourth",
            "fourths",
        ),
        *(
            "fifth",
            "fifths",
            "sixth",
            "sixths",
            "seventh",
            "sevenths",
            "eighth",
            "eighths",
            "ninth",
            "ninths",
            "tenth",
            "tenths",
        ),
        *(
            "hundredth",
            "hundredths",
            "thousandth",
            "thousandths",
            "percent",
            "percents",
            "percentage",
            "permille",
            "zero",
            "four",
        ),
        *(
            "five",
            "seven",
            "eight",
            "nine",
            "eleven",
            "twelve",
            "twenty",
            "over",
            "under",
            "plus",
            "minus",
            "times",
            "point",
        ),
        *(
            "about",
            "approximately",
            "roughly",
            "least",
            "most",
            "more",
            "less",
            "fewer",
            "than",
            "squared",
            "cubed",
            "root",
        ),
        *("factorial", "sqrt", "sinh", "cosh", "tanh", "modulo", "pair", "pairs", "double", "triple", "lakh", "crore"),
        *("remainder", "perhaps", "maybe", "also", "then", "wrong", "false", "lakhs", "crores", "kilo", "mega", "giga"),
    }
)
"""Words of four letters and more that change a number, or say more than a unit does."""
_BOLD = re.compile(r"^\*\*|\*\*(?=\.?$)")  # at the ends only: elsewhere it is a power
_CHARACTERS = str.maketrans(
    {
        "\N{MINUS SIGN}": "-",
        "\N{NO-BREAK SPACE}": " ",
        "\N{NARROW NO-BREAK SPACE}": " ",
        "\N{SUPERSCRIPT TWO}": "^2",
        "\N{SUPERSCRIPT THREE}": "^3",
        "\N{FRACTION SLASH}": "/",
    }
)
_LATEX = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        (r"\\[(\[)\]]|\\(?:left|right|displaystyle)(?![A-Za-z])", " "),
        (r"\\(?:[,;:! ]|q?quad(?![A-Za-z]))", " "),
        (r"\\(?:text|mathrm|textrm) ?\{([A-Za-z /^0-9]{0,40})\}", r" \1 "),
        (r"\\[dt]frac(?![A-Za-z])", r"\\frac"),
        (r"\\frac ?([0-9])([0-9])(?![0-9])", r"\\frac{\1}{\2}"),
        (r"\^ ?\\circ(?![A-Za-z])|\\degree(?![A-Za-z])", "\N{DEGREE SIGN}"),
        (r"\^ ?\{ ?([23]) ?\}", r"^\1"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number with what stands beside it. `value` is that of the digits: 50 for `50%`. `latex` are its digits as written."""

    value: Fraction
    latex: str
    is_percent: bool
    currency: str
    unit: str
    is_reduced: bool

    @property
    def amount(self) -> Fraction:
        """The value, a hundredth of it for a percentage."""
        return self.value / 100 if self.is_percent else self.value


def one_line(text: str) -> str:
    """Return a text in one line, without marks of LaTeX and Markdown, and without a full stop at its end."""
    text = text.translate(_CHARACTERS)
    for pattern, by in _LATEX:
        text = pattern.sub(by, text)
    text = _BOLD.sub("", " ".join(text.split())).strip()
    if len(text) > 1 and text.startswith("$") and text.endswith("$"):
        text = text.strip("$").strip()
    text = text.replace(r"\$", "$").replace(r"\%", "%")
    return text.removesuffix(".").rstrip()


def read_quantity(text: str) -> Quantity | None:
    """Return the number that a text of one line is; None if it is none.

    Raises:
        GrammarError: the number exceeds a limit, or divides by zero.
    """
    found = _QUANTITY.fullmatch(text)
    if found is None or (found["sign"] and found["inner"]):
        return None
    unit = found["unit"] or ""
    is_apart = not unit or text[found.start("unit") - 1] in " %"
    if not all(_is_unit(word, is_apart=is_apart) for word in re.findall("[A-Za-z]+", unit.replace(" per ", "/"))):
        return None
    number = found["number"] or found["fraction"] or f"{found['whole']} {found['part']}"
    if len(number) > MAX_DIGITS:
        raise GrammarError(f"a number of {len(number)} characters: at most {MAX_DIGITS} are accepted")
    value, is_reduced = _value(found)
    sign = "-" if "-" in (found["sign"], found["inner"]) else ""
    after = found["after"] or ""
    is_percent = after in ("%", "percent")
    currencies = {found["before"], "" if is_percent else after} - {""}
    if len(currencies) > 1 or (found["before"] and after):
        return None
    return Quantity(
        value=-value if sign else value,
        latex=f"{sign}{_latex(found)}",
        is_percent=is_percent,
        currency="".join(currencies),
        unit=_plain_unit(unit),
        is_reduced=is_reduced,
    )


def _is_unit(word: str, *, is_apart: bool) -> bool:
    """Return whether a word is a unit. Long ones are, if a space stands before them."""
    if len(word) < 4:
        return word in _SHORT_UNITS or word in ("C", "F")
    return is_apart and word.lower() not in _NO_UNITS and re.search("[aeiou]", word.lower()) is not None


def _value(found: re.Match[str]) -> tuple[Fraction, bool]:
    """Return the value, and whether it is written in lowest terms."""
    if found["number"]:
        return Fraction(found["number"].replace(",", "")), True
    top, bottom = (int(digits) for digits in re.findall("[0-9]+", found["fraction"] or found["part"]))
    if bottom == 0:
        raise GrammarError("a division by zero")
    is_reduced = math.gcd(top, bottom) == 1 and bottom > 1
    if found["fraction"]:
        return Fraction(top, bottom), is_reduced
    return int(found["whole"]) + Fraction(top, bottom), is_reduced and top < bottom


def _latex(found: re.Match[str]) -> str:
    if found["number"]:
        return found["number"]
    top, bottom = re.findall("[0-9]+", found["fraction"] or found["part"])
    return rf"{found['whole'] or ''}\frac{{{top}}}{{{bottom}}}"


def _plain_unit(unit: str) -> str:
    """Return a unit without the plural, in small letters: `apples` and `apple` are one."""
    words = unit.lower().replace(" per ", "/").replace(" /", "/").replace("/ ", "/")
    return "/".join(part.removesuffix("s") if len(part) > 2 else part for part in words.split("/"))
