"""What the demo model is pretrained on: sums with their antiderivatives, and moves that make a sum easier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.domains.integration.term_sums import draw_term
from everlearn.training.models.formats.marked_notation import DROP, EASE, SOLVE, draw_markers, mark

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
