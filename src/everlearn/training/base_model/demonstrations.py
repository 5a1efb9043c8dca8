"""What the demo model is pretrained on: sums and compositions with their antiderivatives, and moves that make them easier."""

from __future__ import annotations

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
    return asked, f"<{markers[removed[0]]}>" + (f" + {rng.randint(2, 9)}" if move == EASE else "")


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
