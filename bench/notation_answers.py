"""Right and wrong answers in many notations, whose truth is known without the reader or the verifier.

Antiderivatives are SymPy expressions. SymPy prints them (LaTeX in several styles, Python, Mathematica), or a printer of
plain text here does, as people write: `x²/2`, `ln x`, `2x e^(3x)`. Then words, delimiters and a constant are written
around them. A wrong answer is a right one with a sign, a factor or an exponent changed, or a term missing; it counts as
wrong where its derivative really differs, which mpmath decides.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sympy
from sympy.printing.mathematica import mathematica_code
from sympy.printing.pycode import pycode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

X = sympy.Symbol("x")
_POINTS = ("0.31", "0.57", "0.83")
_SAME = 1e-12
_FAMILIES = """
    x**a/a
    b*x**a
    -x**(-a)/a
    2*x**(a + sympy.Rational(1, 2))/b
    sympy.exp(a*x)/a
    -sympy.exp(-x)
    (x - 1)*sympy.exp(x)
    (a*x - 1)*sympy.exp(a*x)/a**2
    -sympy.cos(a*x)/a
    sympy.sin(x)**2/a
    sympy.sin(x)**a*sympy.cos(x)
    x*sympy.sin(x) + sympy.cos(x)
    sympy.log(x)/a
    sympy.log(x)**2/2
    x*sympy.log(x) - x
    sympy.log(x**2 + b)/2
    b*sympy.log(a*x + 1)
    sympy.atan(x/a)/a
    x*sympy.atan(x) - sympy.log(x**2 + 1)/2
    sympy.asin(x/2)
    sympy.sqrt(x**2 + a)
    sympy.sqrt(x)*b
    sympy.tan(a*x)/a
    sympy.exp(x)*(sympy.sin(x) - sympy.cos(x))/2
    sympy.sinh(x)*b
    sympy.log(sympy.cosh(x))
    sympy.log(x + 1) - sympy.log(x + b)
    x/(x + a)
    sympy.exp(x**2)/b
    sympy.pi*x**a/b
