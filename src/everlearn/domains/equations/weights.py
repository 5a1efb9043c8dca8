"""Size of equations, for the curriculum and for moves. It is a function of what is written, and of no solution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.domains.equations.grammar import Constant, EquationTree, Quotient, SignedSum, parts_of
from everlearn.domains.equations.statements import leaves_of

if TYPE_CHECKING:
    from everlearn.domains.equations.statements import Equations

_PER_SIZE = 4


def weight(asked: Equations) -> int:
    """Return a measure that every move reduces: bits of the numbers, unknowns as written, degree, brackets."""
    sides = [side for pair in asked.sides for side in pair]
    leaves = [leaf for side in sides for leaf in leaves_of(side)]
    bits = sum(
        leaf.value.numerator.bit_length() + leaf.value.denominator.bit_length() - 1 if isinstance(leaf, Constant) else 1
        for leaf in leaves
    )
    brackets = sum(_brackets(side) for side in sides)
    return bits + 2 * brackets + 3 * (asked.degree - 1) + 4 * (len(asked.unknowns) - 1)


def size(asked: Equations) -> int:
    """Return the weight in classes of four, from 1."""
    return 1 + weight(asked) // _PER_SIZE


def _brackets(tree: EquationTree) -> int:
    inside = [part for part in parts_of(tree) if isinstance(part, SignedSum | Quotient)]
    own = sum(isinstance(part, SignedSum) or not isinstance(tree, SignedSum) for part in inside)
    return own + sum(map(_brackets, parts_of(tree)))
