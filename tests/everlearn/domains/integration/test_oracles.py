"""Two computer algebra systems that share no line with our verifier come to the same verdicts.

The texts are ours, so they may be given to `sympify`; what a model writes never is.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import symengine
import sympy

from everlearn.domains.integration.numeric_verifier import verify
from everlearn.domains.integration.term_sums import draw_term, join_sum

POINTS = (0.31, 0.87, 1.43)


def residues(algebra: Any, integrand: str, answer: str) -> list[float]:
    """|answer' - integrand| at the points, relative to the integrand, by that system's own differentiation."""
    x = algebra.Symbol("x")
    wanted, given = (algebra.sympify(text.replace("^", "**")) for text in (integrand, answer))
    gaps = []
    for point in POINTS:
        at = [complex(each.subs({x: point}).evalf()) for each in (given.diff(x), wanted)]
        gaps.append(abs(at[0] - at[1]) / (1 + abs(at[1])))
    return gaps


@pytest.mark.parametrize("algebra", [sympy, symengine], ids=["sympy", "symengine"])
@pytest.mark.parametrize("seed", range(25))
def test_verdicts_agree_with_computer_algebra(algebra: Any, seed: int) -> None:
    rng = random.Random(seed)
    pairs = [draw_term(rng) for _ in range(rng.randint(1, 5))]
    integrand, right = join_sum([question for question, _ in pairs]), join_sum([answer for _, answer in pairs])
    wrong = join_sum([answer for _, answer in pairs] + [draw_term(rng)[1]])
    assert max(residues(algebra, integrand, right)) < 1e-9
    assert verify(integrand, right, seed=seed).is_correct
    assert max(residues(algebra, integrand, wrong)) > 1e-9
    assert not verify(integrand, wrong, seed=seed).is_correct