"""
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """An answer to a problem of the strict grammar, and the truth about it."""

    problem: str
    answer: str
    right: bool


def draw(*, count: int, seed: int, wrong: float = 0.4) -> list[Written]:
    """Return `count` distinct answers, of which a share of about `wrong` are wrong."""
    rng = random.Random(seed)
    found: dict[tuple[str, str], Written] = {}
    while len(found) < count:
        tree = sum((_family(rng) for _ in range(rng.choice((1, 1, 1, 2, 3)))), sympy.Integer(0))
        integrand = sympy.diff(tree, X)
        given = _spoilt(tree, rng) if rng.random() < wrong else tree
        problem = str(integrand).replace("**", "^")
        right = given is tree
        if given is None or (not right and _agree(given, tree)):
            continue
        answer = rng.choice(_AROUND)(rng.choice(_PRINTERS)(given), problem)
        found.setdefault((problem, answer), Written(problem=problem, answer=answer, right=right))
    return list(found.values())


def _family(rng: random.Random) -> Any:
    """Return a random member of a family, an expression of SymPy. The families are constants of this file."""
    source = rng.choice(_FAMILIES.split("\n")[1:-1])
    code = compile(source.strip(), "<family>", "eval")
    names = {"sympy": sympy, "x": X, "a": sympy.Integer(rng.randint(2, 5)), "b": sympy.Integer(rng.randint(2, 9))}
    return eval(code, names) * rng.choice((1, 1, -1))  # noqa: S307


def _spoilt(tree: Any, rng: random.Random) -> Any:
    """Return a tree with a sign, a factor or an exponent changed, or without a term; None where that cannot be."""
    terms = list(sympy.Add.make_args(tree))
    at = rng.randrange(len(terms))
    how = rng.choice(("sign", "factor", "exponent", "missing"))
    if how == "missing" and len(terms) > 1:
        return sum(terms[:at] + terms[at + 1 :], sympy.Integer(0))
    if how == "exponent":
        powers = sorted((part for part in tree.atoms(sympy.Pow) if part.exp.is_Integer), key=str)
        return tree.xreplace({powers[0]: powers[0].base ** (powers[0].exp + 1)}) if powers else None
    changed = terms[at] * (-1 if how == "sign" else rng.choice((2, sympy.Rational(1, 2), 3)))
    return sum([*terms[:at], changed, *terms[at + 1 :]], sympy.Integer(0))


def _agree(one: Any, other: Any) -> bool:
    """Return whether two expressions have the same derivative at the points."""
    slope = sympy.diff(one - other, X)
    return all(abs(complex(slope.subs(X, sympy.Float(point)).evalf(30))) < _SAME for point in _POINTS)


def plain(tree: Any) -> str:
    """Return a tree as people write it in plain text."""
    text = str(tree).replace("**", "^")
    text = re.sub(r"exp\(([a-z0-9*^]+)\)", r"e^(\1)", text)
    text = re.sub(r"(?<=[0-9])\*(?=[a-z(])", "", text)
    return re.sub(r"\blog\b", "ln", text)


def _spaced(tree: Any) -> str:
    return re.sub(r"\*", " ", plain(tree))


def _superscript(tree: Any) -> str:
    return re.sub(r"(?<=[x)])\^([0-9]+)", lambda found: found[1].translate(_SUPERSCRIPTS), plain(tree))


def _unicode(tree: Any) -> str:
    return _superscript(tree).replace("-", "\N{MINUS SIGN}").replace("*", "·").replace("sqrt", "√").replace("pi", "π")


def _without_brackets(tree: Any) -> str:
    return re.sub(r"\b(sin|cos|tan|ln)\(([2-9]?x)\)(?![\^/*])", r"\1 \2", plain(tree))


def _fraction_first(tree: Any) -> str:
    found = re.fullmatch(r"([^/+ -]+)/([0-9]+)", plain(tree))
    return f"1/{found[2]} {found[1]}" if found else plain(tree)


_PRINTERS: tuple[Callable[[Any], str], ...] = (
    plain,
    _spaced,
    _superscript,
    _unicode,
    _without_brackets,
    _fraction_first,
    str,
    sympy.latex,
    lambda tree: sympy.latex(tree, ln_notation=True, inv_trig_style="power"),
    lambda tree: sympy.latex(tree, mul_symbol="dot", inv_trig_style="full"),
    lambda tree: sympy.latex(tree, fold_func_brackets=True, ln_notation=True),
    lambda tree: sympy.latex(tree).replace("\\left", "").replace("\\right", ""),
    mathematica_code,
    lambda tree: pycode(tree, fully_qualified_modules=True),
)
_AROUND: tuple[Callable[[str, str], str], ...] = (
    lambda text, _: text,
    lambda text, _: text,
    lambda text, _: f"{text} + C",
    lambda text, _: f"{text}+c",
    lambda text, _: f"{text} + const",
    lambda text, _: f"${text} + C$",
    lambda text, _: f"$$\n{text}\n$$",
    lambda text, _: f"\\({text}\\)",
    lambda text, _: f"\\boxed{{{text} + C}}",
    lambda text, _: f"The antiderivative is ${text} + C$.",
    lambda text, _: f"Answer: {text}",
    lambda text, _: f"**Final answer:** {text} + C",
    lambda text, _: f"F(x) = {text}",
    lambda text, problem: f"∫ ({problem}) dx = {text} + C",
    lambda text, _: f"```\n{text}\n```",
    lambda text, _: f"{text} + C, where C is a constant.",
)


def rows(written: list[Written]) -> Iterator[dict[str, str]]:
    """Yield the rows of a file of answers: the id ends in the truth."""
    for number, each in enumerate(written):
        truth = "right" if each.right else "wrong"
        yield {"id": f"oracle-{number:04}:{truth}", "problem": each.problem, "answer": each.answer}
