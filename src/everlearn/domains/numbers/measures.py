"""Units that measure the same thing: an answer in another one than the question asks for is no right answer.

A reference often has no unit, and `5` is right for 5 dollars, `5 dollars` too, `5 cents` not.
"""

from __future__ import annotations

import re

from everlearn.domains.numbers.quantities import CURRENCY, Quantity

_MEASURES = (
    (
        "dollar dollars usd $",
        "euro euros eur \N{EURO SIGN}",
        "gbp \N{POUND SIGN}",
        "\N{YEN SIGN}",
        "\N{INDIAN RUPEE SIGN}",
        "cent cents",
        "penny pennies pennie pence",
        "dime dimes",
        "nickel nickels",
    ),
    (
        "mm millimeter millimeters millimetre millimetres",
        "cm centimeter centimeters centimetre centimetres",
        "dm decimeter decimeters decimetre decimetres",
        "meter meters metre metres",
        "km kilometer kilometers kilometre kilometres",
        "inch inches inche",
        "ft foot feet",
        "yd yard yards",
        "mi mile miles",
    ),
    (
        "mg milligram milligrams",
        "gram grams",
        "kg kilogram kilograms kilo kilos",
        "ton tons tonne tonnes",
        "oz ounce ounces",
        "lb lbs pound pounds",
    ),
    (
        "sec second seconds",
        "min minute minutes",
        "hr hrs hour hours",
        "day days",
        "week weeks",
        "month months",
        "year years",
        "decade decades",
    ),
    (
        "ml milliliter milliliters millilitre millilitres",
        "cl centiliter centiliters centilitre centilitres",
        "dl deciliter deciliters decilitre decilitres",
        "liter liters litre litres",
        "cup cups",
        "pint pints",
        "quart quarts",
        "gallon gallons",
    ),
    ("mph", "kph"),
)
"""The units of each measure, with all names of each."""
_UNITS = [{name: unit.split()[0] for unit in measure for name in unit.split()} for measure in _MEASURES]
_WORD = re.compile(rf"[a-z]+|[{CURRENCY}]")
_ASKED = re.compile("(?:how many|in) (?:more |full |whole |square |cubic )?([a-z]+)")


def has_another_unit(answer: Quantity, *, reference: Quantity, statement: str) -> bool:
    """Return whether an answer may be in another unit than the one that is asked for.

    A unit is compared with that of the reference if both measure the same thing. If the reference has none, the problem
    decides: the answer's unit is the only one that is asked for (`how many dollars`, `in dollars`), or the problem has
    no other one that measures the same thing.
    """
    text = statement.casefold()
    given, expected = (_words(f"{each.currency} {each.unit}") for each in (answer, reference))
    asked, named = set(_ASKED.findall(text)), _words(text)
    for units in _UNITS:
        own, wanted, question, others = (
            {units[word] for word in words if word in units} for words in (given, expected, asked, named)
        )
        is_right = own == wanted if wanted else own == question or others <= own
        if own and not is_right:
            return True
    return False


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text))
