"""Read the equations that a text states, in symbols or words, and whether they belong to the domain.

    2x + 3 = 7    Solve x^2 - 5x + 6 = 0 for x.    2x + y = 5, x - y = 1    Find all real solutions of 3(x - 1) = 6

One equation has one unknown and a degree of at most 4, and its real solutions are rational or written with square roots of
rational numbers. A system has as many linear equations as unknowns, two or three, and one solution or none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from everlearn.domains.equations.grammar import (
    PI,
    Constant,
    EquationTree,
    Unknown,
    parse,
    parts_of,
    plain,
    unparse,
)
from everlearn.domains.equations.keys import lost_unknowns
from everlearn.domains.equations.polynomials import Polynomial, degree_of, plus, polynomial_of, univariate
from everlearn.domains.equations.solver import real_roots, solve_system
from everlearn.domains.equations.surds import SurdSum
from everlearn.errors import GrammarError

LONGEST = 1000  # characters
MAX_LEAVES = 24
"""Most numbers and unknowns in the equations of a problem."""
MAX_DEGREE = 4
MAX_UNKNOWNS = 3
KINDS = ("linear", "quadratic", "cubic", "quartic")

_ASKING = re.compile(
    r"(?:please\s+)?(?:solve|find|determine|give|what\s+(?:is|are)|which)\s+"
    r"(?:(?:for|the|all|every|real|value|values|of|solution|solutions|root|roots|equation|equations|system|set|linear"
    r"|unknown|unknowns|following|to|if|when|where|such|that|and|[a-z])\b[\s,:]*)*?[\s:]*"
    r"(?=[-+0-9(.√\\\N{MINUS SIGN}]|sqrt|[a-z]\s*[-+*/^=(0-9.²³×·÷\N{MINUS SIGN}])",  # noqa: RUF001 (characters of mathematics)
    re.IGNORECASE,
)
_COEFFICIENT = re.compile(r"(?<!\bfor)(?<!\band)(?<!\bfind)(?<!,) [a-z] ?$", re.IGNORECASE)
"""A letter before an equation that no word before it asks for: the `a` of `Solve a x + 3 = 7x`."""
_FOR = re.compile(r",?\s+for\s+([a-z](?:\s*(?:,|and|,\s*and)\s*[a-z])*)\s*$")
_MARKUP = re.compile(r"\\[()\[\]]|\$|\\(?:begin|end)\{cases\}")
_BETWEEN = re.compile(r"\s*(?:;|\n|,\s*and\s+|,|\s+and\s+)\s*")


@dataclass(frozen=True, slots=True)
class Equations:
    """The equations of a problem, its unknowns in the order of the alphabet, and its solutions.

    A solution has a value for each unknown.
    """

    sides: tuple[tuple[EquationTree, EquationTree], ...]
    unknowns: tuple[str, ...]
    solutions: tuple[tuple[SurdSum, ...], ...]

    @property
    def text(self) -> str:
        """The statement."""
        return "; ".join(f"{unparse(left)} = {unparse(right)}" for left, right in self.sides)

    @property
    def polynomials(self) -> list[Polynomial]:
        """The polynomials that are zero for a solution."""
        return differences(self.sides, self.unknowns)

    @property
    def degree(self) -> int:
        """The degree, at least 1."""
        return max(1, *map(degree_of, self.polynomials))

    @property
    def kind(self) -> str:
        """`linear`, `quadratic`, `cubic`, `quartic`, `system of 2` or `system of 3`."""
        return KINDS[self.degree - 1] if len(self.unknowns) == 1 else f"system of {len(self.unknowns)}"


def differences(sides: tuple[tuple[EquationTree, EquationTree], ...], unknowns: tuple[str, ...]) -> list[Polynomial]:
    """Return left side minus right side of each equation."""
    return [plus(polynomial_of(left, unknowns), polynomial_of(right, unknowns), scale=-1) for left, right in sides]


@lru_cache(maxsize=2048)
def read_equations(text: str) -> Equations:
    """Return the equations of a text.

    Raises:
        GrammarError: there are none, they exceed a limit, or they have solutions that are not in the domain.
    """
    if len(text) > LONGEST:
        raise GrammarError(f"a statement of {len(text)} characters: at most {LONGEST} are accepted")
    body, named = _without_words(text)
    sides = tuple(_sides(equation) for equation in _BETWEEN.split(body))
    leaves = [leaf for pair in sides for side in pair for leaf in leaves_of(side)]
    unknowns = tuple(sorted({leaf.name for leaf in leaves if isinstance(leaf, Unknown)}))
    if len(leaves) > MAX_LEAVES:
        raise GrammarError(f"{len(leaves)} numbers and unknowns: at most {MAX_LEAVES} are accepted")
    if PI in unknowns:
        raise GrammarError("an equation with pi: only rational numbers are accepted")
    if named - set(unknowns):
        raise GrammarError(f"{', '.join(sorted(named))} is asked for, and is not in the equation")
    asked = of_sides(sides, unknowns)
    lost = lost_unknowns(asked)
    if lost:
        raise GrammarError(f"{' and '.join(lost)} cancels out of the equation")
    return asked


def of_sides(sides: tuple[tuple[EquationTree, EquationTree], ...], unknowns: tuple[str, ...]) -> Equations:
    """Return the equations, solved. Raises GrammarError if they are not in the domain."""
    if not 1 <= len(unknowns) <= MAX_UNKNOWNS or len(sides) != len(unknowns):
        raise GrammarError(
            f"{len(sides)} equations with {len(unknowns)} unknowns: as many equations as unknowns are accepted, "
            f"at most {MAX_UNKNOWNS}"
        )
    if all(_is_solved(*pair) for pair in sides):
        raise GrammarError("the equation is its own solution")
    polynomials = differences(sides, unknowns)
    if len(unknowns) == 1:
        return Equations(sides, unknowns, _solutions_of_one(polynomials[0]))
    if max(map(degree_of, polynomials)) > 1:
        raise GrammarError("a system of equations that are not linear")
    solution = solve_system([_row(each, len(unknowns)) for each in polynomials])
    points = () if solution is None else (tuple(map(SurdSum.rational, solution)),)
    return Equations(sides, unknowns, points)


def _solutions_of_one(polynomial: Polynomial) -> tuple[tuple[SurdSum, ...], ...]:
    if not polynomial:
        raise GrammarError("the equation is true for every number")
    if degree_of(polynomial) > MAX_DEGREE:
        raise GrammarError(f"an equation of degree {degree_of(polynomial)}: at most {MAX_DEGREE} is accepted")
    return tuple((root,) for root in real_roots(univariate(polynomial)))


def _row(polynomial: Polynomial, unknowns: int) -> list[Fraction]:
    """Return the coefficients and the right side."""
    places = [tuple(int(place == each) for each in range(unknowns)) for place in range(unknowns)]
    zero = Fraction(0)
    return [*(polynomial.get(place, zero) for place in places), -polynomial.get((0,) * unknowns, zero)]


def _is_solved(left: EquationTree, right: EquationTree) -> bool:
    """Return whether an unknown stands alone on one side, and only numbers on the other."""
    return any(
        isinstance(one, Unknown) and not any(isinstance(leaf, Unknown) for leaf in leaves_of(other))
        for one, other in ((left, right), (right, left))
    )


def leaves_of(tree: EquationTree) -> list[Constant | Unknown]:
    """Return the numbers and unknowns, from left to right."""
    if isinstance(tree, Constant | Unknown):
        return [tree]
    return [leaf for part in parts_of(tree) for leaf in leaves_of(part)]


def _sides(text: str) -> tuple[EquationTree, EquationTree]:
    sides = text.split("=")
    if len(sides) != 2:
        raise GrammarError("an equation has one equals sign: write it as 2*x + 3 = 7")
    return parse(sides[0]), parse(sides[1])


def _without_words(text: str) -> tuple[str, set[str]]:
    """Return the equations without the words around them, and the unknowns that are asked for by name."""
    # Runs of spaces are one space: the patterns take more than linear time on them.
    lines = [" ".join(line.split()) for line in _MARKUP.sub(" ", text.replace("\\\\", "\n")).splitlines()]
    body = "\n".join(filter(None, lines)).rstrip(".?").rstrip()
    asked = _ASKING.match(body)
    if asked is None:
        return plain(body), set()
    letter = _COEFFICIENT.search(asked[0])
    body = body[letter.start() if letter else asked.end() :]
    named = _FOR.search(body)
    if named is None:
        return plain(body), set()
    return plain(body[: named.start()]), set(re.findall(r"\b[a-z]\b", named[1]))
