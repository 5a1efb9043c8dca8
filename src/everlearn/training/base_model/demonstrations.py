"""Pretraining data of the demo model: sums and compositions with their antiderivatives, and moves that make them easier."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from everlearn.domains.integration.compositions import (
    draw_by_parts,
    draw_composition,
    join_parts,
    outermost,
    split_product,
)
from everlearn.domains.integration.term_sums import draw_term
from everlearn.training.models.formats.marked_notation import DROP, EASE, HALF, SOLVE, draw_markers, mark

if TYPE_CHECKING:
    import random

NUMBERS = 0.2
"""Share of the replaced outermost factors that become a number."""
_ARGUMENT = re.compile(r"[a-z]+\((.*)\)|1/\((.*)\^2\+1\)")


def demonstrate(rng: random.Random, *, size: int, move: str) -> tuple[str, str]:
    """Return a prompt of `size` terms and a completion that carries out the move."""
    terms = [str(draw_term(rng)[0]) for _ in range(size)]
    markers = draw_markers(rng, count=size)
    asked = f"{move} {mark(terms, markers)} ="
    if move == DROP:
        return asked, f"<{rng.choice(markers)}>"
    if move == EASE:
        return asked, f"<{rng.choice(markers)}> {draw_term(rng, easy=True)[0]}"
    kept = rng.randint(max(1, size // 3), max(1, 2 * size // 3))
    return asked, " ".join(f"<{marker}>" for marker in sorted(rng.sample(markers, kept)))


def demonstrate_solution(rng: random.Random, *, size: int) -> tuple[str, str]:
    """Return a prompt of `size` terms and its antiderivative with the same markers."""
    pairs = [draw_term(rng) for _ in range(size)]
    markers = draw_markers(rng, count=size)
    questions = [str(question) for question, _ in pairs]
    answers = [str(answer) for _, answer in pairs]
    return f"{SOLVE} {mark(questions, markers)} =", mark(answers, markers)


def demonstrate_on_product(rng: random.Random, *, depth: int, move: str) -> tuple[str, str]:
    """Return a prompt of a composition of at least two functions and a completion that carries out the move."""
    parts = draw_composition(rng, depth=depth)[0]
    markers = draw_markers(rng, count=len(parts))
    asked = f"{move} {mark(list(map(str, parts)), markers)} ="
    left = list(range(len(parts)))
    count = depth // 2 if move == HALF else 1
    removed = [left.pop(outermost([parts[at] for at in left])) for _ in range(count)]
    if move == HALF:
        return asked, " ".join(f"<{markers[at]}>" for at in left)
    eased = f" + {_eased(parts[removed[0]].body, rng)}" if move == EASE else ""
    return asked, f"<{markers[removed[0]]}>{eased}"


def _eased(factor: str, rng: random.Random) -> str:
    """Return what replaces the outermost factor: a number or, mostly, the factor of another function of the same argument.

    Copying a deep argument is what an answer needs too: without these demonstrations, no composition of four functions
    was solved after those of one to three were learned (docs/LOG.md).
    """
    found = _ARGUMENT.fullmatch(factor)
    if found is None or rng.random() < NUMBERS:
        return str(rng.randint(2, 9))
    argument = found[1] or found[2]
    return f"cos({argument})" if argument.startswith("exp") or factor.startswith("exp") else f"exp({argument})"


def demonstrate_composition(rng: random.Random, *, depth: int, by_parts: bool) -> tuple[str, str]:
    """Return a prompt of a composition and its antiderivative after the marker of the outermost part."""
    parts, answer = (draw_by_parts if by_parts else draw_composition)(rng, depth=depth)
    if depth == 1 and not by_parts:  # one term, as the domain splits it
        parts = split_product(join_parts(parts))
    markers = draw_markers(rng, count=len(parts))
    return (
        f"{SOLVE} {mark(list(map(str, parts)), markers)} =",
        mark([str(answer)], [markers[outermost(parts)]]),
    )
